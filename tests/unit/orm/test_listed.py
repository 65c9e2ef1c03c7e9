"""Models without encrypted fields: a purpose sees and writes those that it lists, like all others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, selectinload, subqueryload
from sqlalchemy.orm import immediateload as immediate

from vaultstore.errors import AccessDenied, TokenRevoked, UnsupportedOperation, WriteDenied
from vaultstore.grants import Actor
from vaultstore.orm import PurposeSession, uuid7
from vaultstore.records import revocations

from .models import Lead, Member, Message
from .world import World

MEMBERS = {"Member": ["sales_card"], "Message": []}


class Elsewhere(DeclarativeBase): ...


class Stray(Elsewhere):
    """Mapped, but on no base of the store's."""

    __tablename__ = "leads"
    id: Mapped[UUID] = mapped_column(primary_key=True)


@pytest.fixture
def filled(world: World) -> UUID:
    """A member with a lead and a message."""
    [member_id] = world.fill(1)
    with world.session(write={"Lead": []}) as session:
        session.add(Lead(member_id=member_id, actor="u-1"))
        session.commit()
    world.clear()
    return member_id


def test_a_purpose_that_lists_it_reads_it_and_one_that_does_not_is_refused(world: World, filled: UUID) -> None:
    for listing in ({"read": {"Lead": []}}, {"write": {"Lead": []}}):
        with world.session(**listing) as session:
            [lead] = session.scalars(select(Lead)).all()
            assert lead.actor == "u-1"
            assert session.get(Lead, lead.id) is lead
    with world.session(MEMBERS) as session:
        for statement in (select(Lead), select(Lead.actor), select(Member).add_columns(Lead.id)):
            with pytest.raises(AccessDenied, match="Lead"):
                session.execute(statement)
        with pytest.raises(AccessDenied):
            session.get(Lead, lead.id)
        with pytest.raises(AccessDenied):
            session.query(Lead).count()
    assert world.statements("leads") == world.statements("leads")[:3]


WRITES: dict[str, Callable[[PurposeSession, Lead], Any]] = {
    "add": lambda s, lead: (s.add(Lead(member_id=lead.member_id, actor="x")), s.flush()),
    "change": lambda s, lead: (setattr(s.merge(lead), "actor", "x"), s.flush()),
    "delete": lambda s, lead: (s.delete(s.merge(lead)), s.flush()),
    "insert": lambda s, lead: s.execute(insert(Lead), [{"id": uuid7(), "member_id": lead.member_id, "actor": "x"}]),
    "insert values": lambda s, lead: s.execute(insert(Lead).values(member_id=lead.member_id, actor="x")),
    "update": lambda s, lead: s.execute(update(Lead).values(actor="x")),
    "delete statement": lambda s, lead: s.execute(delete(Lead)),
    "core insert": lambda s, lead: s.execute(_core().insert(), _row(lead)),
    "core update": lambda s, lead: s.execute(_core().update().values(actor="x")),
    "core delete": lambda s, lead: s.execute(_core().delete()),
    "bulk insert": lambda s, lead: s.bulk_insert_mappings(Lead.__mapper__, [_row(lead)]),
    "bulk update": lambda s, lead: s.bulk_update_mappings(Lead.__mapper__, [{"id": lead.id, "actor": "x"}]),
    "bulk save": lambda s, lead: s.bulk_save_objects([Lead(**_row(lead))]),
}


def _core() -> Any:
    return Lead.__table__


def _row(lead: Lead) -> dict[str, Any]:
    return {"id": uuid7(), "member_id": lead.member_id, "actor": "x"}


@pytest.mark.parametrize("way", WRITES)
def test_it_is_written_by_a_purpose_that_lists_it_under_write_and_by_no_other(
    world: World, filled: UUID, way: str
) -> None:
    with Session(world.engine) as plain:
        lead = plain.scalars(select(Lead)).one()
    with world.session({"Lead": []}, write={"Member": ["contact"]}) as session:
        with pytest.raises(WriteDenied, match="does not write Lead"):
            WRITES[way](session, lead)
        session.rollback()
        assert session.scalars(select(Lead.actor)).all() == ["u-1"]
    with world.session(write={"Lead": []}) as session:
        WRITES[way](session, lead)
        session.commit()
    with Session(world.engine) as plain:
        assert sorted(plain.scalars(select(Lead.actor)).all()) != ["u-1"]


@pytest.mark.parametrize("way", WRITES)
def test_each_write_of_it_takes_a_grant_that_is_live(world: World, filled: UUID, way: str) -> None:
    with Session(world.engine) as plain:
        lead = plain.scalars(select(Lead)).one()
    with world.session(write={"Lead": []}) as session:
        with world.ledger.gate() as connection:
            revocations.add(connection, world.now, jti=session.opened.grant.jti)
        with pytest.raises(TokenRevoked):
            WRITES[way](session, lead)
        session.rollback()
    with Session(world.engine) as plain:
        assert plain.scalars(select(Lead.actor)).all() == ["u-1"]


@pytest.mark.parametrize("load", [joinedload, selectinload, subqueryload, immediate])
def test_an_eager_load_of_a_model_that_is_not_listed_loads_nothing_and_names_no_table(
    world: World, filled: UUID, load: Any
) -> None:
    with world.session({"Lead": []}) as session:
        [lead] = session.scalars(select(Lead).options(load(Lead.member))).unique().all()
        assert lead.member is None
        session.expunge_all()
        with pytest.raises(AccessDenied):
            _ = session.scalars(select(Lead)).one().member
    with world.session({"Member": ["sales_card"]}) as session:
        [member] = session.scalars(select(Member).options(load(Member.messages))).unique().all()
        assert member.messages == []
    assert not world.statements("messages")
    assert all("members" not in s for s in world.statements("leads"))
    with world.session({**MEMBERS, "Lead": []}) as session:
        [member] = session.scalars(select(Member).options(load(Member.messages))).unique().all()
        assert len(member.messages) == 1
        assert session.scalars(select(Lead).options(load(Lead.member))).one().member is member


def test_what_a_purpose_left_out_the_next_one_loads_with_the_same_statement(world: World, filled: UUID) -> None:
    statement = select(Member).options(joinedload(Member.messages))
    for rights, count in (({"Member": []}, 0), (MEMBERS, 1), ({"Member": []}, 0)):
        with world.session(rights) as session:
            assert [len(m.messages) for m in session.scalars(statement).unique()] == [count]


def test_a_join_to_a_model_that_is_not_listed_finds_nothing(world: World, filled: UUID) -> None:
    with world.session({"Member": []}) as session:
        assert session.scalars(select(Member).join(Message)).all() == []
        assert session.scalars(select(Member).join(Lead, Lead.member_id == Member.id)).all() == []


def test_a_scope_looks_at_models_that_its_purpose_does_not_list(world: World, filled: UUID) -> None:
    rows = {"Member": "orm_tests.leads_of_actor"}
    for actor, count in (("u-1", 1), ("u-2", 0)):
        with world.session({"Member": ["sales_card"]}, rows=rows, actor=Actor(actor, "tester")) as session:
            members = session.scalars(select(Member)).all()
            assert len(members) == count
            for member in members:
                session.refresh(member)
                session.expire(member, ["city"])
                assert member.city == "Shanghai"
            with pytest.raises(AccessDenied):
                session.scalars(select(Lead)).all()


def test_a_model_that_is_not_the_stores_can_not_be_listed(world: World, filled: UUID) -> None:
    with world.admin() as session:
        with pytest.raises(AccessDenied, match="Stray"):
            session.scalars(select(Stray)).all()
        session.add(Stray(id=uuid7()))
        with pytest.raises(WriteDenied, match="Stray"):
            session.flush()


def test_a_primary_key_never_changes(world: World, filled: UUID) -> None:
    with world.admin() as session:
        lead = session.scalars(select(Lead)).one()
        lead.id = uuid7()
        with pytest.raises(WriteDenied, match="primary key"):
            session.flush()
        session.rollback()
        with pytest.raises(UnsupportedOperation):
            session.execute(update(Lead).values(id=uuid7()))
    with Session(world.engine) as plain:  # which is nobody's, and an ordinary session over ordinary tables
        lead = plain.scalars(select(Lead)).one()
        lead.id = uuid7()
        plain.commit()

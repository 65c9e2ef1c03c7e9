"""Restricted members are out of sight in the ORM, on every path that a row scope holds for, for no query more."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, joinedload, mapped_column, selectinload
from sqlalchemy.orm.exc import ObjectDeletedError

from vaultstore.errors import ModelError, SubjectErased, SubjectRestricted
from vaultstore.lifecycle import Subjects
from vaultstore.orm import Encrypted, EncryptedModel, PurposeSession, encrypted_column
from vaultstore.policy.model import Requirements

from .models import CallNote, Lead, Member, Message, Note
from .test_scopes import COUNTS
from .world import World

READ = ("sales_card", "conversation", "contact")
SEES = Requirements(sees_restricted=True)


class Rest:
    """Six members with a message each; the first three rest."""

    def __init__(self, world: World) -> None:
        self.world, self.states = world, Subjects(world.ledger)
        self.ids = world.fill(6)
        self.resting = self.ids[:3]
        for member in self.resting:
            self.states.restrict(member, reason="asked")
        world.clear()

    def session(self, **kw: Any) -> PurposeSession:
        rights = {"Member": ["sales_card"], "Message": [], "Note": ["sales_card"], "Lead": []}
        return self.world.session(rights, (), ("contact", "conversation"), **kw)


@pytest.fixture
def rest(world: World) -> Rest:
    return Rest(world)


# What a message's own subject hides is counted below: its sender rests as well.
OF_MEMBERS = {
    "select", "aliased", "two aliases", "count", "count of a subquery", "cte", "union", "from_statement of a select",
    "legacy query", "the caller's loader criteria", "lazy many-to-one", "joined many-to-one", "selectin many-to-one",
    "subquery many-to-one", "update", "legacy update", "inner join from another model", "has()", "in a subquery",
    "exists", "outer join of an alias",
}  # fmt: skip


@pytest.mark.parametrize("way", sorted(OF_MEMBERS))
def test_restricted_members_are_not_there_for(rest: Rest, way: str) -> None:
    expected, count = COUNTS[way]
    with rest.session() as session:
        assert count(session) == expected


def test_rows_of_every_model_with_a_subject_are_out_of_sight(rest: Rest) -> None:
    with rest.world.admin(requires=SEES) as admin:
        for member in (rest.ids[0], rest.ids[5]):
            admin.add(Lead(member_id=member, actor="u-1"))
        admin.commit()
    with rest.session() as session:
        assert len(session.scalars(select(Message)).all()) == 3
        assert session.scalar(select(func.count()).select_from(Message)) == 3
        assert session.execute(delete(Message)).rowcount == 3


def test_a_purpose_that_sees_restricted_members_sees_all(rest: Rest) -> None:
    with rest.session(requires=SEES) as session:
        assert len(session.scalars(select(Member)).all()) == 6
        assert len({m.phone for m in session.scalars(select(Member))}) == 6


def test_get_and_relationships_find_nobody(rest: Rest) -> None:
    with rest.world.admin(requires=SEES) as admin:
        message = admin.scalars(select(Message).where(Message.member_id == rest.resting[0])).one()
    with rest.session() as session:
        assert session.get(Member, rest.resting[0]) is None
        assert session.get(Member, rest.ids[3]) is not None
        session.add(message)
        session.expire(message)
        with pytest.raises(ObjectDeletedError):
            _ = message.member
        loaded = session.scalars(select(Member).options(selectinload(Member.messages)))
        assert sum(len(m.messages) for m in loaded) == 3
        both = session.scalars(select(Member).options(joinedload(Member.messages))).unique()
        assert sum(len(m.messages) for m in both) == 3


def test_whoever_is_restricted_while_a_session_is_open_is_neither_refreshed_nor_disclosed(rest: Rest) -> None:
    with rest.session() as session:
        member = session.get_one(Member, rest.ids[4])
        other = session.get_one(Member, rest.ids[5])
        rest.states.restrict(rest.ids[4], reason="asked")
        with pytest.raises(SubjectRestricted):  # the row was loaded before; the gate has the last word
            _ = member.phone
        session.commit()
        with pytest.raises(ObjectDeletedError):
            _ = member.city
        with pytest.raises(InvalidRequestError):
            session.refresh(member)
        assert other.city == "Shanghai"
        rest.states.lift(rest.ids[4], reason="came back")
        session.rollback()
        assert session.get_one(Member, rest.ids[4]).phone


def test_a_search_counts_and_is_audited_and_finds_nobody(rest: Rest) -> None:
    with rest.world.session(READ, ("phone",)) as session:
        assert session.scalars(select(Member).where(Member.phone == "13812340000")).all() == []
        assert session.scalars(select(Member).where(Member.phone == "13812340005")).one().id == rest.ids[5]
    assert rest.world.gate.names().count("search") == 2
    assert [call[1:] for call in rest.world.gate.calls if call[0] == "found"] == [(0, []), (1, [rest.ids[5].bytes])]


def test_who_is_erased_while_restricted_is_told_as_erased(rest: Rest) -> None:
    rest.states.erase(rest.resting[0], reason="asked")
    with rest.session() as session:
        member = session.get_one(Member, rest.resting[0])
        with pytest.raises(SubjectErased):
            _ = member.phone


def test_no_write_reaches_a_restricted_member(rest: Rest) -> None:
    with rest.session() as session:
        assert session.execute(update(Member).where(Member.id == rest.resting[0]).values(city="XX")).rowcount == 0
        assert session.execute(delete(Message).where(Message.member_id == rest.resting[0])).rowcount == 0
    with rest.session(requires=SEES) as session:  # not even by whoever sees them
        session.add(Message(member_id=rest.resting[0], body="hello"))
        with pytest.raises(SubjectRestricted):
            session.flush()


def test_subclasses_go_by_their_base(rest: Rest) -> None:
    with rest.world.admin() as admin:
        for member in (rest.ids[4], rest.ids[5]):
            admin.add(CallNote(member_id=member, text="t", number="1", place="here"))
        admin.commit()
    rest.states.restrict(rest.ids[4], reason="asked")
    with rest.session() as session:
        assert len(session.scalars(select(CallNote)).all()) == 1
        assert len(session.scalars(select(Note)).all()) == 1
        assert len(session.scalars(select(aliased(CallNote))).all()) == 1
    with rest.world.session({"CallNote": ["sales_card"]}) as session:  # the base is not listed
        assert len(session.scalars(select(CallNote)).all()) == 1


def test_it_costs_no_query_and_no_compilation(rest: Rest) -> None:
    for number in range(3):
        with rest.session() as session:
            session.connection()
            session.scalars(select(Member)).all()
            before = rest.world.engine._compiled_cache and len(rest.world.engine._compiled_cache)
            rest.world.clear()
            session.scalars(select(Member)).all()
            assert len([s for s in rest.world.sql if s.startswith("SELECT")]) == 1
            assert len(rest.world.engine._compiled_cache) == before or number == 0


# How a subject is kept is the model's own affair.


class Kinds(EncryptedModel, DeclarativeBase): ...


class AsBytes(sa.TypeDecorator[uuid.UUID]):
    impl = sa.LargeBinary(16)
    cache_ok = True

    @property
    def python_type(self) -> type[uuid.UUID]:
        return uuid.UUID

    def process_bind_param(self, value: uuid.UUID | None, dialect: sa.Dialect) -> bytes | None:
        return None if value is None else value.bytes

    def process_result_value(self, value: bytes | None, dialect: sa.Dialect) -> uuid.UUID | None:
        return None if value is None else uuid.UUID(bytes=value)


class AsText(AsBytes):
    impl = sa.String(36)
    cache_ok = True

    def process_bind_param(self, value: uuid.UUID | None, dialect: sa.Dialect) -> Any:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> uuid.UUID | None:
        return None if value is None else uuid.UUID(value)


class Hexed(Kinds):
    __tablename__ = "hexed"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(sa.Uuid(native_uuid=False), primary_key=True)
    word: Encrypted[str] = encrypted_column(category="contact")


class Dashed(Kinds):
    __tablename__ = "dashed"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(AsText, primary_key=True)
    word: Encrypted[str] = encrypted_column(category="contact")


class Packed(Kinds):
    __tablename__ = "packed"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(AsBytes, primary_key=True)
    word: Encrypted[str] = encrypted_column(category="contact")


@pytest.fixture
def kinds(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[World]:
    url = request.getfixturevalue("pg_database") if request.param == "postgresql" else None
    world = World(tmp_path, Kinds, url=url)
    yield world
    world.close()


BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)]


@pytest.mark.parametrize("kinds", BOTH, indirect=True)
@pytest.mark.parametrize("model", [Hexed, Dashed, Packed])
def test_a_subject_is_told_however_its_column_keeps_it(kinds: World, model: Any) -> None:
    if model is Packed and kinds.engine.dialect.name == "postgresql":
        with kinds.session(("contact",)) as session, pytest.raises(ModelError, match="Packed"):
            session.scalars(select(Packed)).all()
        return
    rights = {model.__name__: ["contact"]}
    here, away = uuid.uuid4(), uuid.uuid4()
    with kinds.session(rights, (), rights) as session:
        session.add_all([model(id=here, word="a"), model(id=away, word="b")])
        session.commit()
    Subjects(kinds.ledger).restrict(away, reason="asked")
    with kinds.session(rights) as session:
        assert [row.id for row in session.scalars(select(model))] == [here]


def test_a_core_statement_is_not_restricted_without_row_security(rest: Rest) -> None:
    with rest.session() as session:  # as for row scopes: row-level security is the boundary
        assert session.scalar(text("SELECT count(*) FROM members")) == 6

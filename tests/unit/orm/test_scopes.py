"""Row scopes: what they hold for in the ORM, and the holes that row-level security has to close."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, bindparam, delete, exists, func, select, text, true, union_all, update
from sqlalchemy.exc import InvalidRequestError, NoResultFound
from sqlalchemy.orm import (
    aliased,
    joinedload,
    make_transient_to_detached,
    selectinload,
    subqueryload,
    with_loader_criteria,
)
from sqlalchemy.orm.exc import ObjectDeletedError

from vaultstore.errors import ModelError, NotDisclosed
from vaultstore.grants import Actor
from vaultstore.orm import PurposeSession, row_scope

from .models import CallNote, Lead, Member, Message, Note
from .world import World

RIGHTS = {"Member": ["sales_card"], "Message": [], "Note": ["sales_card"]}
IN_CITY = {"Member": "orm_tests.city_of_actor"}


class Town:
    """Three members in Shanghai, three in Beijing, each with a message; actor u-1 leads one of each."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shanghai = world.fill(3)
        self.beijing = world.fill(3, city="Beijing")
        with world.admin() as session:
            for member_id, actor in ((self.shanghai[0], "u-1"), (self.beijing[0], "u-1"), (self.shanghai[1], "u-2")):
                session.add(Lead(member_id=member_id, actor=actor))
            session.commit()
        world.clear()

    def session(
        self, rows: dict[str, str] | None = None, city: str = "Shanghai", write: Any = ("contact", "conversation")
    ) -> PurposeSession:
        actor = Actor("u-1", "tester", {"city": city})
        return self.world.session(RIGHTS, (), write, rows=rows or IN_CITY, actor=actor)


@pytest.fixture
def town(world: World) -> Town:
    return Town(world)


_AB = (aliased(Member), aliased(Member))

_OUTER = select(Message, _AB[0]).outerjoin(_AB[0], _AB[0].id == Message.member_id)

COUNTS: dict[str, tuple[int, Callable[[Any], int]]] = {
    "select": (3, lambda s: len(s.scalars(select(Member)).all())),
    "aliased": (3, lambda s: len(s.scalars(select(aliased(Member))).all())),
    "join of an alias": (3, lambda s: len(s.scalars(select(Message).join(_AB[0], true())).all()) // 6),
    "outer join of an alias": (3, lambda s: sum(b is not None for _, b in s.execute(_OUTER))),
    "two aliases": (9, lambda s: len(s.execute(select(*_AB).join(_AB[1], true())).all())),
    "inner join from another model": (3, lambda s: len(s.scalars(select(Message).join(Message.member)).all())),
    "has()": (3, lambda s: len(s.scalars(select(Message).where(Message.member.has())).all())),
    "count": (3, lambda s: s.scalar(select(func.count(Member.id)))),
    "count of a subquery": (3, lambda s: s.scalar(select(func.count()).select_from(select(Member).subquery()))),
    "in a subquery": (
        3,
        lambda s: len(s.scalars(select(Message).where(Message.member_id.in_(select(Member.id)))).all()),
    ),
    "cte": (3, lambda s: s.scalar(select(func.count()).select_from(select(Member.id).cte()))),
    "union": (6, lambda s: len(s.scalars(union_all(select(Member.id), select(Member.id))).all())),
    "from_statement of a select": (3, lambda s: len(s.scalars(select(Member).from_statement(select(Member))).all())),
    "legacy query": (3, lambda s: s.query(Member).count()),
    "the caller's own criteria": (0, lambda s: len(s.scalars(select(Member).where(Member.city == "Beijing")).all())),
    "the caller's loader criteria": (
        3,
        lambda s: len(s.scalars(select(Member).options(with_loader_criteria(Member, true()))).all()),
    ),
    "exists": (
        3,
        lambda s: len(s.scalars(select(Message).where(exists().where(Member.id == Message.member_id))).all()),
    ),
    "lazy many-to-one": (3, lambda s: sum(m.member is not None for m in s.scalars(select(Message)))),
    "joined many-to-one": (3, lambda s: _members(s, joinedload)),
    "selectin many-to-one": (3, lambda s: _members(s, selectinload)),
    "subquery many-to-one": (3, lambda s: _members(s, subqueryload)),
    "another model": (6, lambda s: len(s.scalars(select(Message)).all())),
    "update": (3, lambda s: s.execute(update(Member).values(city="XX")).rowcount),
    "legacy update": (3, lambda s: s.query(Member).update({"city": "XX"})),
    "delete": (1, lambda s: s.execute(delete(Member).where(Member.id == bindparam("i")), {"i": _first(s)}).rowcount),
}


def _members(s: Any, option: Any) -> int:
    return sum(m.member is not None for m in s.scalars(select(Message).options(option(Message.member))))


def _first(s: Any) -> UUID:
    s.execute(text("DELETE FROM messages"))
    s.execute(text("DELETE FROM leads"))
    return s.scalars(select(Member.id)).first()


@pytest.mark.parametrize("way", COUNTS)
def test_the_scope_holds_for(town: Town, way: str) -> None:
    expected, count = COUNTS[way]
    with town.session() as session:
        assert count(session) == expected


def test_get_finds_no_row_outside_the_scope(town: Town) -> None:
    with town.session() as session:
        assert session.get(Member, town.shanghai[0]) is not None
        assert session.get(Member, town.beijing[0]) is None
        with pytest.raises(NoResultFound):
            session.get_one(Member, town.beijing[0])
        assert session.query(Member).filter_by(id=town.beijing[0]).first() is None


def test_a_row_that_leaves_the_scope_is_not_refreshed_or_disclosed(town: Town) -> None:
    with town.session() as session:
        member = session.get_one(Member, town.shanghai[0])
        session.commit()
        town.world.raw("UPDATE members SET city = 'Beijing' WHERE id = :i", i=town.shanghai[0].hex)
        with pytest.raises(NotDisclosed):
            _ = member.phone
        with pytest.raises(ObjectDeletedError):
            _ = member.city
        with pytest.raises(InvalidRequestError):
            session.refresh(member)


def test_a_scope_may_look_at_other_models_and_their_own_scopes_apply_to_them_alone(town: Town) -> None:
    with town.session({"Member": "orm_tests.leads_of_actor"}) as session:
        assert {m.id for m in session.scalars(select(Member))} == {town.shanghai[0], town.beijing[0]}
        assert len(session.scalars(select(aliased(Member))).all()) == 2
        assert _members(session, joinedload) == 2
        assert session.execute(update(Member).values(city="XX")).rowcount == 2


def test_a_scope_may_go_through_a_relationship(town: Town) -> None:
    with town.session({"Message": "orm_tests.member_in_city"}) as session:
        assert len(session.scalars(select(Message)).all()) == 3
        assert sum(len(m.messages) for m in session.scalars(select(Member))) == 3
        session.expunge_all()
        loaded = session.scalars(select(Member).options(joinedload(Member.messages))).unique()
        assert sum(len(m.messages) for m in loaded) == 3
        assert session.execute(delete(Message)).rowcount == 3


def test_a_cached_statement_takes_the_scope_values_of_its_own_session(town: Town) -> None:
    for city in ("Shanghai", "Beijing", "Shanghai"):
        with town.session(city=city) as session:
            assert {m.city for m in session.scalars(select(Member))} == {city}


def test_a_base_scope_holds_for_its_subclasses_on_every_path(town: Town) -> None:
    with town.world.admin() as admin:
        for member_id in (town.shanghai[0], town.beijing[0]):
            admin.add(CallNote(member_id=member_id, text="t", number="1", place="here"))
        admin.commit()
    with town.session({"Note": "orm_tests.note_of_lead"}) as session:
        assert len(session.scalars(select(CallNote)).all()) == 1
        assert len(session.scalars(select(Note)).all()) == 1
    with town.world.admin() as admin:
        note = admin.scalars(select(CallNote).where(CallNote.member_id == town.beijing[0])).one()
    with town.session({"Note": "orm_tests.note_of_lead"}) as session:
        session.add(note)
        session.expire(note, ["place"])
        with pytest.raises((ObjectDeletedError, KeyError)):
            _ = note.place


@row_scope("orm_tests.note_of_lead")
def note_of_lead(actor: Actor, model: type[Note]) -> ColumnElement[bool]:
    in_city = select(Member.id).where(Member.city == actor.attributes["city"])
    return model.member_id.in_(in_city)


def test_an_object_keeps_no_scope_of_the_session_that_loaded_it(town: Town) -> None:
    with town.session({"Message": "orm_tests.member_in_city"}) as session:
        members = session.scalars(select(Member)).all()
    with town.world.admin() as admin:
        admin.add_all(members)
        assert sum(len(m.messages) for m in members) == 6


def test_two_functions_do_not_share_a_name() -> None:
    with pytest.raises(ModelError, match=r"orm_tests\.city_of_actor"):

        @row_scope("orm_tests.city_of_actor")
        def another(actor: Actor, model: Any) -> Any:
            return true()


def test_a_scope_that_is_not_registered_is_named(town: Town) -> None:
    with town.session({"Member": "nowhere"}) as session, pytest.raises(ModelError, match="nowhere"):
        session.scalars(select(Member))


# The holes. They are why row-level security is the boundary; if one of these fails, the documentation is out of date.


def test_core_and_text_statements_are_not_scoped(town: Town) -> None:
    members = Member.__table__
    with town.session() as session:
        assert len(session.execute(select(members.c.id)).all()) == 6
        assert len(session.execute(text("SELECT id FROM members")).all()) == 6
        everything = text("SELECT id, city FROM members")
        assert len(session.scalars(select(Member).from_statement(everything)).all()) == 6
        assert session.execute(update(members).values(city="XX")).rowcount == 6


def test_an_object_that_claims_to_be_loaded_is_written_without_a_look_at_the_scope(town: Town) -> None:
    with town.session() as session:
        member = Member(id=town.beijing[0], city="Beijing")
        make_transient_to_detached(member)
        session.add(member)
        member.city = "XX"
        session.flush()
        assert session.scalar(text("SELECT count(*) FROM members WHERE city = 'XX'")) == 1

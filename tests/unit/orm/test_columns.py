"""Which columns leave the database: only those that the session's purpose reads, whatever way the object is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    delete,
    event,
    exists,
    func,
    insert,
    inspect,
    lambda_stmt,
    literal,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.ext import baked
from sqlalchemy.orm import (
    Bundle,
    Session,
    aliased,
    defer,
    immediateload,
    joinedload,
    lazyload,
    load_only,
    selectin_polymorphic,
    selectinload,
    subqueryload,
    undefer,
    with_polymorphic,
)

from vaultstore.errors import AccessDenied, NotDisclosed, UnsupportedOperation

from .models import CallNote, Member, Message, Note
from .world import SOURCES, World

# Whatever a holder of sales cards must not be sent.
HIDDEN = re.compile(r"\.(?:phone|email|birth_date|wishes|body|text|number)\b|_care_card|_bidx")


@pytest.fixture
def filled(world: World) -> World:
    world.fill(4, messages=1)
    with world.admin() as session:
        for member in session.scalars(select(Member).order_by(Member.id)):
            session.add_all(
                [CallNote(member_id=member.id, text="hi there", number="555123"), Note(member_id=member.id, text="n")]
            )
        session.commit()
    world.clear()
    return world


def phones(members: Any) -> list[str]:
    return [m.phone for m in members]


def member_of_notes(s: Session, option: Any) -> list[str]:
    return [m.phone for m in s.scalars(select(Member).options(option(Member.messages))).unique()]


def notes(s: Session, statement: Any) -> list[Any]:
    return [(n.text, getattr(n, "number", None)) for n in s.scalars(statement)]


def a_member(s: Session) -> Member:
    return s.scalars(select(Member).order_by(Member.id)).first()  # type: ignore[return-value] # the world is filled


_bakery = baked.bakery()
_AB = (aliased(Member), aliased(Member))

LOADS: dict[str, Callable[[Any], Any]] = {
    "select": lambda s: phones(s.scalars(select(Member))),
    "joinedload": lambda s: member_of_notes(s, joinedload),
    "selectinload": lambda s: member_of_notes(s, selectinload),
    "subqueryload": lambda s: member_of_notes(s, subqueryload),
    "immediateload": lambda s: member_of_notes(s, immediateload),
    "lazyload": lambda s: member_of_notes(s, lazyload),
    "joined collection with limit": lambda s: phones(
        s.scalars(select(Member).options(joinedload(Member.messages)).limit(3)).unique()
    ),
    "aliased": lambda s: phones(s.scalars(select(aliased(Member)))),
    "two aliases": lambda s: [(a.phone, b.phone) for a, b in s.execute(select(*_AB).where(_AB[0].id != _AB[1].id))],
    "join": lambda s: phones(s.scalars(select(Member).join(Message))),
    "yield_per": lambda s: phones(s.scalars(select(Member).execution_options(yield_per=2))),
    "partitions": lambda s: [phones(p) for p in s.scalars(select(Member).execution_options(yield_per=2)).partitions()],
    "load_only": lambda s: phones(s.scalars(select(Member).options(load_only(Member.city)))),
    "load_only of the field": lambda s: phones(s.scalars(select(Member).options(load_only(Member.phone)))),
    "undefer": lambda s: phones(s.scalars(select(Member).options(undefer(Member.phone)))),
    "undefer all": lambda s: phones(s.scalars(select(Member).options(undefer("*")))),
    "defer": lambda s: phones(s.scalars(select(Member).options(defer(Member.phone)))),
    "defer all": lambda s: phones(s.scalars(select(Member).options(defer("*")))),
    "populate_existing": lambda s: phones(
        [a_member(s), *s.scalars(select(Member), execution_options={"populate_existing": True})]
    ),
    "get": lambda s: s.get(Member, s.scalar(select(Member.id).limit(1))).phone,
    "refresh": lambda s: (lambda m: (s.refresh(m), m.phone))(a_member(s)),
    "expire": lambda s: (lambda m: (s.expire(m), m.phone))(a_member(s)),
    "commit": lambda s: (lambda m: (s.commit(), m.city, m.phone))(a_member(s)),
    "from_statement": lambda s: phones(
        s.scalars(select(Member).from_statement(select(Member).where(Member.city == "Shanghai")))
    ),
    "alias of a subquery": lambda s: phones(s.scalars(select(aliased(Member, select(Member).limit(3).subquery())))),
    "alias of a union": lambda s: phones(
        s.scalars(
            select(aliased(Member, union_all(select(Member), select(Member).where(Member.city == "x")).subquery()))
        )
    ),
    "exists": lambda s: phones(s.scalars(select(Member).where(exists().where(Message.member_id == Member.id)))),
    "any": lambda s: phones(s.scalars(select(Member).where(Member.city == "Shanghai"))),
    "legacy query": lambda s: phones(s.query(Member).filter_by(city="Shanghai")),
    "legacy count": lambda s: s.query(Member).count(),
    "count of a subquery": lambda s: s.scalar(select(func.count()).select_from(select(Member).subquery())),
    "baked query": lambda s: phones(_bakery(lambda session: session.query(Member))(s).all()),
    "lambda statement": lambda s: phones(s.scalars(lambda_stmt(lambda: select(Member)))),
    "for update": lambda s: phones(s.scalars(select(Member).with_for_update())),
    "frozen result": lambda s: phones(s.execute(select(Member)).freeze()().scalars()),
    "polymorphic base": lambda s: notes(s, select(Note)),
    "with_polymorphic": lambda s: notes(s, select(with_polymorphic(Note, "*"))),
    "selectin_polymorphic": lambda s: notes(s, select(Note).options(selectin_polymorphic(Note, [CallNote]))),
    "joined subclass": lambda s: notes(s, select(CallNote)),
    "update returning": lambda s: phones(s.scalars(update(Member).values(city="z").returning(Member))),
}


def sales_of_all(world: World, **kw: Any) -> Session:
    """Sales cards, and the clear columns of every model; writes, so that UPDATE ... RETURNING can be tried too."""
    reads = {m.name: {"sales_card"} & m.categories for m in world.models.catalogue}
    return world.session(reads, (), {"Member": ["contact"]}, **kw)


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_no_ciphertext_but_the_purposes_own_leaves_the_database(filled: World, load: str) -> None:
    with sales_of_all(filled) as session:
        filled.clear()
        LOADS[load](session)
        for statement in filled.sql:
            outermost = statement.split(" FROM ")[0]
            if outermost.startswith("SELECT"):
                assert not HIDDEN.search(outermost), statement


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_a_plain_session_is_sent_no_ciphertext(filled: World, load: str) -> None:
    with Session(filled.engine) as session:
        filled.clear()
        with pytest.raises((UnsupportedOperation, AttributeError)) if "count" not in load else _nothing():
            LOADS[load](session)
        for statement in filled.sql:
            assert not HIDDEN.search(statement.split(" FROM ")[0]) or not statement.startswith("SELECT"), statement


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize(
    "statement",
    [
        lambda: select(Member.phone),
        lambda: select(Member.__table__.c.phone),
        lambda: select(Member.id, Member.__table__.c.phone_sales_card),
        lambda: select(Bundle("b", Member.id, Member.phone)),
        lambda: select(Member.__table__),
        lambda: select(Member.__table__.c.phone_bidx),
        lambda: select(func.count(Member.phone)),
        lambda: select(Member).order_by(Member.phone),
        lambda: update(Member).values(city="z").returning(Member.phone),
    ],
)
def test_a_bare_sealed_column_is_not_selected(filled: World, statement: Callable[[], Any]) -> None:
    with filled.admin() as session, pytest.raises(UnsupportedOperation):
        session.execute(statement()).all()


def test_projection_and_index_columns_are_no_attributes_to_use(filled: World) -> None:
    with filled.admin() as session:
        member = a_member(session)
        for name in ("phone_sales_card", "phone_bidx"):
            with pytest.raises(UnsupportedOperation):
                getattr(member, name)
            with pytest.raises(UnsupportedOperation):
                select(getattr(Member, name))
            with pytest.raises(UnsupportedOperation):
                _ = getattr(Member, name) == b"x"


def test_looking_at_the_class_attribute_raises_nothing() -> None:
    assert Member.phone.info == {}
    assert str(Member.phone) == "Member.phone"
    assert repr(Member.phone)
    for name in ("phone", "phone_sales_card", "phone_bidx"):
        assert not hasattr(getattr(Member, name), "nonsense")
    assert [a.key for a in inspect(Member).column_attrs if a.key.startswith("email")] == ["email", "email_bidx"]


def test_statements_are_cached_for_each_set_of_rights(filled: World) -> None:
    hits: list[tuple[str, str]] = []

    @event.listens_for(filled.engine, "before_cursor_execute")
    def _(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "members" in statement:
            hits.append((context.cache_hit.name, statement))

    shared = select(Message).options(joinedload(Message.member))
    messages = filled.purpose({"Member": ["sales_card"], "Message": []})
    contacts = filled.purpose({"Member": ["contact"], "Message": []})
    for purpose in (messages, contacts, messages, contacts):
        with filled.session_of(filled.grant(purpose)) as session:
            assert [m.member.phone for m in session.scalars(shared)]
    assert [h[0] for h in hits] == ["CACHE_MISS", "CACHE_MISS", "CACHE_HIT", "CACHE_HIT"]
    assert "sales_card" in hits[2][1]
    assert "sales_card" not in hits[3][1]


def test_an_object_that_moves_between_sessions_is_reloaded_with_the_rights_of_the_new_one(filled: World) -> None:
    with filled.admin() as session:
        member = a_member(session)
    with filled.sales() as session:
        session.add(member)
        session.expire(member)
        filled.clear()
        assert member.phone == "*******0000"
        assert member.city == "Shanghai"
        assert not any(HIDDEN.search(s) for s in filled.sql)


def test_a_model_that_the_purpose_lists_nowhere_is_denied(filled: World) -> None:
    with filled.session({"Member": ["contact"]}) as session:
        member = a_member(session)
        some = UUID(int=1)
        for act in (
            lambda: session.scalars(select(Message)).all(),
            lambda: session.scalars(select(Message.id)).all(),
            lambda: session.execute(select(Member, Message)).all(),
            lambda: session.get(Message, some),
            lambda: session.scalars(select(aliased(Message))).all(),
            lambda: session.execute(update(Message).values(room_id=some)),
            lambda: session.execute(delete(Message)),
            lambda: session.query(Message).count(),
            lambda: session.execute(select(func.count()).select_from(Message)).all(),
            lambda: member.messages,
        ):
            with pytest.raises(AccessDenied, match="Message") as caught:
                act()
            assert caught.value.reason == "not.granted"


@pytest.mark.parametrize("option", [joinedload, selectinload, subqueryload])
def test_a_model_that_the_purpose_lists_nowhere_has_no_rows_when_it_is_loaded_along(
    filled: World, option: Callable[..., Any]
) -> None:
    with filled.session({"Member": ["contact"]}) as session:
        for member in session.scalars(select(Member).options(option(Member.messages))).unique():
            assert member.messages == []
        assert session.scalars(select(Member).where(Member.messages.any())).all() == []


def test_a_subclass_that_is_listed_without_its_base_is_seen_alone(filled: World) -> None:
    with filled.session({"CallNote": ["contact"]}) as session:
        assert {n.number for n in session.scalars(select(CallNote))} == {"555123"}
        with pytest.raises(AccessDenied):
            session.scalars(select(Note)).all()


def test_a_purpose_that_only_writes_a_model_sees_its_clear_columns(filled: World) -> None:
    with filled.session(write={"Member": ["contact"]}) as session:
        member = a_member(session)
        assert member.city == "Shanghai"
        with pytest.raises(NotDisclosed):
            _ = member.phone


def test_rows_of_every_kind_load_without_a_statement_for_each(filled: World) -> None:
    with filled.session(SOURCES, batch=1000) as session:
        filled.clear()
        for member in session.scalars(select(Member).options(selectinload(Member.messages))):
            assert member.phone
            assert [m.body for m in member.messages]
        assert len(filled.statements("members", "messages")) == 2
        assert filled.gate.disclosed() == [("Member", 4), ("Message", 4)]


def test_an_inserted_row_comes_back_with_the_rights_of_the_session(world: World) -> None:
    with world.session(("sales_card",), write=("contact",)) as session:
        rows = [{"city": "z", "phone": "13800001234", "email": "a@example.org"}]
        member = session.scalars(insert(Member).returning(Member), rows).one()
        assert member.phone == "*******1234"
        with pytest.raises(NotDisclosed):
            _ = member.email


def test_text_is_not_ours_to_restrict_and_gives_ciphertext_only(filled: World) -> None:
    with filled.sales() as session:
        [(phone,)] = session.execute(text("SELECT phone FROM members LIMIT 1")).all()
        assert phone[:1] == b"\x01"
        assert session.scalar(select(literal(1))) == 1

"""Equality search through blind indexes: what works, what is refused when it is built, and what the gate is told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import (
    String,
    and_,
    bindparam,
    case,
    cast,
    delete,
    distinct,
    exists,
    func,
    lambda_stmt,
    literal,
    not_,
    or_,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.exc import CompileError
from sqlalchemy.orm import Session, aliased, joinedload, with_loader_criteria

from vaultstore.errors import BudgetExhausted, SearchDenied, UnsupportedOperation
from vaultstore.masks import Masked
from vaultstore.orm.types import SearchRefused
from vaultstore.policy.model import Limit

from .models import Member, Message, Sample
from .world import World

M = Member
ONE, TWO = "13812340001", "13812340002"


@pytest.fixture
def filled(world: World) -> World:
    world.fill(4)
    return world


FINDS: dict[str, tuple[list[str], Callable[[], Any]]] = {
    "==": (["1"], lambda: select(M).where(M.phone == ONE)),
    "== of a value that is written otherwise": (["1"], lambda: select(M).where(M.phone == f" {ONE} ")),
    "== of nobody's value": ([], lambda: select(M).where(M.phone == "0")),
    "!=": (["0", "2", "3"], lambda: select(M).where(M.phone != ONE)),
    "in_": (["1", "2"], lambda: select(M).where(M.phone.in_([ONE, TWO, "0"]))),
    "in_ of a set": (["1"], lambda: select(M).where(M.phone.in_({ONE}))),
    "in_ of nothing": ([], lambda: select(M).where(M.phone.in_([]))),
    "not_in": (["0", "3"], lambda: select(M).where(M.phone.not_in([ONE, TWO]))),
    "is_(None)": ([], lambda: select(M).where(M.phone.is_(None))),
    "== None": ([], lambda: select(M).where(M.phone == None)),  # noqa: E711 - what is tested
    "is_not(None)": (["0", "1", "2", "3"], lambda: select(M).where(M.phone.is_not(None))),
    "a NULL test without an index": (["0", "1", "2", "3"], lambda: select(M).where(M.birth_date.is_not(None))),
    "filter_by": (["1"], lambda: select(M).filter_by(phone=ONE)),
    "~": (["0", "2", "3"], lambda: select(M).where(~(M.phone == ONE))),
    "or_": (["1", "2"], lambda: select(M).where(or_(M.phone == ONE, M.phone == TWO))),
    "lambda": (["1"], lambda: lambda_stmt(lambda: select(M).where(M.phone == ONE))),
    "loader criteria": (["1"], lambda: select(M).options(with_loader_criteria(M, M.phone == ONE))),
    "case": (["1"], lambda: select(M).where(case((M.phone == ONE, 1), else_=0) == 1)),
}


@pytest.mark.parametrize("how", FINDS)
def test_a_search_finds_what_is_equal(filled: World, how: str) -> None:
    expected, statement = FINDS[how]
    with filled.admin() as session:
        assert sorted(m.phone[-1] for m in session.scalars(statement())) == expected


def test_a_search_reaches_through_aliases_joins_and_relationships(filled: World) -> None:
    other = aliased(M)
    with filled.admin() as session:
        assert session.scalars(select(other).where(other.phone == ONE)).one().phone == ONE
        for statement in (
            select(Message).join(Message.member).where(M.phone == ONE),
            select(Message).where(Message.member.has(M.phone == ONE)),
            select(Message).where(Message.member.has(phone=ONE)),
            select(Message).where(exists().where(M.id == Message.member_id, M.phone == ONE)),
        ):
            assert session.scalars(statement).one().body == "hello 1 0"
        assert session.scalar(select(func.count()).select_from(M).where(M.phone == ONE)) == 1
        assert session.query(M).filter(M.phone == ONE).count() == 1


def test_each_execution_asks_the_gate_once_for_a_field_whatever_the_values(filled: World) -> None:
    with filled.admin() as session:
        session.scalars(select(M).where(M.phone.in_([ONE, TWO, ONE]), or_(M.phone == "3", M.email == "x"))).all()
        assert [c for c in filled.gate.calls if c[0] == "search"] == [
            ("search", "Member", "phone", 3),
            ("search", "Member", "email", 1),
        ]


def test_hits_are_audited_with_their_subjects_before_anybody_sees_them(filled: World) -> None:
    with filled.admin() as session:
        wanted = session.scalars(select(M).where(M.phone == ONE)).one()
        assert filled.gate.calls[-1] == ("found", 1, [wanted.id.bytes])
        for statement, rows, subjects in (
            (select(M.id).where(M.phone == ONE), 1, [wanted.id.bytes]),
            (select(M.city, M).where(M.phone == ONE), 1, [wanted.id.bytes]),
            (select(M.city).where(M.phone == ONE), 1, []),
            (select(M).where(M.phone == "0"), 0, []),
        ):
            result = session.execute(statement)
            assert filled.gate.calls[-1] == ("found", rows, subjects)
            assert len(result.all()) == rows


def test_hits_of_update_and_delete_are_audited(filled: World) -> None:
    with filled.admin() as session:
        session.execute(update(M).where(M.phone == ONE).values(city="q"))
        assert filled.gate.calls[-1][:2] == ("found", 1)
        found = session.execute(delete(Message).where(Message.member.has(M.phone == TWO)))
        assert found.rowcount == 1
        assert filled.gate.calls[-1][:2] == ("found", 1)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_searched_result_can_be_streamed_and_uniqued_like_any_other(filled: World, size: int) -> None:
    statement = select(M).where(M.phone != ONE).order_by(M.id)
    with filled.admin() as session:
        streamed = session.scalars(statement.execution_options(yield_per=size))
        assert [m.phone[-1] for part in streamed.partitions() for m in part] == ["0", "2", "3"]
        later = session.scalars(statement).yield_per(size)
        assert [m.phone[-1] for m in later] == ["0", "2", "3"]
        joined = session.scalars(statement.options(joinedload(M.messages))).unique()
        assert [m.phone[-1] for m in joined] == ["0", "2", "3"]
        parts = session.execute(statement).fetchmany(2)
        assert [row[0].phone[-1] for row in parts] == ["0", "2"]


def test_a_cached_statement_searches_for_its_own_value(filled: World) -> None:
    with filled.admin() as session:
        for value in (ONE, TWO, ONE):
            assert session.scalars(select(M).where(M.phone == value)).one().phone == value
            closure = lambda_stmt(lambda: select(M))
            closure += lambda q: q.where(M.phone == value)  # noqa: B023 - run at once
            assert session.scalars(closure).one().phone == value
        world = filled
        world.clear()
        values = [ONE, TWO]
        several = lambda_stmt(lambda: select(M).where(M.phone.in_(values)))
        assert len(session.scalars(several).all()) == 2
        assert world.gate.calls[0] == ("search", "Member", "phone", 2)


def test_an_int_is_searched_by_its_value(world: World) -> None:
    from uuid import UUID

    with world.admin() as session:
        session.add(Sample(number=1, owner=UUID(int=1), a_int=0))
        session.add(Sample(number=2, owner=UUID(int=1), a_int=7))
        session.commit()
        assert session.scalars(select(Sample.number).where(Sample.a_int == 0)).all() == [1]


def test_a_search_that_the_purpose_does_not_list_is_denied(filled: World) -> None:
    for rights in (("contact",), ("sales_card",)):
        with filled.session(rights, ("email",)) as session, pytest.raises(SearchDenied):
            session.scalars(select(M).where(M.phone == ONE))
    with filled.session(("contact",), ("phone",)) as session:
        assert session.scalars(select(M).where(M.phone == ONE)).one().phone == ONE


def test_a_statement_keeps_no_digest_for_the_next_session(filled: World) -> None:
    statement = select(M).where(M.phone == ONE)
    with filled.admin() as session:
        assert session.scalars(statement).one()
    with filled.sales() as session, pytest.raises(SearchDenied):
        session.scalars(statement)


def test_searches_count_against_the_limit_and_the_refusal_comes_out_as_it_is(filled: World) -> None:
    limits = {"search": (Limit(3, "1h", "actor"),)}
    with filled.session(("contact",), ("phone",), limits=limits) as session:
        session.scalars(select(M).where(M.phone.in_([ONE, TWO])))
        session.scalars(select(M).where(M.phone == ONE))
        with pytest.raises(BudgetExhausted) as caught:
            session.scalars(select(M).where(M.phone == TWO))
        assert caught.value.__cause__ is None
        assert session.scalars(select(M.city)).first() == "Shanghai"


def test_without_a_purposes_session_nothing_is_searched(filled: World) -> None:
    with Session(filled.engine) as session, pytest.raises(SearchRefused):
        session.execute(select(M.id).where(M.phone == ONE))
    with filled.engine.connect() as connection, pytest.raises(SearchRefused):
        connection.execute(select(M.id).where(M.phone == ONE))


_OTHER = aliased(M)

REFUSED: dict[str, Callable[[], Any]] = {
    "<": lambda: M.phone < "1",
    "between": lambda: M.phone.between("1", "2"),
    "like": lambda: M.phone.like("1%"),
    "ilike": lambda: M.phone.ilike("x"),
    "contains": lambda: M.phone.contains("1"),
    "startswith": lambda: M.phone.startswith("1"),
    "endswith": lambda: M.phone.endswith("1"),
    "+": lambda: M.phone + "1",
    "reverse <": lambda: "1".__lt__(M.phone) is True or M.phone > "1",
    "reverse +": lambda: "1" + M.phone,
    "desc": lambda: M.phone.desc(),
    "label": lambda: M.phone.label("x"),
    "collate": lambda: M.phone.collate("x"),
    "op": lambda: M.phone.op("~")("x"),
    "bool_op": lambda: M.phone.bool_op("=")("x"),
    "is_distinct_from": lambda: M.phone.is_distinct_from("1"),
    "any_": lambda: M.phone.any_(),
    "concat": lambda: M.phone.concat("1"),
    "distinct": lambda: distinct(M.phone),
    "func": lambda: func.lower(M.phone),
    "cast": lambda: cast(M.phone, String),
    "type_coerce": lambda: type_coerce(M.phone, String),
    "select": lambda: select(M.phone),
    "order_by": lambda: select(M).order_by(M.phone),
    "group_by": lambda: select(func.count()).group_by(M.phone),
    "having": lambda: select(M.city).having(M.phone),
    "where": lambda: select(M).where(M.phone),
    "and_": lambda: and_(M.phone, M.city == "x"),
    "not_": lambda: not_(M.phone),
    "tuple_": lambda: tuple_(M.phone, M.city),
    "expression": lambda: M.phone.expression,
    "a column": lambda: M.phone == M.city,
    "to a column": lambda: M.city == M.phone,
    "to itself": lambda: _OTHER.phone == M.phone,
    "a parameter": lambda: M.phone == bindparam("p"),
    "a literal": lambda: M.phone == literal(ONE),
    "a subquery": lambda: M.phone.in_(select(M.city)),
    "in a subquery": lambda: M.city.in_(select(M.phone)),
    "None in in_": lambda: M.phone.in_([ONE, None]),
    "text for in_": lambda: M.phone.in_(ONE),
    "a mask": lambda: M.phone == Masked.of("***"),
    "a field without an index": lambda: M.birth_date == date(1990, 1, 1),
    "a value of another type": lambda: M.phone == 13812340001,
}


@pytest.mark.parametrize("how", REFUSED)
def test_anything_else_is_refused_when_it_is_built(how: str) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        REFUSED[how]()
    assert "1381234" not in str(caught.value)


@pytest.mark.parametrize(
    "condition",
    [
        lambda t: t.c.phone == ONE,
        lambda t: t.c.phone_bidx == ONE.encode(),
        lambda t: t.c.phone_bidx == bytes(32),
        lambda t: t.c.phone.like("1%"),
        lambda t: t.c.phone.in_([ONE]),
    ],
)
def test_table_columns_take_no_values(filled: World, condition: Callable[[Any], Any]) -> None:
    with filled.admin() as session, pytest.raises((UnsupportedOperation, Exception)) as caught:
        session.execute(select(M.id).where(condition(M.__table__)))
    assert type(caught.value).__name__ in ("BindRefused", "SearchRefused")


def test_needles_show_nothing(filled: World) -> None:
    statement = select(M).where(M.phone == ONE)
    assert ONE not in repr(statement.compile().params)
    assert ONE not in str(statement)
    with pytest.raises(CompileError) as caught:
        str(statement.compile(compile_kwargs={"literal_binds": True}))
    assert ONE not in str(caught.value)
    with pytest.raises(UnsupportedOperation):
        pickle.dumps(list(statement.compile().params.values()))


@pytest.mark.parametrize("chosen", ["auto", "evaluate", "fetch"])
def test_a_searched_update_changes_only_the_objects_that_match(filled: World, chosen: str) -> None:
    with filled.admin() as session:
        members = session.scalars(select(M).order_by(M.id)).all()
        session.execute(
            update(M).where(M.phone == ONE).values(city="q"), execution_options={"synchronize_session": chosen}
        )
        assert [m.city for m in members] == ["Shanghai", "q", "Shanghai", "Shanghai"]

"""Nothing that prints, logs, copies or fails shows a plaintext."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import attributes

from vaultstore.errors import UnsupportedOperation, WriteDenied
from vaultstore.masks import Masked
from vaultstore.orm import guards, uuid7

from .models import SECRET, Member
from .world import World, quiet_logs

T = Member.__table__


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All of SQLAlchemy's logs, at DEBUG."""
    buffer = io.StringIO()
    handler = logging.StreamHandler(buffer)
    logger = logging.getLogger("sqlalchemy")
    logger.addHandler(handler)
    for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield buffer
    logger.removeHandler(handler)
    quiet_logs()


def clean(*things: Any) -> None:
    assert SECRET not in " ".join(f"{thing!r} {thing}" for thing in things)


def test_an_object_shows_no_value_in_any_of_its_states(world: World) -> None:
    with world.admin() as session:
        member = Member(city="x", phone=SECRET, wishes={"k": SECRET})
        session.add(member)
        state = inspect(member)

        def look() -> None:
            clean(member, vars(member), session.new, session.dirty, session, state, state.dict)
            clean(state.committed_state, state.attrs.phone.history, state.attrs.phone.loaded_value)
            clean(attributes.get_history(member, "phone"), json.dumps(vars(member), default=str))

        look()
        session.flush()
        look()
        session.commit()
        assert member.phone == SECRET
        look()
        member.phone = SECRET + "1"
        look()
        session.flush()
        look()
        clean(pickle.dumps(member), vars(copy.deepcopy(member)), pickle.dumps(vars(member)["wishes"]))


def test_sql_logs_at_debug_show_no_value(world: World, log: io.StringIO) -> None:
    with world.admin() as session:
        session.add(Member(city="x", phone=SECRET, wishes={"k": SECRET}))
        session.commit()
        session.execute(insert(Member), [{"city": "y", "phone": SECRET + "2"}])
        session.commit()
        member = session.scalars(select(Member).where(Member.phone == SECRET)).one()
        assert (member.phone, member.wishes) == (SECRET, {"k": SECRET})
        member.phone = SECRET + "3"
        session.commit()
        with pytest.raises(Exception, match="nocolumn"):
            session.scalars(select(Member).where(Member.phone == SECRET, text("nocolumn = 1")))
    assert "INSERT INTO members" in log.getvalue()
    assert SECRET not in log.getvalue()


FAILURES: dict[str, Callable[[Any], Any]] = {
    "a flush that violates a constraint": lambda s: (s.add(Member(city=None, phone=SECRET)), s.flush()),
    "a Core insert": lambda s: s.execute(insert(T).values(id=uuid7(), city="x", phone=SECRET)),
    "a Core insert of many": lambda s: s.execute(insert(T), [{"id": uuid7(), "city": "x", "phone": SECRET}] * 2),
    "another column of a Core insert": lambda s: s.execute(insert(T).values(id="no-uuid", city="x", phone=SECRET)),
    "another column of many": lambda s: s.execute(insert(T), [{"id": "no-uuid", "city": "x", "phone": SECRET}] * 2),
    "a row that lacks a column": lambda s: s.execute(
        insert(T), [{"id": uuid7(), "city": "x", "phone": SECRET}, {"id": uuid7(), "phone": SECRET}]
    ),
    "another column of a flush": lambda s: (s.add(Member(id=uuid7(), city=object(), phone=SECRET)), s.flush()),
    "an update": lambda s: s.execute(update(Member).values(phone=SECRET)),
    "an update by attribute": lambda s: s.execute(update(Member).values({Member.phone: SECRET})),
    "a legacy bulk insert": lambda s: s.bulk_insert_mappings(Member, [{"city": "x", "phone": SECRET}]),
    "a search in a bad statement": lambda s: s.execute(select(Member).where(Member.phone == SECRET, text("no=1"))),
    "a literal in a bad statement": lambda s: s.execute(select(Member.id).where(T.c.phone == SECRET, text("no=1"))),
    "text with a parameter": lambda s: s.execute(text("SELECT no WHERE :p = 1"), {"p": SECRET}),
    "an unknown keyword": lambda s: Member(phon=SECRET),
    "a wrong type": lambda s: Member(city="x", birth_date=SECRET),
    "a wrong type in a bulk insert": lambda s: s.execute(insert(Member), [{"city": "x", "birth_date": SECRET}]),
    "a search for a wrong type": lambda s: select(Member).where(Member.phone == int(SECRET)),
}


@pytest.mark.parametrize("how", FAILURES)
def test_no_error_shows_a_value(world: World, log: io.StringIO, how: str) -> None:
    with world.admin() as session, session.no_autoflush:
        with pytest.raises(Exception) as caught:
            FAILURES[how](session)
        error: BaseException | None = caught.value
        shown = ["".join(traceback.format_exception(caught.value, limit=0))]
        seen: set[int] = set()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            shown.append(f"{error} {error!r} {getattr(error, 'params', None)} {vars(error)}")
            error = error.__cause__ or error.__context__
        clean(*shown)
        session.rollback()
    assert SECRET not in log.getvalue()


def test_a_guard_is_put_on_an_engine_once(world: World) -> None:
    guards.guard(world.engine)
    guards.guard(world.engine)
    refused = pytest.raises(DBAPIError, match=r"no such column|does not exist")
    with world.engine.connect() as connection, refused as caught:
        connection.execute(text("SELECT no WHERE :p = 1"), {"p": SECRET})
    assert caught.value.params is None


def test_psycopg_is_taught_to_refuse_masked() -> None:
    from types import SimpleNamespace

    import psycopg
    from psycopg.adapt import AdaptersMap, PyFormat, Transformer

    adapters = AdaptersMap(psycopg.adapters)
    record = SimpleNamespace(info={})
    for _ in range(2):
        guards._refuse_masked(SimpleNamespace(driver_connection=SimpleNamespace(adapters=adapters)), record, None)
    context = SimpleNamespace(adapters=adapters, connection=None)
    masked = Masked.of("***")
    transformer = Transformer(context)  # type: ignore[arg-type] # it asks for these two
    for values in ([masked], [[masked]]):
        with pytest.raises(WriteDenied):
            transformer.dump_sequence(values, [PyFormat.AUTO])
    with pytest.raises(WriteDenied):
        transformer.as_literal(masked)


def test_repr_of_what_the_layer_makes_shows_no_value() -> None:
    from vaultstore.errors import DecryptionError
    from vaultstore.orm.types import Cell, Digest, Needle, Shut

    clean(Cell(b"ct", SECRET), Cell.assigned(SECRET, SECRET.encode()), Shut(SECRET.encode(), DecryptionError("no")))
    clean(Needle("Member", "phone", SECRET.encode()), [Digest(SECRET.encode())])
    with pytest.raises(UnsupportedOperation):
        pickle.dumps(Needle("Member", "phone", SECRET.encode()))

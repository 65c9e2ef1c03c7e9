"""The gate's database fails: a typed error, nothing disclosed, nothing counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.errors import AuditError, TokenInvalid


def no_entry(world: World) -> None:
    """The audit table takes nothing."""
    with world.gate_engine.begin() as connection:
        if world.dialect == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON vs_entries BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
        else:
            connection.exec_driver_sql(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER no_room BEFORE INSERT ON vs_entries FOR EACH ROW EXECUTE FUNCTION no_room()"
            )


def no_writing(world: World) -> None:
    """The gate's database can be read only."""
    if world.dialect == "sqlite":
        world.gate_engine.dispose()

        @sa.event.listens_for(world.gate_engine, "connect")
        def connect(connection: sa.engine.interfaces.DBAPIConnection, record: object) -> None:
            connection.cursor().execute("PRAGMA query_only = ON")
    else:
        name = world.gate_engine.url.database
        with world.members_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        world.gate_engine.dispose()


def gone(world: World) -> None:
    """The gate's database is not there any more."""
    if world.dialect == "sqlite":
        world.gate_engine.dispose()
        file = Path(world.gate_engine.url.database or "")
        for beside in file.parent.glob("gate.db*"):
            beside.unlink()
        file.mkdir()
    else:
        name = world.gate_engine.url.database
        elsewhere = sa.create_engine(world.gate_engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with elsewhere.connect() as connection:
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
        elsewhere.dispose()


def disclose(world: World, member: bytes) -> object:
    return world.disclose(world.open("few"), [member], "profile")


def refuse(world: World, member: bytes) -> object:
    return world.disclose(world.open("cards"), [member], "profile")


def seal(world: World, member: bytes) -> object:
    # On a connection that is lent for the row's transaction but never comes to be used.
    return world.gate.seal(
        world.open("register"), "Member", ["contact"], [("contact", os.urandom(16), b"")], {}, _unused()
    )


def search(world: World, member: bytes) -> object:
    return world.gate.search(world.open("lookup"), "Member", "phone", [b"1"])


def collide(world: World, member: bytes) -> object:
    return world.gate.collision(world.open("signup"), "Member", "phone")


def check(world: World, member: bytes) -> object:
    return world.gate.check(world.grant("care", role="guest"))


def _unused() -> sa.Connection:
    class Unused:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"the row's connection was used: {name}")

    return Unused()  # type: ignore[return-value] # stands in for a Connection that must not be touched


@pytest.mark.parametrize("act", [disclose, refuse, seal, search, collide, check])
@pytest.mark.parametrize("fail", [no_entry, no_writing, gone])
def test_without_an_audit_entry_nothing_happens(
    world: World, fail: Callable[[World], None], act: Callable[[World, bytes], object]
) -> None:
    member = world.member("profile")
    fail(world)
    with pytest.raises(AuditError, match="the gate's database failed") as caught:
        act(world, member)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert world.keys.verbs() == []


@pytest.mark.parametrize("act", [disclose, seal, search, collide])
def test_without_an_audit_entry_nothing_is_counted_or_registered(
    world: World, act: Callable[[World, bytes], object]
) -> None:
    member = world.member("profile")
    no_entry(world)
    with pytest.raises(AuditError):
        act(world, member)
    assert (world.rows("vs_limits"), world.rows("vs_charges"), world.rows("vs_subjects")) == (0, 0, 1)
    with world.gate_engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT number FROM vs_subjects").scalar_one() == 1


def test_a_hand_out_that_fails_discloses_nothing(world: World) -> None:
    member = world.member("contact")
    with world.members_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE vs_keyring RENAME TO elsewhere")
    with pytest.raises(AuditError):
        world.disclose(world.open("care"), [member], "contact")
    assert world.last().content["outcome"] == "disclosed"  # admitted, and that much is true
    assert world.keys.verbs() == []


def test_a_closure_that_was_edited_in_the_database_decides_nothing(world: World) -> None:
    member = world.member("profile")
    with world.gate_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vs_purposes SET closure = replace(closure, 'identity', 'profile')")
    with pytest.raises(TokenInvalid):
        world.disclose(world.open("care"), [member], "profile")
    assert world.last().content["outcome"] == "refused:policy.changed"

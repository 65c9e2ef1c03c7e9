"""A database says which plane is applied to it, and serves each login its own purposes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.support.postgres_login import claims, engine_of, running, state_of, ticket
from tests.support.postgres_plane import PostgresWorld, bind
from tests.support.postgres_store import applied_store
from vaultstore import errors, records
from vaultstore.gate.claims import Claims
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.records.plane import RolePlane, fetch
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

POLICY = bind()


@pytest.fixture(scope="module")
def store(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=True) as world:
        yield world


@pytest.fixture(scope="module")
def lax(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=False) as world:
        yield world


def checked(store: PostgresWorld, said: Claims, service: str = "crm") -> str | None:
    with engine_of(store, RolePlane(store.prefix).login(service)) as engine:
        return PostgresLedger(engine).check(said).code


def test_the_database_says_which_plane_is_applied(store: PostgresWorld, lax: PostgresWorld) -> None:
    for world, strict in ((store, True), (lax, False)):
        for service in POLICY.services:
            with engine_of(world, RolePlane(world.prefix).login(service)) as engine, engine.connect() as connection:
                assert fetch(connection) == RolePlane(world.prefix, strict)


def test_without_a_plane_there_is_none_and_without_functions_it_says_so(pg_database: str) -> None:
    engine = sa.create_engine(pg_database)
    with engine.connect() as connection, pytest.raises(errors.SettingsError, match="no vs_plane"):
        fetch(connection)
    records.create_all(engine, engine)
    with engine.connect() as connection:
        assert fetch(connection) is None
    with pytest.raises(errors.SettingsError, match="no key for tickets"):
        PostgresLedger(engine).ticket(claims("x"), ["y"])
    engine.dispose()
    with sa.create_engine("sqlite://").connect() as connection:
        assert fetch(connection) is None


def test_a_plane_that_is_not_strict_still_serves_a_login_its_own_purposes_only(lax: PostgresWorld) -> None:
    said = claims("sales.outreach", digest=POLICY.digest("sales.outreach"))
    assert checked(lax, said) is None
    assert checked(lax, said, "relay") == "login.not_served"
    assert checked(lax, replace(said, purpose="no.such_purpose"), "crm") == "login.not_served"


def test_two_rows_in_vs_plane_open_nothing(store: PostgresWorld) -> None:
    bare = claims("sales.outreach", digest=POLICY.digest("sales.outreach"))
    said = replace(bare, ticket=ticket(store, bare, "crm"))
    store.execute("INSERT INTO vs_plane (prefix, strict, applied_at) VALUES ('zz_', false, now())")
    try:
        with running(store, "crm", "sales.outreach", said) as connection:
            assert state_of(connection, "SELECT id FROM members") == "21000"
        with pytest.raises(errors.AuditError):
            checked(store, said)
    finally:
        store.execute("DELETE FROM vs_plane WHERE prefix = 'zz_'")
    assert checked(store, said) is None

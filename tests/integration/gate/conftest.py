"""The gate's functions in PostgreSQL, called by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World, postgres_world
from vaultstore import records
from vaultstore.testing import PostgresServer


@pytest.fixture
def pg(pg_database: str) -> Iterator[World]:
    engine = sa.create_engine(pg_database)
    records.create_all(engine, engine)
    engine.dispose()
    with postgres_world(pg_database) as world:
        yield world


@pytest.fixture
def service(pg: World, postgres: PostgresServer) -> Iterator[sa.Engine]:
    """Another login, which may call what a reader calls, and reach no table."""
    role = f"svc_{pg.gate_engine.url.database}"[:60]
    postgres.execute(f'CREATE ROLE "{role}" LOGIN')
    with pg.gate_engine.begin() as connection:
        for name in ("vs_check", "vs_admit", "vs_wraps", "vs_search", "vs_found"):
            arguments = connection.exec_driver_sql(f"SELECT '{name}'::regproc::regprocedure").scalar_one()
            connection.exec_driver_sql(f'GRANT EXECUTE ON FUNCTION {arguments} TO "{role}"')
    engine = sa.create_engine(pg.gate_engine.url.set(username=role), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()
    with pg.gate_engine.begin() as connection:
        connection.exec_driver_sql(f'DROP OWNED BY "{role}"')
    postgres.execute(f'DROP ROLE "{role}"')

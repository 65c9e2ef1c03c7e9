"""The world that every test of the gate runs in: once on SQLite, once on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World, postgres_world, sqlite_world
from vaultstore import records
from vaultstore.testing import PostgresServer


@pytest.fixture(scope="session")
def gate_template(postgres: PostgresServer) -> str:
    """A database with our tables and functions, to copy from."""
    engine = sa.create_engine(postgres.create_database())
    records.create_all(engine, engine)
    engine.dispose()
    return engine.url.database or ""


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[World]:
    with sqlite_world(tmp_path) as world:
        yield world


@pytest.fixture
def pg(postgres: PostgresServer, gate_template: str) -> Iterator[World]:
    url = postgres.create_database(template=gate_template)
    with postgres_world(url) as world:
        yield world
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", pytest.param("pg", marks=pytest.mark.integration)])
def world(request: pytest.FixtureRequest) -> World:
    """The same claims hold on both databases."""
    made: World = request.getfixturevalue(request.param)
    return made

"""Hypothesis profiles and the real servers that tests share, started when first asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from vaultstore.testing import OpenBaoServer, PostgresServer

# The same examples each time: `make test` says whether a change broke something, `make soak` looks for what is new.
settings.register_profile("default", max_examples=50, deadline=None, derandomize=True)
settings.register_profile("bounded", max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBaoServer]:
    """A dev-mode OpenBao that tests of this process share: take a prefix and mounts of your own, and don't stop it."""
    with OpenBaoServer() as server:
        yield server


@pytest.fixture(scope="session")
def openbao_raft() -> Iterator[OpenBaoServer]:
    """A shared OpenBao with raft storage and a file audit device. Who seals or stops it puts it back."""
    with OpenBaoServer("raft", max_request_json_strings=20_000) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL cluster that tests of this process share. Who stops it starts it again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def pg_database(postgres: PostgresServer) -> Iterator[str]:
    """SQLAlchemy URL of a fresh, empty database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)

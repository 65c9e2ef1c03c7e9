from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .world import World


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A fresh store, on either database."""
    url = request.getfixturevalue("pg_database") if request.param == "postgresql" else None
    world = World(tmp_path, url=url)
    yield world
    world.close()


@pytest.fixture
def sqlite_world(tmp_path: Path) -> Iterator[World]:
    """A fresh store on SQLite, where a claim is about SQLite."""
    world = World(tmp_path)
    yield world
    world.close()

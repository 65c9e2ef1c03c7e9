"""What the tests by raw SQL share: a small deployed store in both modes, and statements that may fail."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.security.deployment import Town, town
from vaultstore.testing import OpenBaoServer, PostgresServer

__all__ = ["OWN", "ids", "raw_place", "state", "state_and_keep"]


@pytest.fixture(scope="session", params=["default", "strict"])
def raw_place(request: pytest.FixtureRequest, openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=request.param == "strict") as made:
        made.members(2, lead=True)
        made.members(2)
        made.members(2, store="sh-02")
        made.chat(*made.known[:2])
        made.inside("ANALYZE")
        yield made


OWN = 2
"""Members whom the matchmaker holds as leads."""


def state(cursor: psycopg.Cursor[Any] | psycopg.Connection[Any], statement: str, *values: object) -> str:
    """SQLSTATE of a statement that fails, "" of one that works. Within a transaction it is undone."""
    inside = cursor.connection if isinstance(cursor, psycopg.Cursor) else cursor
    try:
        with inside.transaction():
            cursor.execute(statement, values or None)
            raise psycopg.Rollback
    except psycopg.Error as error:
        return error.sqlstate or type(error).__name__
    return ""


def ids(cursor: psycopg.Cursor[Any]) -> set[uuid.UUID]:
    """Ids of the members that a role sees."""
    return {row[0] for row in cursor.execute("SELECT id FROM members").fetchall()}


def state_and_keep(cursor: psycopg.Cursor[Any], statement: str) -> str:
    """As `state`, but what worked stays until the transaction ends."""
    try:
        with cursor.connection.transaction():
            cursor.execute(statement)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return ""

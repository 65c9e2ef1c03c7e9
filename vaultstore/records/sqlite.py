"""How our SQLite files are opened: write-ahead log, foreign keys, and a BEGIN that means it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["BUSY_TIMEOUT", "IMMEDIATE", "configure"]

BUSY_TIMEOUT = 15_000
"""Milliseconds that a writer waits for another."""

_PRAGMAS = (
    f"busy_timeout = {BUSY_TIMEOUT}",  # first: switching to WAL waits for others too
    "journal_mode = WAL",  # readers are never blocked by a session that has flushed
    "synchronous = FULL",  # an audit entry must not vanish with the power
    "foreign_keys = ON",
    "secure_delete = ON",  # a destroyed key is overwritten, not just unlinked
    "journal_size_limit = 0",  # nor left in a write-ahead log that begins anew
)


IMMEDIATE = "vaultstore_immediate"
"""Execution option: a transaction takes the file's write lock as it begins, so that it decides on what it read."""


def configure(engine: sa.Engine) -> sa.Engine:
    """Set up every connection of an SQLite engine, before it opens the first one; give the engine back.

    Harmless when repeated.
    """
    if not sa.event.contains(engine, "begin", _begin):
        sa.event.listen(engine, "connect", _connect)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _connect(connection: Any, record: object) -> None:
    # The driver would begin transactions by its own lights, and not at all before a SELECT.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get(IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

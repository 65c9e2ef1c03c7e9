"""Versions of the keys of blind indexes: which one digests are made under, and which one is on its way out.

No row: version 1, as every index begins. While a key is being rotated there are two versions: rows are written with
digests of the next one and looked up by both, until every row has one of the next. Where the index lies stands here
too, so that the database can look for a taken value itself, whoever writes the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, metadata, rfc3339

__all__ = [
    "FIRST",
    "NO_VERSIONS",
    "Place",
    "Versions",
    "fetch",
    "held_at",
    "overtaken",
    "place_of",
    "read",
    "set_versions",
    "settle",
    "settled",
    "unsettled",
    "vs_index_versions",
]

vs_index_versions = sa.Table(
    "vs_index_versions",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("current", sa.Integer, nullable=False),
    sa.Column("next", sa.Integer),
    sa.Column("table_schema", sa.Text),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("column_name", sa.Text, nullable=False),
    sa.Column("key_name", sa.Text, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("settled_at", Instant),
    info=GATE,
)
"""`settled_at`: a pass over all rows since the rotation began left none with a digest of `current`."""


class Versions(NamedTuple):
    """The versions of an index's key: `current`, and while it is being rotated the `next` one."""

    current: int
    next: int | None = None

    @property
    def written(self) -> int:
        """The version that new digests are of."""
        return self.current if self.next is None else self.next

    @property
    def former(self) -> int | None:
        """The version that rows may still have digests of, beside the one that is written."""
        return None if self.next is None else self.current

    @property
    def all(self) -> tuple[int, ...]:
        """Every version that a row may have a digest of; the one that is written comes first."""
        return (self.current,) if self.next is None else (self.next, self.current)


FIRST = Versions(1)
"""Of an index whose key was never rotated."""


NO_VERSIONS: Mapping[str, Versions] = MappingProxyType({})


def overtaken(known: Mapping[str, Versions], used: Mapping[str, Versions]) -> bool:
    """Whether one of the `used` versions is not what the table says by now."""
    return any(known.get(name, FIRST) != versions for name, versions in used.items())


class Place(NamedTuple):
    """Where a blind index lies: its table and column, and the column of the row keys beside it."""

    schema: str | None
    table: str
    column: str
    key: str


def read(connection: sa.Connection) -> dict[str, Versions]:
    """Index name -> versions, of every index whose key was rotated or is being rotated."""
    c = vs_index_versions.c
    return {name: Versions(*pair) for name, *pair in connection.execute(sa.select(c.name, c.current, c.next))}


def place_of(connection: sa.Connection, name: str) -> Place | None:
    """Where the index lies whose key was or is being rotated."""
    c = vs_index_versions.c
    query = sa.select(c.table_schema, c.table_name, c.column_name, c.key_name).where(c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else Place(*row)


def unsettled(connection: sa.Connection) -> set[str]:
    """Indexes that may have rows with digests of another version than the one that is written."""
    c = vs_index_versions.c
    return set(connection.scalars(sa.select(c.name).where(c.next.is_not(None), c.settled_at.is_(None))))


# SQLite's side of the gate.


def fetch(cursor: sqlite3.Cursor) -> Mapping[str, Versions]:
    """As `read`."""
    rows = cursor.execute("SELECT name, current, next FROM vs_index_versions")
    return {name: Versions(current, following) for name, current, following in rows}


def held_at(cursor: sqlite3.Cursor, name: str) -> Place | None:
    """As `place_of`."""
    row = cursor.execute(
        "SELECT table_schema, table_name, column_name, key_name FROM vs_index_versions WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else Place(*row)


def set_versions(cursor: sqlite3.Cursor, name: str, versions: Versions, place: Place, now: datetime) -> None:
    """Make these the versions of an index; its rows are not known to have digests of the written one."""
    cursor.execute("DELETE FROM vs_index_versions WHERE name = ?", (name,))
    cursor.execute(
        "INSERT INTO vs_index_versions"
        " (name, current, next, table_schema, table_name, column_name, key_name, changed_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (name, *versions, *place, rfc3339(now)),
    )


def settle(cursor: sqlite3.Cursor, name: str, now: datetime | None) -> None:
    """Every row has a digest of the next version, as of `now`; None: that is not known any more."""
    moment = None if now is None else rfc3339(now)
    cursor.execute("UPDATE vs_index_versions SET settled_at = ? WHERE name = ?", (moment, name))


def settled(cursor: sqlite3.Cursor, name: str) -> bool:
    """Whether every row is known to have a digest of the next version."""
    row = cursor.execute("SELECT settled_at FROM vs_index_versions WHERE name = ?", (name,)).fetchone()
    return row is not None and row[0] is not None

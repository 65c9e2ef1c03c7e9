"""Versions of the categories' keys: which wraps may still be of, and pages of wraps that are out to be wrapped anew."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from vaultstore.records.base import GATE, MEMBERS, Id, Instant, metadata

__all__ = [
    "Bound",
    "HeldWrap",
    "counted",
    "cuts",
    "older",
    "oldest",
    "page",
    "replace",
    "retire",
    "stale",
    "state",
    "version_of",
    "vs_key_versions",
    "vs_rewraps",
]

vs_key_versions = sa.Table(
    "vs_key_versions",
    metadata,
    sa.Column("category", sa.String(63), primary_key=True),
    sa.Column("oldest", sa.Integer, nullable=False),
    sa.Column("retired_at", Instant, nullable=False),
    info=MEMBERS,
)
"""No wrap of a version before `oldest` is taken any more; no row: any. It lies beside the keyring."""

vs_rewraps = sa.Table(
    "vs_rewraps",
    metadata,
    sa.Column("entry", sa.String(64), primary_key=True),
    sa.Column("category", sa.String(63), nullable=False),
    sa.Column("newest", sa.Integer, nullable=False),
    sa.Column("after_subject", Id, nullable=False),
    sa.Column("after_scope", sa.LargeBinary, nullable=False),
    sa.Column("after_key", sa.BigInteger, nullable=False),
    sa.Column("last_subject", Id, nullable=False),
    sa.Column("last_scope", sa.LargeBinary, nullable=False),
    sa.Column("last_key", sa.BigInteger, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    info=GATE,
)
"""What a page of wraps holds, from its entry until it comes back; PostgreSQL's functions keep it, SQLite needs none."""

Bound = tuple[bytes, bytes, int]
"""A place among the wraps of a category: subject, scope, key id."""

_VERSION = re.compile(r"[a-z]+:v([0-9]{1,9}):")
# As version_of; what is no wrap counts as version 0.
_SQL_VERSION = (
    "CASE WHEN instr(wrapped, ':v') > 1 THEN CAST(substr(wrapped, instr(wrapped, ':v') + 2, 9) AS INTEGER) ELSE 0 END"
)


class HeldWrap(NamedTuple):
    """A wrap of the keyring, and whose it is."""

    subject: bytes
    scope: bytes
    key_id: int
    wrapped: str

    @property
    def bound(self) -> Bound:
        """Its place among the wraps of its category."""
        return self.subject, self.scope, self.key_id


def version_of(wrapped: str) -> int:
    """The version of the category's key that a wrap is of, ``SCHEME:vN:...``; 0 for what is none."""
    found = _VERSION.match(wrapped)
    return int(found[1]) if found else 0


def oldest(connection: sa.Connection) -> dict[str, int]:
    """Category -> the oldest version that wraps may be of, where versions were given up."""
    c = vs_key_versions.c
    return {row.category: row.oldest for row in connection.execute(sa.select(c.category, c.oldest))}


# What follows is SQLite's side of the gate.


def stale(connection: sa.Connection, wraps: Iterable[tuple[str, str]]) -> bool:
    """Whether one of these, (category, wrap) each, is of a version that was given up.

    The caller holds the write lock of the keyring's file, for which whoever gives a version up waits.
    """
    least = oldest(connection)
    return bool(least) and any(version_of(wrapped) < least.get(category, 0) for category, wrapped in wraps)


def state(cursor: sqlite3.Cursor) -> list[tuple[str, int, int]]:
    """(category, version, how many live wraps)."""
    query = f"SELECT category, {_SQL_VERSION} AS version, count(*) FROM vs_keyring GROUP BY 1, 2 ORDER BY 1, 2"  # noqa: S608 - of our own
    return [(category, version, held) for category, version, held in cursor.execute(query)]


def older(connection: sa.Connection, category: str, version: int) -> dict[int, int]:
    """Version -> how many live wraps of the category are of it, of those before `version`."""
    query = (
        f"SELECT {_SQL_VERSION} AS version, count(*) FROM vs_keyring"  # noqa: S608 - of our own
        f" WHERE category = ? AND {_SQL_VERSION} < ? GROUP BY 1 ORDER BY 1"
    )
    return {row[0]: row[1] for row in connection.exec_driver_sql(query, (category, version))}


def retire(connection: sa.Connection, category: str, version: int, now: datetime) -> None:
    """Take no wrap of the category before `version` any more."""
    known = oldest(connection)
    values = {"oldest": max(version, known.get(category, 0)), "retired_at": now}
    if category in known:
        connection.execute(vs_key_versions.update().where(vs_key_versions.c.category == category).values(**values))
    else:
        connection.execute(vs_key_versions.insert().values(category=category, **values))


def cuts(cursor: sqlite3.Cursor, category: str, newest: int, pieces: int) -> list[tuple[bytes, int]]:
    """(last subject, how many) of about `pieces` ranges of the category's wraps of versions before `newest`."""
    query = (
        "SELECT max(subject), count(*) FROM (SELECT subject, ntile(?) OVER (ORDER BY subject) AS piece"  # noqa: S608
        f" FROM vs_keyring WHERE category = ? AND {_SQL_VERSION} < ?) GROUP BY piece ORDER BY piece"
    )
    return [(last, held) for last, held in cursor.execute(query, (pieces, category, newest))]


def page(
    cursor: sqlite3.Cursor, category: str, newest: int, after: Bound, until: Bound | None, most: int
) -> list[HeldWrap]:
    """The next wraps of versions before `newest`, at most so many, beyond one place and up to another."""
    query = (
        "SELECT subject, scope, key_id, wrapped FROM vs_keyring WHERE subject >= ? AND category = ?"  # noqa: S608
        f" AND (subject, scope, key_id) > (?, ?, ?) AND {_SQL_VERSION} < ?"
        f"{'' if until is None else ' AND (subject, scope, key_id) <= (?, ?, ?)'}"
        " ORDER BY subject, scope, key_id LIMIT ?"
    )
    return [HeldWrap(*row) for row in cursor.execute(query, (after[0], category, *after, newest, *(until or ()), most))]


def replace(connection: sa.Connection, category: str, changed: Sequence[tuple[HeldWrap, str]]) -> int:
    """Put a new wrap in the place of each old one that still stands; how many did."""
    replaced = 0
    for held, new in changed:
        if version_of(new) > version_of(held.wrapped) and new.split(":")[0] == held.wrapped.split(":")[0]:
            replaced += connection.exec_driver_sql(
                "UPDATE vs_keyring SET wrapped = ?"
                " WHERE subject = ? AND category = ? AND scope = ? AND key_id = ? AND wrapped = ?",
                (new, held.subject, category, held.scope, held.key_id, held.wrapped),
            ).rowcount
    return replaced


def counted(rows: Iterable[tuple[str, int, int]]) -> Mapping[str, Mapping[int, int]]:
    """Category -> version -> how many live wraps."""
    found: dict[str, dict[int, int]] = {}
    for category, version, held in rows:
        found.setdefault(category, {})[version] = held
    return found

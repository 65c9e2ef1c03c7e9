"""The keyring: wrapped data keys. Destroying a subject's rows is crypto-shredding."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import sqlalchemy as sa

from vaultstore.records.base import MEMBERS, Id, Instant, metadata

__all__ = [
    "KeyRow",
    "count_by_scope",
    "destroy",
    "destroy_others",
    "fetch",
    "insert",
    "missing",
    "take_write_lock",
    "vs_keyring",
]

_Ref = tuple[str, bytes, bytes, int]

vs_keyring = sa.Table(
    "vs_keyring",
    metadata,
    sa.Column("subject", Id, primary_key=True),
    sa.Column("category", sa.String(63), primary_key=True),
    sa.Column("scope", sa.LargeBinary, primary_key=True),
    sa.Column("key_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("wrapped", sa.Text, nullable=False),
    sa.Column("minted_by", sa.String(63), nullable=False),
    sa.Column("minted_at", Instant, nullable=False),
    info=MEMBERS,
    postgresql_with={"fillfactor": 90},
    sqlite_with_rowid=False,
)
"""`minted_by` is the purpose that made the key: no other may seal under it, since it never saw the key made.

Fillfactor 90 lets rewrapping update in place (HOT).
"""


class KeyRow(NamedTuple):
    """A data key as it goes into the keyring."""

    subject: bytes
    category: str
    scope: bytes
    key_id: int
    wrapped: str
    minted_by: str
    minted_at: str
    """RFC 3339 text."""


def destroy(connection: sa.Connection, subject: bytes, but: Collection[bytes] = ()) -> dict[str, list[int]]:
    """Destroy the data keys of a subject, but for those of some scopes: category -> ids of the keys that are gone."""
    gone: dict[str, list[int]] = {}
    c = vs_keyring.c
    whose = (c.subject == subject) & c.scope.not_in(sorted(but))
    for category, key_id in connection.execute(sa.select(c.category, c.key_id).where(whose)):
        gone.setdefault(category, []).append(key_id)
    connection.execute(vs_keyring.delete().where(whose))
    return gone


def count_by_scope(connection: sa.Connection, subject: bytes) -> dict[bytes, int]:
    """Scope -> how many data keys a subject has in it."""
    c = vs_keyring.c
    query = sa.select(c.scope, sa.func.count()).where(c.subject == subject).group_by(c.scope)
    return {row[0]: row[1] for row in connection.execute(query)}


def destroy_others(connection: sa.Connection, subject: bytes, scope: bytes, kept: Mapping[str, int]) -> int:
    """Destroy a subject's data keys of one scope but those in `kept` (category -> key id), in these categories."""
    c, destroyed = vs_keyring.c, 0
    for category, key_id in sorted(kept.items()):
        others = (c.subject == subject) & (c.scope == scope) & (c.category == category) & (c.key_id != key_id)
        destroyed += connection.execute(vs_keyring.delete().where(others)).rowcount
    return destroyed


# What follows is SQLite's side of the gate. On PostgreSQL vs_wraps and vs_mint do it, and nothing else reads the table.


@cache
def _find(count: int) -> str:
    """Exact probes of the primary key: a subject may have a key for each of thousands of scopes."""
    values = ",".join(["(?,?,?,?)"] * count)
    return (
        f"WITH wanted (c, s, p, k) AS (VALUES {values})"  # noqa: S608 - marks only
        " SELECT category, subject, scope, key_id, wrapped, minted_by FROM wanted CROSS JOIN vs_keyring"
        " WHERE subject = s AND category = c AND scope = p AND key_id = k"
    )


def _probes(refs: Sequence[_Ref]) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Statements and parameters that look `refs` up, a few hundred at a time."""
    for start in range(0, len(refs), 500):
        piece = refs[start : start + 500]
        yield _find(len(piece)), tuple(chain.from_iterable(piece))


def fetch(cursor: sqlite3.Cursor, refs: Sequence[_Ref]) -> list[tuple[_Ref, str, str]]:
    """(ref, wrap, minting purpose) of those `refs` that the keyring holds."""
    found: list[tuple[_Ref, str, str]] = []
    for query, values in _probes(refs):
        rows = cursor.execute(query, values)
        found += [((category, subject, scope, key_id), w, by) for category, subject, scope, key_id, w, by in rows]
    return found


def take_write_lock(connection: sa.Connection) -> None:
    """Take the write lock of the members' file (SQLite) without changing anything."""
    connection.exec_driver_sql("UPDATE vs_keyring SET key_id = key_id WHERE 0")


def missing(connection: sa.Connection, refs: Sequence[_Ref]) -> list[_Ref]:
    """Those of `refs` that the keyring does not hold, as the row's own transaction sees it (SQLite)."""
    there: set[_Ref] = set()
    for query, values in _probes(refs):
        there.update((row[0], row[1], row[2], row[3]) for row in connection.exec_driver_sql(query, values))
    return [ref for ref in refs if ref not in there]


def insert(connection: sa.Connection, rows: Sequence[KeyRow]) -> None:
    """Add data keys in the transaction of the row that they seal (SQLite)."""
    if rows:
        connection.exec_driver_sql(
            "INSERT INTO vs_keyring (subject, category, scope, key_id, wrapped, minted_by, minted_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [tuple(row) for row in rows],
        )

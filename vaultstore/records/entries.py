"""Audit entries: the leaf as text, exactly as it is hashed, and beside it the lines that can be erased."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, metadata, rfc3339

__all__ = ["StoredEntry", "append", "by_id", "disclosure", "following", "read", "search_of", "vs_entries"]

vs_entries = sa.Table(
    "vs_entries",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("time", Instant, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("leaf", sa.Text, nullable=False),
    sa.Column("lines", sa.LargeBinary, nullable=False),
    sa.Column("outcomes", sa.Text, nullable=False),
    sa.Column("scopes", sa.LargeBinary),
    sa.Column("xid", sa.BigInteger),
    sa.Column("login", sa.Text),
    # Actors that are members themselves: an erasure finds its own there. Staff's names are shorter, or longer.
    sa.Index(None, "actor", postgresql_where=sa.text("length(actor) = 36"), sqlite_where=sa.text("length(actor) = 36")),
    info=GATE,
)
"""`actor` is who it was; the leaf has a pseudonym of it (pseudonyms.py). It is empty where an erasure cleared it.

PostgreSQL's functions fill in `xid` (the transaction that must be committed before a wrap is handed out) and `login`
(the only one it is handed to). `outcomes` is a JSON list that the lines' outcome bytes point into. `scopes` are the
pairs of subject and scope that a disclosure admitted, 33 bytes each (docs/formats/audit-leaf.md); NULL: keys without a
scope only. The leaf is text: jsonb would not give the same bytes back.
"""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An audit entry as it was stored."""

    id: str
    time: datetime
    kind: str
    actor: str
    """Who it was; the leaf has a pseudonym."""
    leaf: str
    lines: bytes
    outcomes: tuple[str, ...]
    scopes: bytes | None
    """Pairs of subject and scope that were admitted, 33 bytes each. None: keys without a scope only."""


def read(connection: sa.Connection, after: int = 0, limit: int = 1000) -> list[tuple[int, StoredEntry]]:
    """(sequence number, entry) of the entries after a sequence number, in order of insertion."""
    c = vs_entries.c
    query = (
        sa.select(c.seq, c.id, c.time, c.kind, c.actor, c.leaf, c.lines, c.outcomes, c.scopes)
        .where(c.seq > after)
        .order_by(c.seq)
        .limit(limit)
    )
    return [
        (seq, StoredEntry(entry_id, time, kind, actor, leaf, lines, tuple(json.loads(outcomes)), scopes))
        for seq, entry_id, time, kind, actor, leaf, lines, outcomes, scopes in connection.execute(query)
    ]


def by_id(connection: sa.Connection, ids: Collection[str]) -> dict[str, StoredEntry]:
    """Id -> entry, of those that are there. One query; at most some thousand ids at a time."""
    c = vs_entries.c
    query = sa.select(c.id, c.time, c.kind, c.actor, c.leaf, c.lines, c.outcomes, c.scopes).where(c.id.in_(sorted(ids)))
    return {row[0]: StoredEntry(*row[:6], tuple(json.loads(row[6])), row[7]) for row in connection.execute(query)}


# SQLite's side of the gate.


def append(
    cursor: sqlite3.Cursor,
    entry_id: str,
    time: datetime,
    kind: str,
    actor: str,
    leaf: str,
    lines: bytes,
    outcomes: Sequence[str],
    scopes: bytes | None,
) -> None:
    """Write an entry down."""
    cursor.execute(
        "INSERT INTO vs_entries (id, time, kind, actor, leaf, lines, outcomes, scopes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (entry_id, rfc3339(time), kind, actor, leaf, lines, json.dumps(list(outcomes)), scopes),
    )
    cursor.execute("INSERT INTO vs_pending (seq) VALUES (?)", (cursor.lastrowid,))


def disclosure(
    cursor: sqlite3.Cursor, entry_id: str
) -> tuple[str, dict[str, Any], bytes, list[str], bytes | None] | None:
    """(actor, leaf, lines, outcomes, scopes) of a disclosure's entry, or None where there is none of this id."""
    cursor.execute(
        "SELECT actor, leaf, lines, outcomes, scopes FROM vs_entries WHERE id = ? AND kind = 'disclose'", (entry_id,)
    )
    row = cursor.fetchone()
    return (row[0], json.loads(row[1]), row[2], json.loads(row[3]), row[4]) if row else None


def search_of(cursor: sqlite3.Cursor, entry_id: str, jti: str) -> tuple[str, str] | None:
    """(model, field) of the search that this entry of this token stands for, or None."""
    cursor.execute("SELECT leaf FROM vs_entries WHERE id = ? AND kind = 'search'", (entry_id,))
    row = cursor.fetchone()
    leaf = json.loads(row[0]) if row else {}
    return (leaf["model"], leaf["field"]) if leaf.get("jti") == jti else None


def following(entry: str) -> str:
    """A fresh id for an entry that goes with an earlier one: its id, a dot, and eight random hex digits."""
    return f"{entry}.{uuid.uuid4().hex[:8]}"

"""Canaries: rows that look like members and are nobody. Where one turns up, it says where it came from.

Only the subject stands here, and for whom it was planted; the number is sealed in its row, as any member's is. The
gate reads this table to hide canaries from purposes that do not say `sees_canaries`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, Instant, chunks, marks, metadata

__all__ = ["Canary", "add", "among", "find", "is_canary", "vs_canaries"]

vs_canaries = sa.Table(
    "vs_canaries",
    metadata,
    sa.Column("subject", Id, primary_key=True),
    sa.Column("actor", sa.Text),
    sa.Column("store", sa.Text),
    sa.Column("planted_at", Instant, nullable=False),
    info=GATE,
)


@dataclass(frozen=True, slots=True)
class Canary:
    """A row that is nobody's."""

    subject: bytes
    actor: str | None
    """Whose lead it is: nobody else in sales sees its card. None: anybody of the store can."""
    store: str | None
    planted_at: datetime


def add(connection: sa.Connection, canaries: Iterable[Canary]) -> None:
    """Write canaries down. Do it before their rows are committed: from then on the gate hides them."""
    rows = [asdict(canary) for canary in canaries]
    if rows:
        connection.execute(vs_canaries.insert(), rows)


def find(connection: sa.Connection, subjects: Collection[bytes]) -> list[Canary]:
    """The canaries among `subjects`, oldest first."""
    c = vs_canaries.c
    asked, found = sorted(subjects), []
    for start in range(0, len(asked), 1000):
        query = sa.select(c.subject, c.actor, c.store, c.planted_at).where(c.subject.in_(asked[start : start + 1000]))
        found += [Canary(*row) for row in connection.execute(query)]
    return sorted(found, key=lambda canary: (canary.planted_at, canary.subject))


def is_canary(connection: sa.Connection, subject: bytes) -> bool:
    """Whether `subject` (16 bytes) is a canary: a relay takes the call or text as it would any, and drops it."""
    return bool(find(connection, [subject]))


def among(cursor: sqlite3.Cursor, subjects: Sequence[bytes]) -> set[bytes]:
    """The canaries among `subjects` (SQLite's side of the gate)."""
    found: set[bytes] = set()
    for piece in chunks(list(subjects)):
        query = f"SELECT subject FROM vs_canaries WHERE subject IN {marks(len(piece))}"  # noqa: S608 - marks only
        found.update(row[0] for row in cursor.execute(query, piece))
    return found

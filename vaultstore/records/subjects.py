"""Subjects: who the data are about, whether they may be processed, and how many audit lines each has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, Instant, chunks, insert_new, marks, metadata, rfc3339

__all__ = ["ACTIVE", "ERASED", "RESTRICTED", "advance", "change", "ensure", "lock", "register", "states", "vs_subjects"]

ACTIVE, RESTRICTED, ERASED = "active", "restricted", "erased"

vs_subjects = sa.Table(
    "vs_subjects",
    metadata,
    sa.Column("subject", Id, primary_key=True),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("reason", sa.Text),
    sa.CheckConstraint("state IN ('active', 'restricted', 'erased')", name="state"),
    sa.Index(
        "ix_vs_subjects_hidden",
        sa.text("sha256(uuid_send(subject))"),
        postgresql_where=sa.text("state = 'restricted'"),
        info={"dialect": "postgresql"},
    ).ddl_if(dialect="postgresql"),
    info=GATE,
    postgresql_with={"fillfactor": 90},
)
"""`number` counts the subject's lines in the audit log. It is no key column: counting must not wait for a writer.

The index is what row-level security looks restricted subjects up by: by a hash, so that the view it goes through lets a
purpose ask about a subject that it knows, and lists none (planes/postgres_hidden.py).
"""


def ensure(connection: sa.Connection, subjects: Iterable[bytes], now: datetime) -> None:
    """Register those of `subjects` that are not known yet, as active; sorted, so that writers don't deadlock."""
    rows = [{"subject": s, "state": ACTIVE, "created_at": now, "changed_at": now} for s in sorted(subjects)]
    if rows:
        connection.execute(insert_new(connection, vs_subjects), rows)


def lock(connection: sa.Connection, subject: bytes) -> str | None:
    """Lock a subject against the gate until the transaction ends; its state, or None where it is not known.

    FOR UPDATE, spelled out: a plain UPDATE of `state` would not wait for the weaker locks that writers hold.
    """
    query = sa.select(vs_subjects.c.state).where(vs_subjects.c.subject == subject).with_for_update()
    return connection.execute(query).scalar_one_or_none()


def change(connection: sa.Connection, subject: bytes, state: str, now: datetime, reason: str | None) -> None:
    """Set the state of a subject that is locked."""
    connection.execute(
        vs_subjects.update().where(vs_subjects.c.subject == subject).values(state=state, changed_at=now, reason=reason)
    )


# What follows runs inside the SQLite gate, once for each batch: plain SQL on the driver's cursor.


def advance(cursor: sqlite3.Cursor, subjects: Sequence[bytes]) -> tuple[dict[bytes, int], dict[bytes, str]]:
    """Give each known, unerased subject its next line number. (subject -> number, subject -> state if not active)"""
    numbers: dict[bytes, int] = {}
    odd: dict[bytes, str] = {}
    for piece in chunks(list(subjects)):
        cursor.execute(
            f"UPDATE vs_subjects SET number = number + 1 WHERE subject IN {marks(len(piece))}"  # noqa: S608 - marks only
            " AND state <> 'erased' RETURNING subject, number, state",
            piece,
        )
        for subject, number, state in cursor.fetchall():
            numbers[subject] = number
            if state != ACTIVE:
                odd[subject] = state
    return numbers, odd


def states(cursor: sqlite3.Cursor, subjects: Sequence[bytes]) -> dict[bytes, str]:
    """Subject -> state, of those that are known."""
    found: dict[bytes, str] = {}
    for piece in chunks(list(subjects)):
        query = f"SELECT subject, state FROM vs_subjects WHERE subject IN {marks(len(piece))}"  # noqa: S608 - marks only
        rows: list[Any] = cursor.execute(query, piece).fetchall()
        found.update(rows)
    return found


def register(cursor: sqlite3.Cursor, subjects: Iterable[bytes], now: datetime) -> None:
    """Register those of `subjects` that are not known yet, as active."""
    time = rfc3339(now)
    cursor.executemany(
        "INSERT OR IGNORE INTO vs_subjects (subject, state, number, created_at, changed_at)"
        " VALUES (?, 'active', 0, ?, ?)",
        [(subject, time, time) for subject in sorted(subjects)],
    )

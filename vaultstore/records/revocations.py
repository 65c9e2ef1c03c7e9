"""Revocations: one token by its id, or everything that an actor held at a time."""

from __future__ import annotations

import sqlite3
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, metadata, rfc3339

__all__ = ["add", "revoked", "vs_revocations"]

vs_revocations = sa.Table(
    "vs_revocations",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("jti", sa.Text, index=True),
    sa.Column("actor", sa.Text),
    sa.Column("before", Instant),
    sa.Column("revoked_at", Instant, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Index(None, "actor", "before"),
    sa.CheckConstraint("(jti IS NULL) <> (actor IS NULL) AND (actor IS NULL) = (before IS NULL)", name="one"),
    info=GATE,
)


def add(
    connection: sa.Connection,
    now: datetime,
    *,
    jti: str | None = None,
    actor: str | None = None,
    before: datetime | None = None,
    reason: str | None = None,
) -> None:
    """Revoke one token, or what an actor was issued until `before`, that moment included."""
    connection.execute(
        vs_revocations.insert().values(jti=jti, actor=actor, before=before, revoked_at=now, reason=reason)
    )


def revoked(cursor: sqlite3.Cursor, jti: str, actor: str, issued_at: datetime) -> bool:
    """Whether this token, or all that its actor held at its time, was revoked (SQLite's side of the gate)."""
    cursor.execute(
        "SELECT EXISTS (SELECT 1 FROM vs_revocations WHERE jti = ?)"
        " OR EXISTS (SELECT 1 FROM vs_revocations WHERE actor = ? AND before >= ?)",
        (jti, actor, rfc3339(issued_at)),
    )
    return bool(cursor.fetchone()[0])

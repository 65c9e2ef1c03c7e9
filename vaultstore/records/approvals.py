"""Access requests and their approvals: somebody else must agree before a purpose that requires it opens."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, metadata, rfc3339

__all__ = ["AccessRequest", "add", "approve", "count", "find", "subjects_digest", "vs_approvals", "vs_requests"]

vs_requests = sa.Table(
    "vs_requests",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("case_id", sa.String(63)),
    sa.Column("purpose", sa.String(63), nullable=False),
    sa.Column("subjects", sa.String(64), nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("requested_at", Instant, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
    sa.Index(None, "requested_by", "purpose"),
    info=GATE,
)
"""`subjects` is their digest, see `subjects_digest`: the request is for exactly these."""

vs_approvals = sa.Table(
    "vs_approvals",
    metadata,
    sa.Column("request", sa.String(36), sa.ForeignKey("vs_requests.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("approver", sa.Text, primary_key=True),
    sa.Column("jti", sa.Text, nullable=False),
    sa.Column("approved_at", Instant, nullable=False),
    info=GATE,
)


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Somebody asks to use a purpose on exactly these subjects, within a case where there is one."""

    id: str
    case: str | None
    purpose: str
    subjects: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime


def subjects_digest(subjects: Collection[bytes] | None) -> str:
    """SHA-256 (hex) over the sorted subjects of 16 bytes; empty where the token names none."""
    return "" if subjects is None else hashlib.sha256(b"".join(sorted(set(subjects)))).hexdigest()


def add(connection: sa.Connection, request: AccessRequest) -> None:
    """Write an access request down."""
    connection.execute(
        vs_requests.insert().values(
            id=request.id,
            case_id=request.case,
            purpose=request.purpose,
            subjects=request.subjects,
            requested_by=request.requested_by,
            requested_at=request.requested_at,
            expires_at=request.expires_at,
        )
    )


# SQLite's side of the gate.


def find(cursor: sqlite3.Cursor, request: str, now: datetime) -> tuple[str, str] | None:
    """(purpose, requester) of an access request that has not expired, or None."""
    cursor.execute(
        "SELECT purpose, requested_by FROM vs_requests WHERE id = ? AND expires_at > ?", (request, rfc3339(now))
    )
    row: tuple[str, str] | None = cursor.fetchone()
    return row


def approve(cursor: sqlite3.Cursor, request: str, approver: str, jti: str, now: datetime) -> None:
    """Write an approval down; a second one by the same person changes nothing."""
    cursor.execute(
        "INSERT OR IGNORE INTO vs_approvals (request, approver, jti, approved_at) VALUES (?, ?, ?, ?)",
        (request, approver, jti, rfc3339(now)),
    )


def count(cursor: sqlite3.Cursor, actor: str, purpose: str, case: str | None, subjects: str, now: datetime) -> int:
    """The most approvals by other people that one unexpired request of `actor` for exactly this has."""
    cursor.execute(
        "SELECT count(*) AS n FROM vs_requests r JOIN vs_approvals a ON a.request = r.id"
        " WHERE r.requested_by = ? AND r.purpose = ? AND r.case_id IS ? AND r.subjects = ? AND r.expires_at > ?"
        " AND a.approver <> r.requested_by GROUP BY r.id ORDER BY n DESC LIMIT 1",
        (actor, purpose, case, subjects, rfc3339(now)),
    )
    row = cursor.fetchone()
    return row[0] if row else 0

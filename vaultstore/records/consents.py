"""Consents: what each subject agreed to, under which version of the notice, and when they took it back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, Instant, chunks, marks, metadata, rfc3339
from vaultstore.records.subjects import ERASED, vs_subjects

__all__ = ["Consent", "add", "add_first", "given", "history", "vs_consents", "withdraw"]

vs_consents = sa.Table(
    "vs_consents",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("subject", Id, nullable=False),
    sa.Column("kind", sa.String(63), nullable=False),
    sa.Column("notice_version", sa.String(63), nullable=False),
    sa.Column("granted_at", Instant, nullable=False),
    sa.Column("withdrawn_at", Instant),
    sa.Column("evidence", sa.Text),
    sa.Index(None, "subject", "kind"),
    info=GATE,
)


@dataclass(frozen=True, slots=True)
class Consent:
    """One consent of one subject. It holds until `withdrawn_at`, or still, where that is None."""

    subject: bytes
    kind: str
    notice_version: str
    granted_at: datetime
    withdrawn_at: datetime | None
    evidence: str | None


def add(connection: sa.Connection, consent: Consent) -> None:
    """Write a consent down. The subject is locked."""
    connection.execute(
        vs_consents.insert().values(
            subject=consent.subject,
            kind=consent.kind,
            notice_version=consent.notice_version,
            granted_at=consent.granted_at,
            withdrawn_at=consent.withdrawn_at,
            evidence=consent.evidence,
        )
    )


def add_first(connection: sa.Connection, consents: Sequence[Consent]) -> int:
    """Write down those consents whose subject never gave one of that kind and is not erased; how many they were.

    All are of one kind, at most one a subject. The subjects are registered; they are locked here, in id order.
    """
    by_subject = {consent.subject: consent for consent in consents}
    c, state = vs_consents.c, vs_subjects.c
    keys = sorted(by_subject)
    for start in range(0, len(keys), 1000):
        piece = keys[start : start + 1000]
        locked = sa.select(state.subject).where(state.subject.in_(piece), state.state != ERASED)
        able = set(connection.scalars(locked.order_by(state.subject).with_for_update()))
        kind = by_subject[piece[0]].kind
        given = set(connection.scalars(sa.select(c.subject).where(c.subject.in_(piece), c.kind == kind)))
        for key in piece:
            if key not in able or key in given:
                del by_subject[key]
    if by_subject:
        connection.execute(vs_consents.insert(), [asdict(consent) for consent in by_subject.values()])
    return len(by_subject)


def withdraw(connection: sa.Connection, subject: bytes, kind: str, now: datetime) -> int:
    """End every consent of that kind which still holds; how many there were. The subject is locked."""
    holds = (vs_consents.c.subject == subject) & (vs_consents.c.kind == kind) & vs_consents.c.withdrawn_at.is_(None)
    return connection.execute(vs_consents.update().where(holds).values(withdrawn_at=now)).rowcount


def history(connection: sa.Connection, subject: bytes) -> list[Consent]:
    """Every consent that the subject ever gave, oldest first."""
    c = vs_consents.c
    query = (
        sa.select(c.subject, c.kind, c.notice_version, c.granted_at, c.withdrawn_at, c.evidence)
        .where(c.subject == subject)
        .order_by(c.granted_at, c.id)
    )
    return [Consent(*row) for row in connection.execute(query)]


def given(cursor: sqlite3.Cursor, kind: str, subjects: Sequence[bytes], now: datetime) -> set[bytes]:
    """Those of `subjects` whose consent of that kind holds (SQLite's side of the gate).

    One that was taken over with a time that is still to come does not hold yet.
    """
    found: set[bytes] = set()
    for piece in chunks(list(subjects)):
        cursor.execute(
            f"SELECT subject FROM vs_consents WHERE subject IN {marks(len(piece))}"  # noqa: S608 - marks only
            " AND kind = ? AND withdrawn_at IS NULL AND granted_at <= ?",
            [*piece, kind, rfc3339(now)],
        )
        found.update(row[0] for row in cursor)
    return found

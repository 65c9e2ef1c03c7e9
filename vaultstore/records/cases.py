"""Cases: a complaint, an investigation; who works on it, which subjects it is about, and what it must not lose."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, Instant, chunks, marks, metadata

__all__ = [
    "Case",
    "add",
    "close",
    "get",
    "named",
    "open_for",
    "vs_case_scopes",
    "vs_case_subjects",
    "vs_cases",
]

vs_cases = sa.Table(
    "vs_cases",
    metadata,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(63), nullable=False),
    sa.Column("assigned_to", sa.Text, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("closed_at", Instant),
    sa.Column("note", sa.Text),
    info=GATE,
)

vs_case_subjects = sa.Table(
    "vs_case_subjects",
    metadata,
    sa.Column("case_id", sa.String(63), sa.ForeignKey("vs_cases.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("subject", Id, primary_key=True),
    sa.Index(None, "subject"),
    info=GATE,
)

vs_case_scopes = sa.Table(
    "vs_case_scopes",
    metadata,
    sa.Column("case_id", sa.String(63), primary_key=True),
    # The foreign key is a lock, too: an erasure of the subject waits for a case that is being opened, and it for that.
    sa.Column("subject", Id, sa.ForeignKey("vs_subjects.subject"), primary_key=True),
    sa.Column("scope", sa.LargeBinary(16), primary_key=True),
    sa.ForeignKeyConstraint(
        ["case_id", "subject"], ["vs_case_subjects.case_id", "vs_case_subjects.subject"], ondelete="CASCADE"
    ),
    sa.Index(None, "subject"),
    info=GATE,
)
"""Scopes of a subject's keys that the case must keep: an erasure of the subject leaves them until the case closes."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case. It lets its assignee at its subjects until `closed_at`, or still, where that is None."""

    id: str
    kind: str
    assigned_to: str
    opened_at: datetime
    closed_at: datetime | None
    note: str | None
    subjects: tuple[bytes, ...]
    scopes: Mapping[bytes, Collection[bytes]] = field(default_factory=dict)
    """Subject -> scopes (16 bytes each) of the keys that an erasure leaves until the case closes."""


def add(connection: sa.Connection, case: Case) -> None:
    """Write a case and its subjects down. Raises sqlalchemy's IntegrityError where the id is taken."""
    connection.execute(
        vs_cases.insert().values(
            id=case.id,
            kind=case.kind,
            assigned_to=case.assigned_to,
            opened_at=case.opened_at,
            closed_at=case.closed_at,
            note=case.note,
        )
    )
    rows = [{"case_id": case.id, "subject": subject} for subject in sorted(set(case.subjects))]
    if rows:
        connection.execute(vs_case_subjects.insert(), rows)
    kept = sorted({(subject, scope) for subject, scopes in case.scopes.items() for scope in scopes})
    if kept:
        rows = [{"case_id": case.id, "subject": subject, "scope": scope} for subject, scope in kept]
        connection.execute(vs_case_scopes.insert(), rows)


def close(connection: sa.Connection, case_id: str, now: datetime) -> bool:
    """Close a case; False where there is no such open case."""
    is_open = (vs_cases.c.id == case_id) & vs_cases.c.closed_at.is_(None)
    return connection.execute(vs_cases.update().where(is_open).values(closed_at=now)).rowcount == 1


def get(connection: sa.Connection, case_id: str) -> Case | None:
    """The case of that id, or None."""
    row = connection.execute(sa.select(vs_cases).where(vs_cases.c.id == case_id)).one_or_none()
    if row is None:
        return None
    query = sa.select(vs_case_subjects.c.subject).where(vs_case_subjects.c.case_id == case_id)
    subjects = tuple(connection.scalars(query.order_by(vs_case_subjects.c.subject)))
    c = vs_case_scopes.c
    kept = connection.execute(sa.select(c.subject, c.scope).where(c.case_id == case_id).order_by(c.subject, c.scope))
    scopes: dict[bytes, list[bytes]] = {}
    for subject, scope in kept:
        scopes.setdefault(subject, []).append(scope)
    return Case(row.id, row.kind, row.assigned_to, row.opened_at, row.closed_at, row.note, subjects, scopes)


# SQLite's side of the gate.


def open_for(cursor: sqlite3.Cursor, case_id: str, actor: str) -> bool:
    """Whether the case is open and assigned to this actor."""
    query = "SELECT 1 FROM vs_cases WHERE id = ? AND assigned_to = ? AND closed_at IS NULL"
    return cursor.execute(query, (case_id, actor)).fetchone() is not None


def named(cursor: sqlite3.Cursor, case_id: str, subjects: Sequence[bytes]) -> set[bytes]:
    """Those of `subjects` that the case names."""
    found: set[bytes] = set()
    for piece in chunks(list(subjects)):
        cursor.execute(
            f"SELECT subject FROM vs_case_subjects WHERE subject IN {marks(len(piece))}"  # noqa: S608 - marks only
            " AND case_id = ?",
            [*piece, case_id],
        )
        found.update(row[0] for row in cursor)
    return found

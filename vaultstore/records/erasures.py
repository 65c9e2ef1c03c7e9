"""Erasures: what was destroyed, what an open case still holds, and what the models say is to go.

A row of `vs_erasures` is one act: the erasure itself (number 1), and later what was held back, as each case closes.
Its `body` is the text that a certificate carries; the leaf of its audit entry has the SHA-256 of that text.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, Instant, insert_new, marks, metadata
from vaultstore.records.cases import vs_case_scopes, vs_cases

__all__ = [
    "ENTRY",
    "StoredAct",
    "acts",
    "add",
    "body_digest",
    "finish",
    "hold",
    "holders",
    "publish_rules",
    "published_rules",
    "release",
    "scopes_of",
    "subjects_held_by",
    "unfinished",
    "vs_erasure_rules",
    "vs_erasures",
    "vs_held",
]

ENTRY = "erase"
"""Kind of the audit entries; their leaf's ``field`` is the digest of the body."""

vs_erasures = sa.Table(
    "vs_erasures",
    metadata,
    sa.Column("subject", Id, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("entry", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False),
    info=GATE,
)
"""`finished` is false only on SQLite, while the members' file has not committed yet what the gate's file says."""

vs_held = sa.Table(
    "vs_held",
    metadata,
    sa.Column("subject", Id, primary_key=True),
    sa.Column("scope", sa.LargeBinary(16), primary_key=True),
    sa.Column("case_id", sa.String(63), sa.ForeignKey("vs_cases.id", ondelete="CASCADE"), primary_key=True),
    sa.Index(None, "case_id"),
    info=GATE,
)
"""Scopes of an erased subject whose keys are still there, and the open case that holds each. Only an erasure writes
it: a case that is opened afterwards gets nothing back."""

vs_erasure_rules = sa.Table(
    "vs_erasure_rules",
    metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("digest", sa.String(80), nullable=False),
    sa.Column("rules", sa.Text, nullable=False),
    info=GATE | {"dialect": "postgresql"},
)
"""At most one row, ``models``: on PostgreSQL the statements that an erasure runs on the models' tables, as JSON."""

_RULES = "models"


@dataclass(frozen=True, slots=True)
class StoredAct:
    """One act of an erasure, as it was stored."""

    subject: bytes
    number: int
    at: datetime
    entry: str
    body: str
    finished: bool


def body_digest(body: str) -> str:
    """What the leaf of the act's audit entry names it by: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{sha256(body.encode()).hexdigest()}"


def acts(connection: sa.Connection, subject: bytes) -> list[StoredAct]:
    """What was done to erase a subject, in order; nothing where it was not erased."""
    query = sa.select(vs_erasures).where(vs_erasures.c.subject == subject).order_by(vs_erasures.c.number)
    return [StoredAct(*row) for row in connection.execute(query)]


def add(connection: sa.Connection, act: StoredAct) -> None:
    """Write an act down."""
    values = {name: getattr(act, name) for name in ("subject", "number", "at", "entry", "body", "finished")}
    connection.execute(vs_erasures.insert().values(**values))


def unfinished(connection: sa.Connection) -> list[bytes]:
    """Subjects whose erasure one of the two SQLite files has not committed yet, as far as is known."""
    query = sa.select(vs_erasures.c.subject).where(vs_erasures.c.finished.is_(False)).distinct()
    return list(connection.execute(query).scalars())


def finish(connection: sa.Connection, subject: bytes) -> None:
    """Note that both files have committed."""
    there = (vs_erasures.c.subject == subject) & vs_erasures.c.finished.is_(False)
    connection.execute(vs_erasures.update().where(there).values(finished=True))


# ------------------------------------------------------------------------------------------------------- what is held


def holders(connection: sa.Connection, subject: bytes) -> list[tuple[bytes, str]]:
    """(scope, case) that open cases name of a subject which is about to be erased."""
    query = (
        sa.select(vs_case_scopes.c.scope, vs_case_scopes.c.case_id)
        .join(vs_cases, vs_cases.c.id == vs_case_scopes.c.case_id)
        .where(vs_case_scopes.c.subject == subject, vs_cases.c.closed_at.is_(None))
        .order_by(vs_case_scopes.c.scope, vs_case_scopes.c.case_id)
    )
    return [(scope, case) for scope, case in connection.execute(query)]


def hold(connection: sa.Connection, subject: bytes, held: Collection[tuple[bytes, str]]) -> None:
    """Let those cases keep those scopes."""
    rows = [{"subject": subject, "scope": scope, "case_id": case} for scope, case in held]
    if rows:
        connection.execute(insert_new(connection, vs_held), rows)


def release(connection: sa.Connection, subject: bytes) -> list[tuple[bytes, str]]:
    """Take from cases that are closed what they held of a subject; (scope, case) of what open ones still hold."""
    closed = sa.select(vs_cases.c.id).where(vs_cases.c.closed_at.is_not(None))
    connection.execute(vs_held.delete().where(vs_held.c.subject == subject, vs_held.c.case_id.in_(closed)))
    query = sa.select(vs_held.c.scope, vs_held.c.case_id).where(vs_held.c.subject == subject)
    return [(s, c) for s, c in connection.execute(query.order_by(vs_held.c.scope, vs_held.c.case_id))]


def subjects_held_by(connection: sa.Connection, case_id: str) -> list[bytes]:
    """Erased subjects of whom this case still holds keys, sorted."""
    query = sa.select(vs_held.c.subject).where(vs_held.c.case_id == case_id).distinct().order_by(vs_held.c.subject)
    return list(connection.execute(query).scalars())


def scopes_of(cursor: sqlite3.Cursor, case_id: str, subjects: Sequence[bytes]) -> dict[bytes, set[bytes]]:
    """Subject -> scopes that this case holds of it (SQLite's side of the gate)."""
    found: dict[bytes, set[bytes]] = {}
    for start in range(0, len(subjects), 500):
        piece = list(subjects[start : start + 500])
        cursor.execute(
            f"SELECT subject, scope FROM vs_held WHERE subject IN {marks(len(piece))} AND case_id = ?",  # noqa: S608 - marks only
            [*piece, case_id],
        )
        for subject, scope in cursor.fetchall():
            found.setdefault(subject, set()).add(scope)
    return found


# ------------------------------------------------------------------------------------------------------- the rules


def published_rules(connection: sa.Connection) -> tuple[str, str] | None:
    """(digest, statements) that an erasure runs in this database, or None."""
    query = sa.select(vs_erasure_rules.c.digest, vs_erasure_rules.c.rules).where(vs_erasure_rules.c.name == _RULES)
    row: Any = connection.execute(query).one_or_none()
    return None if row is None else (row[0], row[1])


def publish_rules(connection: sa.Connection, digest: str, rules: str) -> None:
    """Make these the statements that an erasure runs in this database."""
    if published_rules(connection) == (digest, rules):
        return
    values: Mapping[str, str] = {"name": _RULES, "digest": digest, "rules": rules}
    connection.execute(vs_erasure_rules.delete().where(vs_erasure_rules.c.name == _RULES))
    connection.execute(vs_erasure_rules.insert().values(**values))

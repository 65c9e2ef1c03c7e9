"""How subjects came to their states, with reasons; and, embedded, which of them are out of sight."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, MEMBERS, Id, Instant, insert_new, metadata
from vaultstore.records.subjects import ACTIVE, RESTRICTED, vs_subjects

__all__ = ["StateChange", "add", "hide", "history", "show", "sync", "vs_hidden", "vs_states"]

vs_states = sa.Table(
    "vs_states",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("subject", Id, nullable=False, index=True),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("entry", sa.String(64)),
    info=GATE,
)
"""`entry` is the audit entry that says who did it; NULL for what was changed before there were any."""

vs_hidden = sa.Table(
    "vs_hidden",
    metadata,
    sa.Column("subject", sa.CHAR(32), primary_key=True),
    info=MEMBERS | {"dialect": "sqlite"},
    sqlite_with_rowid=False,
)
"""Restricted subjects beside the rows, as 32 hex digits: a statement on members.db can't look into gate.db.

On PostgreSQL both are in one database, and vs_subjects itself is looked at.
"""


@dataclass(frozen=True, slots=True)
class StateChange:
    """A state that a subject came to. It lasted until the next one, or lasts still."""

    subject: bytes
    state: str
    changed_at: datetime
    reason: str | None
    entry: str | None = None
    """The audit entry, where there is one."""


def add(connection: sa.Connection, changes: Iterable[StateChange]) -> None:
    """Write changes down."""
    rows = [asdict(change) for change in changes]
    if rows:
        connection.execute(vs_states.insert(), rows)


def history(connection: sa.Connection, subject: bytes) -> list[StateChange]:
    """Every state that the subject was in, oldest first; none where it is not registered."""
    s, c = vs_subjects.c, vs_states.c
    now = connection.execute(
        sa.select(s.state, s.created_at, s.changed_at, s.reason).where(s.subject == subject)
    ).first()
    if now is None:
        return []
    query = sa.select(c.subject, c.state, c.changed_at, c.reason, c.entry).where(c.subject == subject).order_by(c.id)
    found = [StateChange(subject, ACTIVE, now.created_at, None), *(StateChange(*r) for r in connection.execute(query))]
    if found[-1].state != now.state:  # a change that was not made here: an erasure, or one of before
        found.append(StateChange(subject, now.state, now.changed_at, now.reason))
    return found


def hide(members: sa.Connection, subjects: Collection[bytes]) -> None:
    """Put the rows of subjects out of sight, where members.db is a file of its own; harmless when repeated."""
    if subjects and members.dialect.name == "sqlite":
        members.execute(insert_new(members, vs_hidden), [{"subject": key.hex()} for key in sorted(subjects)])


def show(members: sa.Connection, subjects: Collection[bytes]) -> None:
    """Undo `hide`. An erasure does so too: what is left of an erased subject is in sight, and opens no more."""
    if subjects and members.dialect.name == "sqlite":
        gone = vs_hidden.delete().where(vs_hidden.c.subject == sa.bindparam("key"))
        members.execute(gone, [{"key": key.hex()} for key in subjects])


def sync(members: sa.Engine, gate: sa.Engine) -> None:
    """Make vs_hidden say what gate.db says: after an upgrade, or where only one of two files was brought back."""
    if members.dialect.name != "sqlite":
        return
    with members.begin() as connection, gate.connect() as other:
        connection.execute(vs_hidden.delete())
        query = sa.select(vs_subjects.c.subject).where(vs_subjects.c.state == RESTRICTED)
        hide(connection, list(other.scalars(query)))

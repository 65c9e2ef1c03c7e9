"""The audit log's tree: which entry stands where, the hashes that each one completed, and the signed checkpoints.

A row of `vs_log` holds the perfect nodes that its leaf completes, from the leaf's own hash upwards, 32 bytes each: node
(level, index) lies in the row of leaf ``((index + 1) << level) - 1``. So appending writes one row an entry, and a proof
reads one row a node.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, metadata
from vaultstore.records.entries import vs_entries

__all__ = [
    "LOCK",
    "LogRow",
    "StoredCheckpoint",
    "append",
    "append_only_triggers",
    "checkpoints",
    "lock",
    "nodes",
    "pending",
    "position",
    "require_witnessed",
    "rows",
    "save_checkpoint",
    "size",
    "strays",
    "unwitnessed",
    "vs_checkpoints",
    "vs_log",
    "vs_log_rule",
    "vs_pending",
]

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_HASH = 32

LOCK = 7_238_011_945_112_001
"""PostgreSQL advisory lock of the sequencer: there is one at a time."""

vs_pending = sa.Table(
    "vs_pending",
    metadata,
    sa.Column("seq", _SERIAL, primary_key=True, autoincrement=False),
    info=GATE,
)
"""Entries that are committed and not in the tree yet. They come with the entry, in its transaction."""

vs_log = sa.Table(
    "vs_log",
    metadata,
    sa.Column("position", _SERIAL, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.BigInteger, nullable=False, unique=True),
    sa.Column("nodes", sa.LargeBinary, nullable=False),
    info=GATE,
)

vs_checkpoints = sa.Table(
    "vs_checkpoints",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    sa.Column("witnessed_at", Instant),
    info=GATE,
)
"""`note` is the signed note; `witnessed_at` when enough witnesses had signed it too, by their own clocks."""


vs_log_rule = sa.Table(
    "vs_log_rule",
    metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("within", sa.Integer, nullable=False),
    info=GATE,
)
"""At most one row, ``witnessed``: nothing is disclosed unless witnesses have signed a checkpoint in so many seconds."""

_WITNESSED = "witnessed"


@dataclass(frozen=True, slots=True)
class LogRow:
    """A leaf's place in the tree, and the entry that stands there; None where there is none any more."""

    position: int
    entry: int
    nodes: bytes
    id: str | None
    time: datetime | None
    kind: str | None
    actor: str | None
    leaf: str | None
    lines: bytes | None
    outcomes: str | None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as it was stored."""

    size: int
    note: str
    made_at: datetime
    witnessed_at: datetime | None


def append_only_triggers() -> list[str]:
    """The statements that make SQLite refuse to change the log; PostgreSQL's are among its functions (sql/80_log.sql).

    Run them after the tables exist. Harmless when repeated. An actor may be cleared, as an erasure does with a member's
    own acts, and not replaced.
    """
    erasable = ("lines", "outcomes", "scopes", "actor")
    fixed = {
        vs_entries.name: [c.name for c in vs_entries.c if c.name not in erasable],
        vs_log.name: [c.name for c in vs_log.c],
        vs_checkpoints.name: ["size", "made_at"],
    }
    made = (
        "CREATE TRIGGER IF NOT EXISTS {0}_{1} BEFORE {2} ON {0} {3}BEGIN SELECT RAISE(ABORT, '{0} is append-only'); END"
    )
    statements = [
        made.format(table, verb, event, "")
        for table, columns in fixed.items()
        for verb, event in (("update", f"UPDATE OF {', '.join(columns)}"), ("delete", "DELETE"))
    ]
    another = "WHEN NEW.actor <> '' AND NEW.actor <> OLD.actor "
    # Triggers of an earlier version are named alike and would stay.
    return [
        f"DROP TRIGGER IF EXISTS {vs_entries.name}_update",
        *statements,
        made.format(vs_entries.name, "actor", "UPDATE OF actor", another),
    ]


def require_witnessed(connection: sa.Connection, within: int | None) -> None:
    """Make the gate refuse disclosures and searches while no witnessed checkpoint is younger than `within` seconds.

    None lifts it.
    """
    connection.execute(vs_log_rule.delete())
    if within is not None:
        connection.execute(vs_log_rule.insert().values(name=_WITNESSED, within=within))


def unwitnessed(cursor: sqlite3.Cursor, now: datetime) -> bool:
    """Whether the gate has to refuse for want of a witnessed checkpoint (SQLite's side of the gate)."""
    row = cursor.execute(
        "SELECT within, (SELECT witnessed_at FROM vs_checkpoints WHERE witnessed_at IS NOT NULL"
        " ORDER BY size DESC LIMIT 1) FROM vs_log_rule"
    ).fetchone()
    return row is not None and (row[1] is None or datetime.fromisoformat(row[1]) <= now - timedelta(seconds=row[0]))


def lock(connection: sa.Connection) -> bool:
    """Become the sequencer until the transaction ends; False where another is. On SQLite the write lock does it."""
    if connection.dialect.name == "postgresql":
        taken: bool = connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK))).scalar_one()
        return taken
    return True


def size(connection: sa.Connection) -> int:
    """How many leaves the tree has."""
    last: int | None = connection.execute(sa.select(sa.func.max(vs_log.c.position))).scalar_one()
    return 0 if last is None else last + 1


def pending(connection: sa.Connection, limit: int) -> list[tuple[int, str]]:
    """(sequence number, leaf) of entries that are not in the tree yet, oldest first."""
    query = (
        sa.select(vs_pending.c.seq, vs_entries.c.leaf)
        .join(vs_entries, vs_entries.c.seq == vs_pending.c.seq)
        .order_by(vs_pending.c.seq)
        .limit(limit)
    )
    return [(seq, leaf) for seq, leaf in connection.execute(query)]


def append(connection: sa.Connection, rows: Sequence[tuple[int, int, bytes]]) -> None:
    """Put entries into the tree, (position, sequence number, nodes) each, and take them off those that wait."""
    connection.execute(vs_log.insert(), [{"position": p, "entry": e, "nodes": n} for p, e, n in rows])
    connection.execute(
        vs_pending.delete().where(vs_pending.c.seq == sa.bindparam("one")), [{"one": e} for _, e, _ in rows]
    )


def nodes(connection: sa.Connection, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """Hashes of perfect nodes (level, index), one row read for each. A node that is not there is left out."""
    places = {node: ((node[1] + 1) << node[0]) - 1 for node in wanted}
    query = sa.select(vs_log.c.position, vs_log.c.nodes).where(vs_log.c.position.in_(sorted({*places.values()})))
    found = {row[0]: row[1] for row in connection.execute(query)} if places else {}
    return {
        (level, index): found[place][level * _HASH : (level + 1) * _HASH]
        for (level, index), place in places.items()
        if len(found.get(place, b"")) >= (level + 1) * _HASH
    }


def position(connection: sa.Connection, entry: str) -> tuple[int, str] | None:
    """(position in the tree, leaf) of the entry of this id, or None where it is not there."""
    query = (
        sa.select(vs_log.c.position, vs_entries.c.leaf)
        .join(vs_entries, vs_entries.c.seq == vs_log.c.entry)
        .where(vs_entries.c.id == entry)
    )
    row = connection.execute(query).first()
    return None if row is None else (row[0], row[1])


def rows(connection: sa.Connection, start: int = 0, chunk: int = 2000) -> Iterator[list[LogRow]]:
    """The tree's rows with their entries from a position on, a chunk at a time and never more of them in memory."""
    e = vs_entries.c
    columns: tuple[Any, ...] = (e.id, e.time, e.kind, e.actor, e.leaf, e.lines, e.outcomes)
    query = (
        sa.select(vs_log, *columns)
        .join(vs_entries, e.seq == vs_log.c.entry, isouter=True)
        .where(vs_log.c.position >= sa.bindparam("start"))
        .order_by(vs_log.c.position)
        .limit(chunk)
    )
    while True:
        found = [LogRow(*row) for row in connection.execute(query, {"start": start})]
        if not found:
            return
        yield found
        start = found[-1].position + 1


def strays(connection: sa.Connection, limit: int) -> tuple[int, list[str]]:
    """(how many entries wait, ids of the first entries that neither stand in the tree nor wait)."""
    waiting = connection.execute(sa.select(sa.func.count()).select_from(vs_pending)).scalar_one()
    query = (
        sa.select(vs_entries.c.id)
        .where(
            ~sa.exists().where(vs_log.c.entry == vs_entries.c.seq),
            ~sa.exists().where(vs_pending.c.seq == vs_entries.c.seq),
        )
        .order_by(vs_entries.c.seq)
        .limit(limit)
    )
    return waiting, list(connection.execute(query).scalars())


def save_checkpoint(
    connection: sa.Connection, size: int, note: str, now: datetime, witnessed_at: datetime | None = None
) -> None:
    """Keep a checkpoint. One of this size that is there gets the new note (it has more signatures)."""
    values = {"note": note, "witnessed_at": witnessed_at}
    changed = connection.execute(vs_checkpoints.update().where(vs_checkpoints.c.size == size).values(**values))
    if not changed.rowcount:
        connection.execute(vs_checkpoints.insert().values(size=size, made_at=now, **values))


def checkpoints(
    connection: sa.Connection, newest: bool = False, witnessed: bool = False, after: int = -1
) -> Iterator[StoredCheckpoint]:
    """The stored checkpoints by size, or the newest one alone; `witnessed`: only those that witnesses signed."""
    c = vs_checkpoints.c
    query = sa.select(c.size, c.note, c.made_at, c.witnessed_at).where(c.size > after)
    if witnessed:
        query = query.where(c.witnessed_at.is_not(None))
    query = query.order_by(c.size.desc()).limit(1) if newest else query.order_by(c.size)
    for row in connection.execute(query):
        yield StoredCheckpoint(*row)

"""How far a store has applied its journals, and what was lost in a restore.

The journal is a file apart from the databases (`vaultstore.lifecycle.journal_file`). What stands here commits with the
change that a line speaks of, so a database that was restored says less than the file does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.errors import SettingsError
from vaultstore.records.base import GATE, Instant, insert_new, metadata

__all__ = [
    "Position",
    "Standing",
    "done",
    "forget",
    "hold",
    "position",
    "replayed",
    "restored",
    "save_restored",
    "standing",
    "vs_journal",
    "vs_restored",
]

vs_journal = sa.Table(
    "vs_journal",
    metadata,
    sa.Column("journal", sa.String(36), primary_key=True),
    sa.Column("keeper", sa.Text),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("ends", sa.BigInteger, nullable=False),
    sa.Column("lost_at", Instant),
    info=GATE,
)
"""`keeper` is the PostgreSQL login that writes the journal; NULL: operators, and whoever uses an SQLite store."""

vs_restored = sa.Table(
    "vs_restored",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, primary_key=True),
    sa.Column("entry", sa.String(64), nullable=False),
    info=GATE,
)
"""Kept checkpoints that the log does not continue, since it was restored; `entry` is the audit entry that says so."""


@dataclass(frozen=True, slots=True)
class Position:
    """A line of a journal: its number, its hash (32 bytes), and the byte of the file that it ends before."""

    number: int
    hash: bytes
    ends: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a database has come, as it tells whoever opens it."""

    size: int
    """Entries in the audit log's tree."""
    keeper: str | None
    """The login in whose name this process keeps a journal; None: an operator's, or an SQLite store's."""
    journals: Mapping[str, Position]
    """Journal -> how far it is applied; those of `keeper` that are not given up as lost."""
    restored: frozenset[tuple[int, bytes]]
    """Sizes and roots of kept checkpoints that a restore is known to have lost."""


def standing(connection: sa.Connection) -> Standing | None:
    """How far the database has come, or None where it has no such tables.

    On PostgreSQL any login of the plane may ask; the transaction is over where it fails.
    """
    if connection.dialect.name == "postgresql":
        asked = json.loads(connection.exec_driver_sql("SELECT vs_standing()::text").scalar_one())
        journals = {name: Position(n, bytes.fromhex(h), ends) for name, n, h, ends in asked["journals"]}
        lost = frozenset((size, bytes.fromhex(root)) for size, root in asked["restored"])
        return Standing(asked["size"], asked["keeper"], journals, lost)
    names = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    if not {"vs_journal", "vs_restored", "vs_log"} <= names:
        return None
    c = vs_journal.c
    mine = c.lost_at.is_(None) & c.keeper.is_(None)
    rows = connection.execute(sa.select(c.journal, c.number, c.hash, c.ends).where(mine))
    last: int | None = connection.exec_driver_sql("SELECT max(position) FROM vs_log").scalar_one()
    journals = {name: Position(number, hashed, ends) for name, number, hashed, ends in rows}
    return Standing(0 if last is None else last + 1, None, journals, frozenset(restored(connection)))


def hold(connection: sa.Connection, journal: str, begins: Position, keeper: str | None) -> Position:
    """Lock a journal against others who would append, until the transaction ends; how far it is applied.

    One that the database does not know is applied up to its first line, `begins`.
    """
    if connection.dialect.name == "postgresql":
        text = connection.exec_driver_sql(
            "SELECT vs_journal_hold(%s::text, %s::bytea, %s::bigint, %s::text)::text",
            (journal, begins.hash, begins.ends, keeper),
        ).scalar_one()
        number, hashed, ends = json.loads(text)
        return Position(number, bytes.fromhex(hashed), ends)
    new = {"journal": journal, "keeper": keeper, "number": begins.number, "hash": begins.hash, "ends": begins.ends}
    connection.execute(insert_new(connection, vs_journal), [new])
    c = vs_journal.c
    mine = (c.journal == journal) & c.lost_at.is_(None)
    held = connection.execute(sa.select(c.number, c.hash, c.ends).where(mine)).one_or_none()
    if held is None:
        raise SettingsError(f"the journal {journal} was given up as lost: name another file in the setting journal")
    return Position(*held)


def done(connection: sa.Connection, journal: str, at: Position) -> None:
    """Write down that a journal, which is held, is applied up to a line."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT vs_journal_done(%s::text, %s::bigint, %s::bytea, %s::bigint)",
            (journal, at.number, at.hash, at.ends),
        )
        return
    values = {"number": at.number, "hash": at.hash, "ends": at.ends}
    connection.execute(vs_journal.update().where(vs_journal.c.journal == journal).values(**values))


def replayed(
    connection: sa.Connection,
    journal: str,
    keeper: str | None,
    begins: Position,
    at: Position,
    lost_at: datetime | None,
) -> None:
    """Write down that any journal is applied up to a line. For operators.

    `lost_at`, for one that the database does not know yet: it is not to be asked for.
    """
    new = {"journal": journal, "keeper": keeper, "number": begins.number, "hash": begins.hash, "ends": begins.ends}
    connection.execute(insert_new(connection, vs_journal), [new | {"lost_at": lost_at}])
    further = (vs_journal.c.journal == journal) & (vs_journal.c.number < at.number)
    columns = {"number": at.number, "hash": at.hash, "ends": at.ends}
    connection.execute(vs_journal.update().where(further).values(**columns))


def position(connection: sa.Connection, journal: str) -> Position | None:
    """How far any journal is applied, or None where it is not known. For operators."""
    c = vs_journal.c
    row = connection.execute(sa.select(c.number, c.hash, c.ends).where(c.journal == journal)).one_or_none()
    return None if row is None else Position(*row)


def forget(connection: sa.Connection, journals: Iterable[str], now: datetime) -> None:
    """Give journals up as lost: the store does not ask for them any more. For operators."""
    named = vs_journal.c.journal.in_(sorted(journals))
    connection.execute(vs_journal.update().where(named, vs_journal.c.lost_at.is_(None)).values(lost_at=now))


def restored(connection: sa.Connection) -> dict[tuple[int, bytes], str]:
    """(Size, root) of kept checkpoints that a restore is known to have lost -> the audit entry that says so."""
    c = vs_restored.c
    return {(size, root): entry for size, root, entry in connection.execute(sa.select(c.size, c.root, c.entry))}


def save_restored(connection: sa.Connection, checkpoints: Iterable[tuple[int, bytes]], entry: str) -> None:
    """Write down kept checkpoints that the log does not continue any more. For operators."""
    rows = [{"size": size, "root": root, "entry": entry} for size, root in checkpoints]
    if rows:
        connection.execute(insert_new(connection, vs_restored), rows)

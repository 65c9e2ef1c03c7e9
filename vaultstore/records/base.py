"""What all our tables share: one MetaData, the types of their columns, and which SQLite file each lies in.

On PostgreSQL every table is in one database. Embedded, the tables that the gate decides on lie in ``gate.db`` and the
keyring in ``members.db``, beside the rows whose keys it holds, so that a row and its key commit together.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = [
    "GATE",
    "MEMBERS",
    "File",
    "Id",
    "Instant",
    "chunks",
    "insert_new",
    "marks",
    "metadata",
    "rfc3339",
    "tables",
    "tables_of",
]

File = Literal["gate", "members"]

GATE: dict[str, Any] = {"file": "gate"}
MEMBERS: dict[str, Any] = {"file": "members"}

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)
"""Every table of ours, ``vs_*``; ``table.info["file"]`` says which SQLite file it belongs to."""


def tables(file: File) -> list[sa.Table]:
    """The tables that lie in one SQLite file, in the order in which they can be created."""
    return [table for table in tables_of("sqlite") if table.info["file"] == file]


def tables_of(dialect: str) -> list[sa.Table]:
    """The tables that a kind of database has, all files together: a few are for one kind only."""
    return [table for table in metadata.sorted_tables if table.info.get("dialect", dialect) == dialect]


class Id(sa.types.TypeDecorator[bytes]):
    """16 bytes that name something: ``uuid`` on PostgreSQL, a blob on SQLite."""

    impl = sa.LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(sa.LargeBinary(16))

    def process_bind_param(self, value: bytes | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name != "postgresql":
            return value
        return uuid.UUID(bytes=value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> bytes | None:
        return value.bytes if isinstance(value, uuid.UUID) else value


class Instant(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC: ``timestamptz`` on PostgreSQL, RFC 3339 text of fixed width on SQLite, so that it sorts."""

    impl = sa.String(27)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(sa.String(27))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return rfc3339(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return datetime.fromisoformat(value) if isinstance(value, str) else value.astimezone(UTC)


def rfc3339(time: datetime) -> str:
    """An aware time as RFC 3339 text: UTC, microseconds, ``Z``; always 27 characters."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def insert_new(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that leaves rows alone which are there already."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


@cache
def marks(count: int) -> str:
    """``(?,?,...)`` with `count` marks."""
    return f"({','.join('?' * count)})"


def chunks(items: list[bytes], size: int = 1000) -> Iterator[list[bytes]]:
    """`items` in pieces of a size that SQLite takes in one statement; the last is padded with its own last item.

    Padding keeps the statements' texts few, so that the driver finds them prepared; ids repeat without harm in an IN.
    """
    for start in range(0, len(items), size):
        piece = items[start : start + size]
        wanted = min(size, 1 << (len(piece) - 1).bit_length())
        yield piece + piece[-1:] * (wanted - len(piece))

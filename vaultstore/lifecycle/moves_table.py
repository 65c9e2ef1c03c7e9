"""The table that a field moves in: its columns, its rows page by page, and what may not have changed meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from vaultstore.errors import DecryptionError, UnsupportedOperation
from vaultstore.lifecycle.work import Range
from vaultstore.orm import ModelRegistry
from vaultstore.orm.plaintext import reading, value_of
from vaultstore.orm.registry import FieldInfo, ModelInfo

__all__ = ["CHUNK", "MovedRow", "MovingTable", "moving_table"]

CHUNK = 500
"""Rows that are read, and commit, together."""


@dataclass(frozen=True, slots=True)
class MovedRow:
    """A row as it was read."""

    id: uuid.UUID
    """The row key: what stands for the row in every AAD, and in lists of rows."""
    values: dict[str, Any]
    """Attribute key -> id, of the ids that a sealed value is bound to."""
    plain: Any
    sealed: bytes | None

    @property
    def key(self) -> str:
        """The row key as text: the same order as the column's."""
        return self.id.hex


class MovingTable:
    """A field that replaces a plaintext column, and their table."""

    def __init__(self, info: ModelInfo, field: FieldInfo, plain: sa.Column[Any]) -> None:
        self.info, self.field, self.plain = info, field, plain
        prop, mapper = field.prop, info.mapper
        self.sealed: Any = prop.columns[0]  # a Column: what maps it took no other
        self.table: Any = self.sealed.table
        self.ids = {key: _column(self, mapper, key) for key in info.fixed}
        self.id = self.ids[info.row_key]
        self.beside: tuple[sa.Column[Any], ...] = tuple(
            mapper.attrs[key].columns[0]
            for key in (*(p.key for p in field.projections), *([field.index_key] if field.index else ()))
        )

    def __repr__(self) -> str:
        return f"<MovingTable {self.name}>"

    @property
    def name(self) -> str:
        """``Model.field``."""
        return f"{self.info.name}.{self.field.name}"

    @cached_property
    def primary(self) -> list[str]:
        """Names of the columns of the primary key."""
        return [column.name for column in self.table.primary_key]

    @cached_property
    def unsealed(self) -> sa.ColumnElement[bool]:
        """Rows that hold a plaintext and nothing sealed."""
        return sa.and_(self.plain.is_not(None), self.sealed.is_(None))

    @cached_property
    def uncut(self) -> sa.ColumnElement[bool]:
        """Rows that hold a plaintext."""
        return self.plain.is_not(None)

    @cached_property
    def filled(self) -> sa.ColumnElement[bool]:
        """Rows that hold either."""
        return sa.or_(self.plain.is_not(None), self.sealed.is_not(None))

    def count(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
        """How many rows are so."""
        return int(connection.execute(sa.select(sa.func.count()).select_from(self.table).where(which)).scalar_one())

    def ranges(self, connection: sa.Connection, which: sa.ColumnElement[bool], pieces: int) -> Sequence[Range]:
        """The rows that are so, in about so many ranges of their keys; the last is open, for rows that come later."""
        total, found, after = self.count(connection, which), list[Range](), None
        size = max(CHUNK, -(-total // pieces))
        query = sa.select(self.id).where(which).order_by(self.id)
        while total > size:
            later = query if after is None else query.where(self.id > after)
            until = connection.execute(later.offset(size - 1).limit(1)).scalar_one_or_none()
            if until is None:
                break
            found.append(Range(None if after is None else after.hex, until.hex, size))
            after, total = until, total - size
        return [*found, Range(None if after is None else after.hex, None, max(total, 0))]

    def page(
        self,
        connection: sa.Connection,
        which: sa.ColumnElement[bool],
        after: str | None,
        until: str | None,
        size: int,
    ) -> list[MovedRow]:
        """The next rows that are so, by key."""
        query = self._rows.where(which).order_by(self.id).limit(size)
        if after is not None:
            query = query.where(self.id > uuid.UUID(after))
        if until is not None:
            query = query.where(self.id <= uuid.UUID(until))
        return self._fetch(connection, query)

    def again(self, connection: sa.Connection, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, MovedRow]:
        """These rows as they are now, locked until the transaction ends."""
        query = self._rows.where(self.id.in_(sorted(ids))).order_by(self.id).with_for_update()
        return {row.id: row for row in self._fetch(connection, query)}

    def subjects(self, connection: sa.Connection, size: int = 1000) -> Iterator[list[bytes]]:
        """The subjects of all rows, in pieces."""
        after: uuid.UUID | None = None
        subject = self.ids[self.info.subject_key]
        while True:
            query = sa.select(subject).where(self.filled).distinct().order_by(subject).limit(size)
            found = list(connection.execute(query if after is None else query.where(subject > after)).scalars())
            if not found:
                return
            after = found[-1]
            yield [each.bytes for each in found if each is not None]

    def plain_bytes(self, row: MovedRow) -> bytes:
        """The plaintext of a row as it would be sealed. Raises UnsupportedOperation for what the field can't hold."""
        return self.field.codec.encode(self.value(row))

    def value(self, row: MovedRow) -> Any:
        """The plaintext of a row as the field would give it back; frozen JSON, times in UTC."""
        if row.plain is None:
            raise UnsupportedOperation("the column holds the JSON value null: make it SQL's NULL")
        codec = self.field.codec
        return codec.decode(codec.encode(row.plain))

    def fits(self, row: MovedRow) -> str | None:
        """Why a row can't be sealed, or None. Says nothing of the value."""
        try:
            value = self.value(row)
            for projection in self.field.projections:
                projection.mask.mask(value)
            if self.field.index is not None:
                self.field.index.message(value)
        except (UnsupportedOperation, DecryptionError) as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a mask or normaliser of the caller's; its message may carry the value
            return f"{type(error).__name__} in a mask or normaliser"
        return None

    @cached_property
    def _rows(self) -> sa.Select[Any]:
        return sa.select(*self.ids.values(), self.sealed, value_of(self.plain))

    def _fetch(self, connection: sa.Connection, query: sa.Select[Any]) -> list[MovedRow]:
        at, count = list(self.ids).index(self.info.row_key), len(self.ids)
        result = connection.execute(query)
        read = reading(result, count + 1, self.plain)
        found = []
        for row in result.all():
            ct, plain = row[count], row[count + 1]
            ids = dict(zip(self.ids, row, strict=False))
            found.append(MovedRow(row[at], ids, read(plain), None if ct is None else bytes(ct)))
        return found


def _column(moving: MovingTable, mapper: Any, key: str) -> sa.Column[Any]:
    for column in mapper.attrs[key].columns:
        if column.table is moving.table:
            found: sa.Column[Any] = column
            return found
    raise UnsupportedOperation(
        f"{moving.name}: {key} lies in another table than the field; a move takes both in one table"
    )


def moving_table(models: ModelRegistry, name: str) -> MovingTable:
    """The table of ``Model.field``. Raises UnsupportedOperation where it is no field that replaces a column."""
    model, dot, field = name.partition(".")
    info = next((i for i in models if i.name == model), None)
    found = None if info is None else info.by_name.get(field)
    if not dot or info is None or found is None:
        raise UnsupportedOperation(f"{name!r} names no encrypted field: give it as Model.field")
    if found.prop.plain_column is None:
        raise UnsupportedOperation(
            f"{name} replaces no column: declare {field}: Encrypted[...] = encrypted_column(..., replaces='...')"
        )
    return MovingTable(info, found, found.prop.plain_column)

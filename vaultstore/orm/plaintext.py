"""The plaintext column that an encrypted one replaces, while a table moves: no statement of a purpose speaks of it.

It is mapped, so that writes go to both columns, but never loaded with its row: `unsealed.py` reads it, after the gate
has admitted the subject. Its type refuses values that do not come from a sealing, and gives none out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy import ClauseElement, Column, CursorResult
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeDecorator, TypeEngine

from vaultstore.canonical import thaw
from vaultstore.codec import Codec
from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.orm.types import BindRefused, Cell, SearchRefused

__all__ = [
    "Plain",
    "PlaintextType",
    "mention_of",
    "plain_type",
    "reading",
    "refuse_mentions",
    "replaced_column",
    "value_of",
]

_TYPES: Mapping[str, Callable[[], TypeEngine[Any]]] = {
    "str": sa.String,
    "bytes": sa.LargeBinary,
    "int": sa.BigInteger,
    "bool": sa.Boolean,
    "decimal": sa.Numeric,
    "date": sa.Date,
    "datetime": lambda: sa.DateTime(timezone=True),
    "uuid": sa.Uuid,
    "json": lambda: sa.JSON(none_as_null=True),
}


class Plain:
    """The plaintext of a cell on its way to the old column. It holds the cell, so it closes when that does."""

    __slots__ = ("cell",)

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def __repr__(self) -> str:
        return "<encrypted>"

    def __reduce__(self) -> NoReturn:
        raise UnsupportedOperation("a value on its way to a plaintext column can't be pickled: flush first")


class PlaintextType(TypeDecorator[Any]):
    """The type of a column that is being replaced, `given`, with the values taken out of reach."""

    impl = sa.String
    cache_ok = True

    def __init__(self, given: TypeEngine[Any]) -> None:
        super().__init__()
        if isinstance(given, sa.JSON):
            json = copy.copy(given)
            json.none_as_null = True
            given = json
        self.given = given
        self.impl = given  # type: ignore[assignment] # the instance's own, as TypeDecorator has it

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """As `given` is there."""
        return self.given.dialect_impl(dialect)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Take only what comes with a sealed value."""
        if value is None:
            return None
        if value.__class__ is Plain:
            return thaw(value.cell.v)
        raise BindRefused("a plaintext column that is being replaced is written with the sealed one: assign the field")

    def process_literal_param(self, value: Any, dialect: Dialect) -> NoReturn:
        """Refuse."""
        raise SearchRefused("a plaintext column that is being replaced has no literals")

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Refuse, whatever statement it came by."""
        if value is None:
            return None
        raise SearchRefused("a plaintext column that is being replaced is read through its field only")

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether both are one and the same."""
        return x is y

    def coerce_compared_value(self, op: Any, value: Any) -> PlaintextType:
        """Keep the type, so that a compared value meets the bind processor too."""
        return self

    def copy(self, **kw: Any) -> PlaintextType:
        """The same again."""
        return PlaintextType(self.given)


def plain_type(column: Column[Any]) -> TypeEngine[Any]:
    """The type that a replaced column has in the database."""
    type_ = column.type
    return type_.given if isinstance(type_, PlaintextType) else type_


def replaced_column(given: str | Column[Any], codec: Codec, where: str) -> Column[Any]:
    """The column of `replaces=`: its name, with the usual type for the field's values, or a Column with its own.

    It takes NULL, whatever it took before: that is what the move leaves in it. Raises ModelError.
    """
    if isinstance(given, str):
        make = _TYPES.get(codec.name) or (lambda: sa.Enum(codec.python_type))
        return Column(given, PlaintextType(make()), nullable=True)
    if not isinstance(given, Column) or not given.name:
        raise ModelError(f"{where}: replaces= is the name of a column, or a Column with its name and type")
    if given.primary_key or given.foreign_keys:
        raise ModelError(f"{where}: replaces= can't name a key of the table")
    return Column(given.name, PlaintextType(given.type), nullable=True, index=given.index, unique=given.unique)


class Unreadable:
    """What stands for a value that the column's own type can't read; no field can hold it."""

    __slots__ = ()


def value_of(column: Column[Any]) -> Any:
    """`column` as an expression that gives what is stored: for what has been admitted, and for moves. See `reading`."""
    return sa.type_coerce(column, sa.types.NullType()).label(column.name)


def reading(result: CursorResult[Any], at: int, column: Column[Any]) -> Callable[[Any], Any]:
    """What turns the stored values at position `at` of `result` into the type's; an Unreadable where it can't.

    SQLAlchemy would raise for the whole result, with the value in the message.
    """
    dialect = result.dialect
    assert result.cursor is not None
    process = plain_type(column).dialect_impl(dialect).result_processor(dialect, result.cursor.description[at][1])

    def read(stored: Any) -> Any:
        try:
            return stored if process is None else process(stored)
        except Exception:  # noqa: BLE001 - whatever it is, it may show the value
            return Unreadable()

    return read


def refuse_mentions(statement: Any, replaced: Mapping[Column[Any], re.Pattern[str]]) -> None:
    """Raise UnsupportedOperation where `statement` speaks of a column in `replaced`, or may do so by name.

    Wherever it stood (among what is selected, in a function, a condition, an order), something of its values would
    come out. Text is judged by the words in it: the pattern that goes with a column.
    """
    parts = [getattr(statement, "_resolved", statement)]  # a lambda statement's own
    parts += [o.where_criteria for o in getattr(statement, "_with_options", ()) if _has_criteria(o)]
    for element in (e for part in parts for e in visitors.iterate(part)):
        if isinstance(element, sa.TextClause):
            _search(element.text, replaced)
        elif isinstance(getattr(element, "type", None), PlaintextType):
            _refuse(str(getattr(element, "name", "the column")))
        elif isinstance(element, sa.ColumnClause) and element.table is None:
            _search(element.name, replaced)
        for item in (*getattr(element, "_raw_columns", ()), *(getattr(element, "_returning", None) or ())):
            if getattr(item, "name", getattr(item, "text", "")) == "*":
                _refuse("a column in *")
            if isinstance(item, sa.FromClause) and "parententity" not in item._annotations:
                for column in item.c:
                    if isinstance(column.type, PlaintextType):
                        _refuse(column.name)


def _has_criteria(option: Any) -> bool:
    return isinstance(getattr(option, "where_criteria", None), ClauseElement)


def mention_of(table: str, column: str) -> re.Pattern[str]:
    """Words by which text speaks of a column: its name, or all columns of its table."""
    named, every = re.escape(column), re.escape(table)
    return re.compile(rf"\b{named}\b|^(?=.*\b{every}\b)(?=.*(?<!count\()\*)", re.IGNORECASE | re.DOTALL)


def _search(text: str, replaced: Mapping[Column[Any], re.Pattern[str]]) -> None:
    for column, pattern in replaced.items():
        if pattern.search(text):
            _refuse(f"{column.table.name}.{column.name}")


def _refuse(what: str) -> NoReturn:
    raise UnsupportedOperation(f"{what} is being replaced by an encrypted column: read and write the field instead")

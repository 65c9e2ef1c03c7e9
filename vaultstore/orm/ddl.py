"""CHECK constraints: the database itself refuses plaintext in a sealed column, whatever path it came by."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, Column, ColumnElement, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import conv

from vaultstore.envelope import CIPHERTEXT_MINIMUM
from vaultstore.orm.types import BlindIndexType, SealedType

__all__ = ["SealedCheck", "check_name", "constrain"]

_LONGEST_NAME = 63  # PostgreSQL's limit, in bytes
_DIGEST = 32


class SealedCheck(ColumnElement[bool]):
    """The condition of one column: ciphertext (version byte 01, at least 33 bytes) or a digest (32 bytes), or NULL."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: Column[Any]) -> None:
        self.name = column.name
        self.digest = isinstance(column.type, BlindIndexType)


@compiles(SealedCheck)
def _sqlite(element: SealedCheck, compiler: SQLCompiler, **kw: Any) -> str:
    name = compiler.preparer.quote(element.name)
    # SQLite stores any type in any column, so the type is checked too.
    if element.digest:
        return f"{name} IS NULL OR (typeof({name}) = 'blob' AND length({name}) = {_DIGEST})"
    return (
        f"{name} IS NULL OR (typeof({name}) = 'blob' AND length({name}) >= {CIPHERTEXT_MINIMUM}"
        f" AND substr({name}, 1, 1) = x'01')"
    )


@compiles(SealedCheck, "postgresql")
def _postgresql(element: SealedCheck, compiler: SQLCompiler, **kw: Any) -> str:
    name = compiler.preparer.quote(element.name)
    if element.digest:
        return f"octet_length({name}) = {_DIGEST}"
    # CASE, since AND promises no order and get_byte fails on a value that is too short.
    return (
        f"CASE WHEN octet_length({name}) >= {CIPHERTEXT_MINIMUM} THEN get_byte({name}, 0) = 1 ELSE {name} IS NULL END"
    )


def constrain(table: Table) -> None:
    """Give every sealed and every blind-index column of `table` its CHECK, once."""
    present = {str(constraint.name) for constraint in table.constraints}
    for column in table.columns:
        if isinstance(column.type, SealedType | BlindIndexType):
            name = check_name(table.name, column.name)
            if name not in present:
                table.append_constraint(CheckConstraint(SealedCheck(column), name=conv(name)))


def check_name(table: str, column: str) -> str:
    """The name of a column's CHECK: cut to what PostgreSQL takes."""
    name = f"ck_{table}_{column}_sealed"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    short = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: _LONGEST_NAME - 16].decode(errors='ignore')}_{short}_sealed"

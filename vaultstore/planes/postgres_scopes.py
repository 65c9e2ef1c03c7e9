"""Row scopes as SQL: the function that the ORM calls with a real actor is called with one that stands for all.

Where a value of the actor is bound, the policy asks the database for it, once a query: ``(SELECT vs_actor())``. A
subquery becomes a view, so that what decides is read with rights that the purpose does not have, and
``column IN (SELECT ...)`` becomes ``column = ANY (ARRAY(SELECT ...))``, which is worked out once and can use an index.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.sql import operators, visitors

from vaultstore.grants import Actor
from vaultstore.orm.types import BlindIndexType, SealedType
from vaultstore.planes.postgres_actor import ScopeRefused, Symbols
from vaultstore.planes.postgres_text import SCHEMA, name, table

__all__ = ["Condition", "ScopeRefused", "ScopeView", "compile_condition"]

_HOW = "write it as column.in_(select(...)), with a select that stands for itself"
_VALUES = "use texts, numbers, dates and UUIDs"
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class ScopeView:
    """A subquery of a row scope, as a view with one column, ``value``."""

    name: str
    query: str
    """Template of its SELECT."""
    reads: tuple[tuple[str, tuple[str, ...]], ...]
    """(table, columns) that its owner has to read."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the rows of one table."""

    sql: str
    """Template."""
    views: tuple[ScopeView, ...] = ()


class _Compiler(PGCompiler):
    """Remembers every column and table that it wrote."""

    def visit_column(self, column: Any, *args: Any, **kw: Any) -> str:
        if not column.is_literal:
            self.__dict__.setdefault("columns", set()).update(column.base_columns)
        return super().visit_column(column, *args, **kw)

    def visit_table(self, table: Any, *args: Any, **kw: Any) -> str:
        self.__dict__.setdefault("tables", set()).add(table)
        text: str = super().visit_table(table, *args, **kw)  # type: ignore[no-untyped-call]
        return text


_dialect: Any = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
_dialect.statement_compiler = _Compiler
_dialect._backslash_escapes = False  # standard_conforming_strings is on, as everywhere by now


def compile_condition(
    label: str,
    build: Callable[[Actor], sa.ColumnElement[bool]],
    on: sa.Table,
    known: Mapping[str, sa.Table],
    prefix: str,
) -> Condition:
    """The condition that `build` makes, on rows of `on`; views are named after `prefix` and `label`.

    `known` are the tables of models by name. Raises ScopeRefused, and whatever `build` raises.
    """
    made = [_Scope(label, Symbols(number), on, known, prefix).compile(build) for number in (1, 2)]
    if made[0] != made[1]:
        raise ScopeRefused(
            "its SQL depends on the actor's values or on the moment: compare them in SQL as they are, and take the time"
            " from func.current_timestamp()"
        )
    return made[0]


class _Scope:
    """One compilation, with the values of one symbolic actor."""

    def __init__(self, label: str, symbols: Symbols, on: sa.Table, known: Mapping[str, sa.Table], prefix: str) -> None:
        self.label, self.symbols, self.on, self.known, self.prefix = label, symbols, on, known, prefix
        self.views: dict[str, ScopeView] = {}

    def compile(self, build: Callable[[Actor], sa.ColumnElement[bool]]) -> Condition:
        made: Any = build(self.symbols.actor)
        if not isinstance(made, sa.ColumnElement):
            raise ScopeRefused(f"it returns {type(made).__name__}, not a condition")
        condition = visitors.replacement_traverse(made, {}, self.outer)
        for column in visitors.iterate(condition):
            if isinstance(column, sa.Column):
                self.check(column)
                if column.table.name != self.on.name:
                    raise ScopeRefused(f"it uses {column.table.name}.{column.name} beside {self.on.name}: {_HOW}")
        text, _, _ = self.render(condition)
        return Condition(text, tuple(self.views.values()))

    def outer(self, element: Any, **kw: Any) -> Any:
        """What takes the place of an element outside of subqueries, or None."""
        if isinstance(element, sa.BinaryExpression) and element.operator in (operators.in_op, operators.not_in_op):
            query = _query_of(element.right)
            if query is not None:
                left = visitors.replacement_traverse(element.left, {}, self.outer)
                array = f"(ARRAY(SELECT value FROM {self.view(query)}))"  # noqa: S608 - a quoted name
                if element.operator is operators.in_op:
                    return left == sa.literal_column(f"ANY {array}")
                return left != sa.literal_column(f"ALL {array}")
        if isinstance(element, sa.Exists):
            query = _query_of(element.element)
            if isinstance(query, sa.Select):
                one: Any = sa.literal_column("1").label("value")
                bare = query.with_only_columns(one, maintain_column_froms=True)
                return sa.literal_column(f"EXISTS (SELECT FROM {self.view(bare, query)})", sa.Boolean())
            raise ScopeRefused(f"it has an EXISTS over something that is no select: {_HOW}")
        if (query := _query_of(element)) is not None:
            value = f"(SELECT value FROM {self.view(query)})"  # noqa: S608 - a quoted name
            return sa.literal_column(value, getattr(element, "type", None))
        return self.inner(element)

    def inner(self, element: Any, **kw: Any) -> Any:
        """What takes the place of a bound value of the actor, or None."""
        if not isinstance(element, sa.BindParameter):
            return None
        value = element.effective_value
        if isinstance(value, bytes | bytearray | memoryview):
            raise ScopeRefused(f"bytes in it have no SQL literal: {_VALUES}")
        if isinstance(value, list | tuple | set | frozenset):
            if any(self.symbols.text(item) or self.symbols.uuid(item) for item in value):
                raise ScopeRefused("a value of the actor stands in a list: compare it with ==, and join with or_()")
            return None
        kind: Any = element.type
        while isinstance(kind, sa.TypeDecorator):
            kind = kind.impl_instance
        if isinstance(value, uuid.UUID) or isinstance(kind, sa.Uuid):
            source = self.symbols.uuid(value)
            if source == "":
                raise ScopeRefused("the actor's role is no UUID: compare it as text")
        else:
            source = self.symbols.text(value)
            plain = isinstance(kind, sa.String | sa.types.NullType) and not isinstance(kind, sa.Enum)
            if source is not None and not plain:
                raise ScopeRefused(
                    f"a value of the actor is text, and it is compared as {type(kind).__name__}: use a text or UUID"
                    " column"
                )
        return None if source is None else sa.literal_column(source, element.type)

    def view(self, query: Any, checked: Any = None) -> str:
        """The name of the view that `query` becomes, as a template."""
        self.check_alone(query if checked is None else checked)
        if len(query.selected_columns) != 1:
            raise ScopeRefused("a subquery selects more than one column: select the one to compare with")
        text, columns, tables = self.render(visitors.replacement_traverse(query, {}, self.inner))
        reads: dict[str, set[str]] = {}
        for column in columns:
            self.check(column)
            reads.setdefault(column.table.name, set()).add(column.name)
        for source in tables:
            if source.name not in self.known or source.schema is not None:
                raise ScopeRefused(f"it selects from {source.fullname}, which no model of the store maps")
            # counting rows takes a column that may be read
            reads.setdefault(source.name, {column.name for column in source.primary_key})
        mark = hashlib.sha256(f"{self.prefix} {text}".encode()).hexdigest()[:8]
        head = f"{self.prefix}scope_{self.label}".encode()[: _LONGEST_NAME - 9].decode(errors="ignore")
        made = ScopeView(f"{head}_{mark}", text, tuple((t, tuple(sorted(c))) for t, c in sorted(reads.items())))
        self.views[made.name] = made
        return table(made.name)

    def check_alone(self, query: Any) -> None:
        """Refuse a subquery that leans on the row that is decided about."""
        for element in visitors.iterate(query):
            if isinstance(element, sa.Select):
                froms = element.get_final_froms()
                if len(froms) > 1 and any(getattr(source, "name", None) == self.on.name for source in froms):
                    raise ScopeRefused(f"a subquery refers to the row of {self.on.name} that it decides about: {_HOW}")

    def check(self, column: Any) -> None:
        """Refuse what is no clear column of a table."""
        if not isinstance(column.table, sa.Table):
            raise ScopeRefused(f"it uses {column.name} of an alias: {_HOW}")
        if isinstance(column.type, SealedType | BlindIndexType):
            raise ScopeRefused(f"{column.table.name}.{column.name} is sealed: decide by clear columns")

    def render(self, element: Any) -> tuple[str, Iterable[Any], Iterable[Any]]:
        """(SQL, columns, tables) of an element without parameters; its schema is SCHEMA."""
        try:
            compiled = element.compile(
                dialect=_dialect,
                compile_kwargs={"literal_binds": True},
                schema_translate_map={None: SCHEMA.strip('"')},
                render_schema_translate=True,
            )
        except (sa.exc.CompileError, sa.exc.StatementError, NotImplementedError) as error:
            raise ScopeRefused(f"a value in it has no SQL literal ({type(error).__name__}): {_VALUES}") from None
        # In a policy's condition the table needs no schema; left there, a clone of the table could not take it.
        text = str(compiled) if isinstance(element, sa.SelectBase) else _bare(str(compiled), self.on)
        seen = compiled.__dict__
        return text, seen.get("columns", ()), [t for t in seen.get("tables", ()) if isinstance(t, sa.Table)]


def _bare(text: str, on: sa.Table) -> str:
    preparer = _dialect.identifier_preparer
    return text.replace(f"{SCHEMA}.{preparer.quote(on.name)}.", f"{name(on.name)}.")


def _query_of(element: Any) -> Any:
    """The SELECT in parentheses that an element is, or None."""
    if isinstance(element, sa.ScalarSelect):
        return element.element
    if isinstance(element, sa.SelectBase):
        return getattr(element, "element", element)
    return None

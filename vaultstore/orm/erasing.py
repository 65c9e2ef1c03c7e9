"""The statements of an erasure: what the models declare, as SQL for the rows of one subject.

One plan serves both databases: SQLite runs it from Python, on PostgreSQL its text is published with the policy and run
by the database's own function, which a service may call that has no right to the tables.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Delete, Table, Update, Uuid, and_, delete, func, or_, select, update
from sqlalchemy import literal as bound
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.elements import literal_column

from vaultstore.errors import ModelError
from vaultstore.orm.erasure import RANDOM, OnErasure, erasure_of, personal
from vaultstore.orm.registry import ModelInfo, ModelRegistry

__all__ = ["ErasurePlan", "Step", "plan_of"]

_SUBJECT, _HELD = "$1", "$2"
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call] # "pyformat" would double each percent
_DIALECT._backslash_escapes = False  # as a server with standard_conforming_strings says when it is asked


@dataclass(frozen=True, slots=True)
class Step:
    """One statement on one table, for the rows of one model."""

    act: Literal["blank", "delete"]
    model: str
    table: str
    columns: tuple[str, ...]
    """Columns that are emptied; none where rows are deleted."""
    info: ModelInfo = field(repr=False, compare=False)
    on: Table = field(repr=False, compare=False)

    def told(self) -> dict[str, Any]:
        """What a certificate says of it, but for the number of rows."""
        return {"act": self.act, "model": self.model, "table": self.table, "columns": list(self.columns)}


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What an erasure does to the rows of a store's models."""

    steps: tuple[Step, ...]
    kept: tuple[tuple[str, str, str], ...]
    """(model, attribute, why it is kept)."""
    not_declared: tuple[tuple[str, tuple[str, ...]], ...]
    """(model, attributes) that nothing is declared of: they stay."""

    @property
    def report(self) -> dict[str, Any]:
        """What a certificate says of what stays."""
        return {
            "kept": [{"model": model, "column": column, "because": why} for model, column, why in self.kept],
            "not_declared": [{"model": model, "columns": list(columns)} for model, columns in self.not_declared],
        }

    @property
    def digest(self) -> str:
        """Names what is declared: a database whose published rules have another was published for other models."""
        values = [[repr(v) for v in _values(step).values()] for step in self.steps]
        content = [[step.told() for step in self.steps], values, self.report]
        return f"sha256:{sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()}"

    def rules(self) -> str:
        """The published form, as JSON: statements for PostgreSQL, in which $1 is the subject and $2 the held scopes."""
        statements = [{**step.told(), "sql": _text(step)} for step in self.steps]
        return json.dumps({"statements": statements, **self.report}, ensure_ascii=False, sort_keys=True)

    def statements(self, subject: uuid.UUID, held: Collection[uuid.UUID]) -> Iterator[tuple[Step, Update | Delete]]:
        """The same for SQLite: each step and its statement."""
        for step in self.steps:
            yield step, _statement(step, _Bound(subject, held), "sqlite")


def plan_of(models: ModelRegistry) -> ErasurePlan:
    """What the models declare. Raises ModelError for rows of several tables that can't be told apart as they go."""
    steps: list[Step] = []
    kept: list[tuple[str, str, str]] = []
    silent: list[tuple[str, tuple[str, ...]]] = []
    for info in models:
        if not info.subject_key:
            continue
        declared = erasure_of(info.mapper.class_) or OnErasure()
        steps += _steps(info, declared)
        if not declared.delete:
            kept += [(info.name, key, why) for key, why in sorted(declared.keep.items())]
            names = {key for key, _ in personal(info.mapper.class_, info.mapper)}
            left = tuple(sorted(names - declared.clear.keys() - declared.keep.keys()))
            silent += [(info.name, left)] if left else []
    order = {table: at for at, table in enumerate(_tables(models))}
    # Rows go before those that they refer to.
    steps.sort(key=lambda step: (step.act == "delete", -order[step.on] if step.act == "delete" else order[step.on]))
    return ErasurePlan(tuple(steps), tuple(sorted(kept)), tuple(sorted(silent)))


def _tables(models: ModelRegistry) -> list[Table]:
    metadata = dict.fromkeys(
        table.metadata for info in models for table in info.mapper.tables if isinstance(table, Table)
    )
    return [table for each in metadata for table in each.sorted_tables]


def _steps(info: ModelInfo, declared: OnErasure) -> Iterator[Step]:
    mapper = info.mapper
    for table in mapper.tables:
        if not isinstance(table, Table):
            continue
        if declared.delete:
            first = mapper.tables[0]
            inside = [_column(mapper, key, first) for key in (info.subject_key, info.scope_key) if key]
            if len(mapper.tables) > 1 and (any(c is None for c in inside) or not _told_apart_in(mapper, first)):
                raise ModelError(f"{info.name}: rows in several tables are deleted by columns of the first of them")
            yield Step("delete", info.name, table.name, (), info, table)
            continue
        step = Step("blank", info.name, table.name, tuple(sorted(c.name for c in _cleared(info, declared, table))),
                    info, table)  # fmt: skip
        if step.columns:
            yield step


def _told_apart_in(mapper: Mapper[Any], table: Any) -> bool:
    kind: Any = mapper.polymorphic_on
    return kind is None or getattr(kind, "table", table) is table


def _cleared(info: ModelInfo, declared: OnErasure, table: Table) -> list[Column[Any]]:
    found = (_column(info.mapper, key, table) for key in (*declared.clear, *_emptied(info)))
    return [column for column in found if column is not None]


def _emptied(info: ModelInfo) -> Iterator[str]:
    """What goes without being named: indexes, and plaintext of a table that is moving."""
    for each in info.fields:
        if each.index is not None:
            yield each.index_key
        if each.plain_key is not None:
            # With what is sealed: once a move has cut over, its triggers take an emptied plaintext in no other way.
            yield from (each.plain_key, *each.keys)


def _column(mapper: Mapper[Any], key: str, table: Any) -> Column[Any] | None:
    columns = mapper.attrs[key].columns
    return next((c for c in columns if isinstance(c, Column) and c.table is table), None)


def _values(step: Step) -> dict[Column[Any], Any]:
    declared = erasure_of(step.info.mapper.class_) or OnErasure()
    values: dict[Column[Any], Any] = {}
    for key in (*declared.clear, *_emptied(step.info)):
        column = _column(step.info.mapper, key, step.on)
        if column is not None and step.act == "blank":
            values[column] = declared.clear.get(key)
    return values


# ------------------------------------------------------------------------------------------------------ statements


class _Bound:
    """Subject and held scopes as parameters."""

    def __init__(self, subject: uuid.UUID, held: Collection[uuid.UUID]) -> None:
        self._subject, self._held = subject, sorted(held)

    def is_subject(self, column: Any) -> ColumnElement[bool]:
        found: ColumnElement[bool] = column == self._subject
        return found

    def not_held(self, column: Any) -> ColumnElement[bool] | None:
        return or_(column.is_(None), column.not_in(self._held)) if self._held else None


class _Placed:
    """The same as the function's parameters $1 and $2, written as the column writes a UUID."""

    def is_subject(self, column: Any) -> ColumnElement[bool]:
        found: ColumnElement[bool] = column == literal_column(_as_stored(column, f"{_SUBJECT}::uuid"))
        return found

    def not_held(self, column: Any) -> ColumnElement[bool] | None:
        inner = _as_stored(column, "h.id")
        held = _HELD if inner == "h.id" else f"ARRAY(SELECT {inner} FROM unnest({_HELD}) AS h (id))"  # noqa: S608 - ours
        return or_(column.is_(None), column != func.all(literal_column(held)))


def _as_stored(column: Any, value: str) -> str:
    kind = column.type.dialect_impl(_DIALECT)
    impl = getattr(kind, "impl_instance", kind)
    if isinstance(impl, Uuid) and impl.native_uuid:
        return value
    if isinstance(impl, Uuid):
        return f"replace(({value})::text, '-', '')"
    raise ModelError(f"{column}: an erasure finds rows by columns of the type Uuid")


def _text(step: Step) -> str:
    statement = _statement(step, _Placed(), "postgresql")
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def _statement(step: Step, names: _Bound | _Placed, dialect: str) -> Update | Delete:
    condition = _rows(step, names)
    if step.act == "delete":
        return delete(step.on).where(condition)
    values = {column: _value(column, value, dialect) for column, value in _values(step).items()}
    return update(step.on).where(condition).values(values)


def _value(column: Column[Any], value: Any, dialect: str) -> Any:
    if value is None:
        return literal_column("NULL")
    if value is not RANDOM:
        return bound(value, column.type)
    text = "gen_random_uuid()" if dialect == "postgresql" else "lower(hex(randomblob(16)))"
    if issubclass(column.type.python_type, str):
        return literal_column(f"'erased-' || replace({text}::text, '-', '')" if dialect == "postgresql"
                              else f"'erased-' || {text}")  # fmt: skip
    return literal_column(_as_stored(column, text) if dialect == "postgresql" else text)


def _rows(step: Step, names: _Bound | _Placed) -> ColumnElement[bool]:
    """The subject's rows of this very model (not of models that inherit from it), but for held scopes."""
    info, mapper = step.info, step.info.mapper
    kind, identity = mapper.polymorphic_on, mapper.polymorphic_identity
    where: list[tuple[str, Sequence[Any]]] = [("subject", mapper.attrs[info.subject_key].columns)]
    if info.scope_key:
        where.append(("scope", mapper.attrs[info.scope_key].columns))
    if kind is not None and identity is not None and isinstance(kind, Column):
        where.append(("kind", [kind]))
    here = {what: next((c for c in columns if c.table is step.on), None) for what, columns in where}
    if all(column is not None for column in here.values()):
        return _condition(here, names, identity)
    # Some of them stand in another table of the model: the row is found through its key.
    tables = [mapper.tables[0]] if step.act == "delete" else list(mapper.tables)
    there = {what: next(c for c in columns if c.table in tables) for what, columns in where}
    key = next(iter(step.on.primary_key))
    same = mapper.get_property_by_column(key).columns
    if step.act == "delete":
        other = next(c for c in same if c.table is tables[0])
        return key.in_(select(other).where(_condition(there, names, identity)))
    return key.in_(select(key).select_from(mapper.persist_selectable).where(_condition(there, names, identity)))


def _condition(columns: dict[str, Any], names: _Bound | _Placed, identity: Any) -> ColumnElement[bool]:
    parts = [names.is_subject(columns["subject"])]
    if "scope" in columns:
        part = names.not_held(columns["scope"])
        parts += [] if part is None else [part]
    if "kind" in columns:
        parts.append(columns["kind"] == identity)
    return and_(*parts)

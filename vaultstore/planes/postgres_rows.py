"""Which rows of a table a purpose sees and writes, as conditions of row-level security.

A model may lie in several tables, and a table may hold several models. So a condition on one table says, for each model
that a row can be of: whether the purpose lists it, and its row scope. What lies in another table of the model is looked
up there, through a view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from vaultstore.errors import PolicyError, VaultstoreError
from vaultstore.grants import Actor
from vaultstore.orm.registry import ModelInfo, ModelRegistry
from vaultstore.orm.scopes import scope_named
from vaultstore.planes.postgres_hidden import both, in_sight
from vaultstore.planes.postgres_scopes import Condition, ScopeRefused, compile_condition
from vaultstore.policy import BoundPolicy, Purpose
from vaultstore.policy.rights import entry_of, touches

__all__ = ["Rows", "tables_of"]

_TRUE = Condition("true")
_FALSE = Condition("false")


def tables_of(models: ModelRegistry) -> dict[str, sa.Table]:
    """The tables of all models by name. Raises PolicyError for one that is bound to a schema."""
    found: dict[str, sa.Table] = {}
    for info in models:
        for table in info.mapper.tables:
            if not isinstance(table, sa.Table):
                continue
            if table.schema is not None:
                raise PolicyError(
                    f"{info.name}: the table {table.fullname} names its schema; a store lies in one schema, which the"
                    " login's search_path names"
                )
            found[table.name] = table
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class _Group:
    """Models of one table whose rows fall under one condition."""

    scope: str | None
    entry: ModelInfo
    """The model whose listing they go by."""
    members: tuple[ModelInfo, ...]


class Rows:
    """Compiles the row conditions of a policy, each scope on each table once."""

    def __init__(self, bound: BoundPolicy, models: ModelRegistry, prefix: str) -> None:
        self._bound, self._prefix = bound, prefix
        self._infos = {info.name: info for info in models}
        self.tables: Mapping[str, sa.Table] = tables_of(models)
        """Every table of a model, by name."""
        self._hosted = {
            name: tuple(info for info in models if table in info.mapper.tables) for name, table in self.tables.items()
        }
        self._known: dict[tuple[str, _Group, bool], Condition] = {}

    def seen(self, purpose: Purpose, table: str) -> Condition | None:
        """The rows of `table` that `purpose` sees; None where it lists no model of it."""
        return self._in_sight(purpose, table, lambda info: touches(purpose, info.model))

    def written(self, purpose: Purpose, table: str) -> Condition | None:
        """The rows of `table` that `purpose` writes; None where it writes no model of it."""
        return self._in_sight(purpose, table, lambda info: entry_of(purpose.write, info.model) is not None)

    def _in_sight(self, purpose: Purpose, table: str, has: Callable[[ModelInfo], bool]) -> Condition | None:
        condition = self._condition(purpose, table, has)
        if condition is None or purpose.requires.sees_restricted:
            return condition
        listed = [info for info in self._hosted[table] if has(info)]
        try:
            return both(condition, in_sight(self.tables[table], listed, self._prefix))
        except ScopeRefused as refused:
            place = self._bound.rules.places.at("purposes", purpose.name)
            raise place.error(f"{purpose.name} can't be kept from restricted members' rows: {refused}") from None

    def _condition(self, purpose: Purpose, table: str, has: Callable[[ModelInfo], bool]) -> Condition | None:
        hosted = self._hosted[table]
        listed = [info for info in hosted if has(info)]
        if not listed:
            return None
        groups: dict[tuple[str | None, str], list[ModelInfo]] = {}
        for info in listed:
            scope, entry = self._entry(purpose, info)
            groups.setdefault((scope, entry.name if scope else ""), []).append(info)
        made = tuple(
            _Group(scope, self._infos[entry] if entry else members[0], tuple(members))
            for (scope, entry), members in groups.items()
        )
        if len(made) == 1 and len(listed) == len(hosted):
            return self._of_group(purpose, table, made[0], whole=True)
        return _either([self._of_group(purpose, table, group, whole=False) for group in made])

    def _entry(self, purpose: Purpose, info: ModelInfo) -> tuple[str | None, ModelInfo]:
        """The scope of a model, and the model that the policy lists it under."""
        entry = entry_of(purpose.read, info.model)
        return (purpose.read[entry].rows, self._infos[entry]) if entry else (None, info)

    def _of_group(self, purpose: Purpose, table: str, group: _Group, *, whole: bool) -> Condition:
        if whole and group.scope is None:
            return _TRUE
        key = table, group, whole
        if key not in self._known:
            try:
                self._known[key] = self._compile(table, group, whole)
            except ScopeRefused as refused:
                reason = str(refused)
            except VaultstoreError:
                raise
            except Exception as error:  # noqa: BLE001 - the scope is somebody else's function
                reason = f"it raised {type(error).__name__} for an actor of no particular id and attributes"
            else:
                return self._known[key]
            entry = entry_of(purpose.read, group.entry.model) or group.entry.name
            place = self._bound.rules.places.at("purposes", purpose.name, "read", entry, "rows")
            scope = f"the row scope {group.scope}" if group.scope else f"the rows of {purpose.name}"
            raise place.error(f"{scope} can't be row-level security on {table}: {reason}") from None
        return self._known[key]

    def _compile(self, table: str, group: _Group, whole: bool) -> Condition:
        on = self.tables[table]
        mapper: Any = group.entry.mapper if group.scope else group.members[0].mapper
        discriminator = mapper.polymorphic_on
        identities = sorted(
            {m.mapper.polymorphic_identity for m in group.members if m.mapper.polymorphic_identity is not None}, key=str
        )
        if not whole and (discriminator is None or not identities):
            return _FALSE  # nothing tells their rows from those of a model that is not listed

        def build(actor: Actor) -> Any:
            parts: list[Any] = [] if whole else [discriminator.in_(identities)]
            if group.scope:
                parts.append(scope_named(group.scope)(actor, mapper.class_))
            return parts[0] if len(parts) == 1 else sa.and_(*parts)

        def placed(actor: Actor) -> Any:
            return self._placed(build(actor), on, group, mapper)

        return compile_condition(group.scope or "of_model", placed, on, self.tables, self._prefix)

    def _placed(self, condition: Any, on: sa.Table, group: _Group, mapper: Any) -> Any:
        """The condition on columns of `on`: by columns that hold the same there, else through the model's own rows."""
        if not isinstance(condition, sa.ColumnElement):
            return condition
        mappers = [mapper, *(info.mapper for info in group.members)]

        def equal(element: Any, **kw: Any) -> Any:
            if isinstance(element, sa.Select | sa.CompoundSelect):
                return element  # decided for itself
            if isinstance(element, sa.Column) and getattr(element.table, "name", None) != on.name:
                return next(_same(element, on, mappers), None)
            return None

        moved: Any = visitors.replacement_traverse(condition, {}, equal)
        if all(c.table.name == on.name for c in _outer_columns(moved)):
            return moved
        keys = list(on.primary_key)
        same = None if len(keys) != 1 else next(_same(keys[0], mapper.local_table, mappers), keys[0])
        if same is None:
            raise ScopeRefused(
                f"it uses a column beside {on.name}, whose key has several columns: use one of {on.name}"
            )
        return keys[0].in_(sa.select(same).select_from(mapper.class_).where(condition))


def _outer_columns(condition: Any) -> Iterator[Any]:
    """Columns outside of subqueries."""
    stack = [condition]
    while stack:
        element = stack.pop()
        if isinstance(element, sa.Column):
            yield element
        elif not isinstance(element, sa.SelectBase):
            stack.extend(element.get_children())


def _same(column: Any, on: Any, mappers: Sequence[Any]) -> Iterator[Any]:
    """Columns of `on` that hold what `column` holds, as the joined tables of a model share a key."""
    for mapper in mappers:
        for prop in mapper.column_attrs:
            names = {(c.table.name, c.name) for c in prop.columns if isinstance(c, sa.Column)}
            if (column.table.name, column.name) in names:
                yield from (c for c in prop.columns if isinstance(c, sa.Column) and c.table.name == on.name)


def _either(conditions: Sequence[Condition]) -> Condition:
    """Any of these."""
    some = [c for c in conditions if c != _FALSE]
    if not some or _TRUE in some:
        return _TRUE if some else _FALSE
    views = {view.name: view for c in some for view in c.views}
    text = some[0].sql if len(some) == 1 else " OR ".join(f"({c.sql})" for c in some)
    return Condition(text, tuple(views.values()))

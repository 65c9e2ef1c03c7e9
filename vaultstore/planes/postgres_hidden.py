"""Restricted members under row-level security: their rows are not there for purposes that don't see them.

Which members those are stands in a table that no purpose reads, so a view asks it. It gives hashes, which a policy
compares with the hash of the row's subject: whoever reads the view itself can ask about a member whose id it knows
already, and gets no list of those who rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect

from vaultstore.orm.registry import ModelInfo
from vaultstore.orm.restricted import keeps_text
from vaultstore.planes.postgres_scopes import Condition, ScopeRefused, ScopeView
from vaultstore.planes.postgres_text import name, table
from vaultstore.records.subjects import RESTRICTED, vs_subjects

__all__ = ["both", "in_sight", "subject_columns"]

_dialect: Any = PGDialect()  # type: ignore[no-untyped-call]


def in_sight(on: sa.Table, models: Iterable[ModelInfo], prefix: str) -> Condition:
    """The condition that a row of `on`, of any of `models`, is not of a restricted member.

    A table of a subclass goes by its base's row, which has the condition itself. Raises ScopeRefused where the two
    can't be joined.
    """
    infos = [info for info in models if info.subject_key]
    made = Condition("true")
    for column, text in subject_columns(on, infos).items():
        made = both(made, _of_column(on, column, text, prefix))
    for info in infos:
        if not any(column.table is on for column in _columns(info)):
            made = both(made, Condition(_by_base(on, info)))
    return made


def subject_columns(on: sa.Table, models: Iterable[ModelInfo]) -> dict[str, bool]:
    """Name of each column of `on` that is the subject of one of `models` -> whether it keeps UUIDs as text."""
    return {
        column.name: keeps_text(info, _dialect)
        for info in models
        if info.subject_key
        for column in _columns(info)
        if column.table is on
    }


def both(one: Condition, other: Condition) -> Condition:
    """The condition that both hold."""
    if "true" in (one.sql, other.sql):
        return other if one.sql == "true" else one
    if one == other or one.sql == "false":
        return one
    views = {view.name: view for view in (*one.views, *other.views)}
    return Condition(f"({one.sql}) AND ({other.sql})", tuple(views.values()))


def _columns(info: ModelInfo) -> list[sa.Column[Any]]:
    prop: Any = info.mapper.get_property(info.subject_key)
    return [column for column in prop.columns if isinstance(column, sa.Column)]


def _of_column(on: sa.Table, column: str, text: bool, prefix: str) -> Condition:
    view = ScopeView(
        f"{prefix}scope_hidden",
        f"SELECT sha256(uuid_send(subject)) FROM {table(vs_subjects.name)} WHERE state = '{RESTRICTED}'",  # noqa: S608 - names only
        ((vs_subjects.name, ("state", "subject")),),
    )
    subject = f"{name(on.name)}.{name(column)}" + ("::uuid" if text else "")
    hashed = f"sha256(uuid_send({subject}))"
    return Condition(f"NOT EXISTS (SELECT FROM {table(view.name)} WHERE value = {hashed})", (view,))


def _by_base(on: sa.Table, info: ModelInfo) -> str:
    mapper = next((m for m in info.mapper.iterate_to_root() if m.local_table is on and m.inherits), None)
    base = None if mapper is None or mapper.inherits is None else mapper.inherits.local_table
    if mapper is None or not isinstance(base, sa.Table) or base is on:
        raise ScopeRefused(f"{info.name}'s subject does not stand in {on.name}, nor in a table that it inherits from")
    pairs = []
    for key in base.primary_key:
        own = next((c for c in mapper.get_property_by_column(key).columns if getattr(c, "table", None) is on), None)
        if own is None:
            raise ScopeRefused(f"{on.name} has no column for {base.name}.{key.name}, by which its rows would be told")
        pairs.append(f"{name(base.name)}.{name(key.name)} = {name(on.name)}.{name(own.name)}")
    return f"EXISTS (SELECT FROM {table(base.name)} WHERE {' AND '.join(pairs)})"

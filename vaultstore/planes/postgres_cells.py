"""What PostgreSQL must let a purpose do, cell by cell: read off the policy and the models, and off nothing else.

The compiler has no part in it: what it got wrong shows as a difference between its grants and these cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from vaultstore.orm.registry import ModelInfo, ModelRegistry
from vaultstore.policy import BoundPolicy, Purpose
from vaultstore.policy.rights import entry_of, touches

__all__ = ["ColumnRights", "TableRights", "functions_of_login", "functions_of_role", "rights_on_tables"]

_ALWAYS = frozenset({
    "vs_plane", "vs_context", "vs_role", "vs_actor", "vs_actor_uuid", "vs_actor_role", "vs_attribute",
    "vs_attribute_uuid",
})  # fmt: skip
"""What says who acts; it tells a login nothing that it did not set itself."""
_READ = frozenset({"vs_admit", "vs_wraps"})
_MINT = frozenset({"vs_mint", "vs_mint_indexed", "vs_index_taken"})
_WRITE = _MINT | {"vs_seal", "vs_withhold", "vs_collide"}
_REWRAP = frozenset({"vs_rewrap", "vs_rewrap_ranges", "vs_rewrap_page", "vs_rewrapped"})
_SEARCH = frozenset({"vs_search", "vs_found"})
_COUNTED = frozenset({"claim", "assign", "contact"})


@dataclass(slots=True)
class ColumnRights:
    """What a purpose may do with one column."""

    name: str
    select: bool = False
    insert: bool = False
    update: bool = False
    written: bool = True
    """Whether a statement can write it at all: a computed column takes no value."""


@dataclass(slots=True)
class TableRights:
    """What a purpose may do with one table."""

    name: str
    columns: dict[str, ColumnRights]
    delete: bool = False
    seen: set[str] = field(default_factory=set)
    """What it sees of the models in the table: their rows (``all``), those of a scope (``scope``), or none."""
    subject: str | None = None
    """The column that says whose a row is, where the table has one."""
    restricted: bool = True
    """Whether it sees rows of restricted members as it sees others."""

    @property
    def shows_rows(self) -> bool | None:
        """Whether somebody whom no scope knows sees rows of it; None where that depends on whose rows they are."""
        return None if "all" in self.seen and len(self.seen) > 1 else "all" in self.seen


def rights_on_tables(purpose: Purpose, models: ModelRegistry) -> list[TableRights]:
    """The rights of `purpose` on every mapped table; where models share one, what any of them gives."""
    tables: dict[str, TableRights] = {}
    for info in models:
        listed, written = touches(purpose, info.model), entry_of(purpose.write, info.model) is not None
        for column, rights in _columns(purpose, info, listed, written):
            table = tables.setdefault(column.table.name, TableRights(column.table.name, {}))
            known = table.columns.setdefault(column.name, rights)
            known.select |= rights.select
            known.insert |= rights.insert
            known.update |= rights.update
            table.delete |= written
            table.restricted = purpose.requires.sees_restricted
            if info.subject_key and column in info.mapper.get_property(info.subject_key).columns:
                table.subject = column.name
            scope = purpose.rows(info.name, *info.bases)
            table.seen.add("none" if not listed else "all" if scope is None else "scope")
    return sorted(tables.values(), key=lambda table: table.name)


def _columns(
    purpose: Purpose, info: ModelInfo, listed: bool, written: bool
) -> Iterator[tuple[sa.Column[object], ColumnRights]]:
    names = (info.name, *info.bases)
    reads, writes, searches = purpose.reads(*names), purpose.writes(*names), purpose.searches(*names)
    sealed: dict[str, tuple[bool, bool]] = {}
    """Attribute key of a sealed or index column -> whether it is read, and whether it is written."""
    for each in info.fields:
        sealed[each.name] = each.category in reads, each.category in writes
        for projection in each.projections:
            sealed[projection.key] = projection.category in reads, each.category in writes
        if each.plain_key is not None:
            sealed[each.plain_key] = each.category in reads, each.category in writes
        if each.index is not None:
            sealed[each.index_key] = each.name in searches, each.category in writes
    for prop in info.mapper.column_attrs:
        for column in prop.columns:
            if not isinstance(column, sa.Column):
                continue  # an expression that the mapper loads
            fixed = prop.key in info.fixed or column in info.mapper.primary_key or column.primary_key
            read, updated = sealed.get(prop.key, (listed, written and not fixed))
            writable = column.computed is None and (column.identity is None or not column.identity.always)
            yield column, ColumnRights(column.name, read, written, updated, writable)


def functions_of_role(purpose: Purpose) -> frozenset[str]:
    """The gate's functions that a purpose's role calls in the session's own transaction."""
    replacing = frozenset({"vs_rekey_scopes", "vs_rekeyed"} if purpose.replaces_keys else ())
    return _ALWAYS | replacing | (_MINT if purpose.write else frozenset())


def functions_of_login(bound: BoundPolicy, purposes: Iterable[str], keeps: Iterable[str] = ()) -> frozenset[str]:
    """The gate's functions that the login of a service with these purposes calls, which keeps these records."""
    found = {*_ALWAYS, "vs_check", "vs_standing", "vs_journal_hold", "vs_journal_done"}
    for purpose in (bound.purpose(name) for name in purposes):
        found |= _READ if purpose.read else set()
        found |= _WRITE if purpose.write else set()
        found |= _SEARCH if purpose.search else set()
        found |= {"vs_approve"} if purpose.approves else set()
        found |= {"vs_charge"} if _COUNTED & purpose.limits.keys() else set()
        desk = purpose.name == "privacy.request" or purpose.requires.subjects == "self"
        found |= {"vs_report", "vs_report_lines", "vs_report_nodes"} if desk else set()
        if purpose.requires.sees_restricted and purpose.requires.sees_canaries:
            both = any(purpose.reads(model) & purpose.writes(model) for model in purpose.read)
            found |= {"vs_reindex", "vs_index_settle"} if both else set()
        found |= {"vs_erase"} if purpose.name == "privacy.erasure" or purpose.requires.subjects == "self" else set()
        found |= {"vs_key_state", "vs_index_state"} if purpose.keeps_keys else set()
        found |= {"vs_rotate", "vs_index_rotate"} if "rotate" in purpose.keeps_keys else set()
        found |= _REWRAP if "rewrap" in purpose.keeps_keys else set()
        found |= {"vs_retire", "vs_index_finish"} if "retire" in purpose.keeps_keys else set()
    found |= {"vs_restrict"} if "states" in keeps else set()
    found |= {"vs_close_case"} if "cases" in keeps else set()
    return frozenset(found)

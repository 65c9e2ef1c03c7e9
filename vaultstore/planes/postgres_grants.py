"""Rights in PostgreSQL: columns for purposes, functions for purposes and logins, our records for who keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from vaultstore.orm.registry import ModelInfo, ModelRegistry
from vaultstore.policy import BoundPolicy, Purpose
from vaultstore.policy.model import Service
from vaultstore.policy.rights import entry_of, touches

__all__ = [
    "CONTEXT",
    "ERASURE",
    "KEPT",
    "KEPT_BY",
    "Rights",
    "erases",
    "kept_by",
    "login_functions",
    "purpose_functions",
    "rights_of",
]

CONTEXT: Final = frozenset({
    "vs_plane", "vs_context", "vs_role", "vs_actor", "vs_actor_uuid", "vs_actor_role", "vs_attribute",
    "vs_attribute_uuid",
})  # fmt: skip
"""Functions that policies call with their user's rights; they tell no more than the transaction itself set."""

_READ = frozenset({"vs_admit", "vs_wraps"})
_WRITE = frozenset({"vs_seal", "vs_mint", "vs_mint_indexed", "vs_index_taken", "vs_withhold", "vs_collide"})
_WRITTEN = frozenset({"vs_mint", "vs_mint_indexed", "vs_index_taken"})
"""Of these, what is called in the transaction of the rows, as the purpose's role."""
_REINDEX = frozenset({"vs_reindex", "vs_index_settle"})
_KEEPING: Mapping[str, frozenset[str]] = {
    "rotate": frozenset({"vs_rotate", "vs_index_rotate"}),
    "rewrap": frozenset({"vs_rewrap", "vs_rewrap_ranges", "vs_rewrap_page", "vs_rewrapped"}),
    "retire": frozenset({"vs_retire", "vs_index_finish"}),
}
_REPLACE = frozenset({"vs_rekey_scopes", "vs_rekeyed"})  # in the transaction of the rows, as the purpose's role
_SEARCH = frozenset({"vs_search", "vs_found"})
_REPORT = frozenset({"vs_report", "vs_report_lines", "vs_report_nodes"})
_JOURNAL = frozenset({"vs_standing", "vs_journal_hold", "vs_journal_done"})
"""How far the database has come, for whoever opens a store; and a journal in the login's own name, and no other's."""
ERASURE: Final = "privacy.erasure"
"""The purpose that erases others; vs_erase knows it by this name."""
_COUNTED = frozenset({"claim", "assign", "contact"})
KEPT_BY: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "cases": frozenset({"vs_close_case"}),
        "states": frozenset({"vs_restrict"}),
    }
)
"""Record that a service keeps -> functions that change it and say so in the audit log."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Rights on one table, column by column; `delete` is for whole rows."""

    select: frozenset[str] = frozenset()
    insert: frozenset[str] = frozenset()
    update: frozenset[str] = frozenset()
    delete: bool = False

    def __or__(self, other: Rights) -> Rights:
        return Rights(
            self.select | other.select,
            self.insert | other.insert,
            self.update | other.update,
            self.delete or other.delete,
        )

    def __bool__(self) -> bool:
        return bool(self.select or self.insert or self.update or self.delete)


@dataclass(slots=True)
class _Sealed:
    """Attribute keys of a model's sealed columns, and those of them that are read and written."""

    every: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


def rights_of(purpose: Purpose, models: ModelRegistry) -> Mapping[str, Rights]:
    """Rights of a purpose by table, of the tables on which it has any.

    Models that share a table share its columns: there a purpose has what any of them gives it. A row's model decides
    whether the row is seen at all, which is for the rows' policies.
    """
    found: dict[str, Rights] = {}
    for info in models:
        if touches(purpose, info.model):
            for table, rights in _of_model(purpose, info):
                found[table] = found.get(table, Rights()) | rights
    return found


def _of_model(purpose: Purpose, info: ModelInfo) -> Iterable[tuple[str, Rights]]:
    writes = entry_of(purpose.write, info.model) is not None
    sealed = _sealed(purpose, info)
    for prop in info.mapper.column_attrs:
        for column in prop.columns:
            if not isinstance(column, sa.Column):
                continue  # an expression that the mapper computes
            clear = prop.key not in sealed.every
            # A row keeps its identity, its subject and its scope: every AAD is bound to them.
            fixed = prop.key in info.fixed or column.primary_key or column in info.mapper.primary_key
            name = frozenset({column.name})
            yield (
                column.table.name,
                Rights(
                    select=name if clear or prop.key in sealed.read else frozenset(),
                    insert=name if writes else frozenset(),
                    update=name if writes and (not fixed if clear else prop.key in sealed.written) else frozenset(),
                    delete=writes,
                ),
            )


def _sealed(purpose: Purpose, info: ModelInfo) -> _Sealed:
    lineage = (info.name, *info.bases)
    reads, writes, searches = purpose.reads(*lineage), purpose.writes(*lineage), purpose.searches(*lineage)
    found = _Sealed()
    for each in info.fields:
        keys = {each.name: each.category, **{p.key: p.category for p in each.projections}}
        found.every |= keys.keys()
        found.read |= {key for key, category in keys.items() if category in reads}
        if each.plain_key is not None:  # the plaintext that it replaces is its category's, as the sealed value is
            keys[each.plain_key] = each.category
            found.every.add(each.plain_key)
            found.read |= {each.plain_key} if each.category in reads else set()
        if each.index is not None:
            keys[each.index_key] = each.category
            found.every.add(each.index_key)
            found.read |= {each.index_key} if each.name in searches else set()
        found.written |= keys.keys() if each.category in writes else set()
    return found


def purpose_functions(purpose: Purpose) -> frozenset[str]:
    """Functions that a purpose's role calls: data keys are minted in the transaction of the rows that they seal."""
    found = CONTEXT | _WRITTEN if purpose.write else CONTEXT
    return found | _REPLACE if purpose.replaces_keys else found


def key_functions(purpose: Purpose) -> frozenset[str]:
    """Functions that the upkeep of keys takes."""
    return frozenset({"vs_key_state", "vs_index_state"} if purpose.keeps_keys else ()).union(
        *(_KEEPING[verb] for verb in purpose.keeps_keys)
    )


def reindexes(purpose: Purpose) -> bool:
    """Whether it may make digests of stored values anew: it reads and writes, and sees every row."""
    whole = purpose.requires.sees_restricted and purpose.requires.sees_canaries
    return whole and any(purpose.writes(model) & purpose.reads(model) for model in purpose.write)


def reports(purpose: Purpose) -> bool:
    """Whether it has reports made: a member's own, or others' at the desk; vs_report knows that one by its name."""
    return purpose.name == "privacy.request" or purpose.requires.subjects == "self"


def erases(purpose: Purpose) -> bool:
    """Whether it erases: others' data at their request, or the actor's own."""
    return purpose.name == ERASURE or purpose.requires.subjects == "self"


def login_functions(bound: BoundPolicy, service: Service) -> frozenset[str]:
    """Functions that the login of a service calls: what the verbs of its purposes take."""
    found = {*CONTEXT, "vs_check", *_JOURNAL}
    for purpose in map(bound.purpose, service.purposes):
        found |= _READ if purpose.read else frozenset()
        found |= _WRITE if purpose.write else frozenset()
        found |= _SEARCH if purpose.search else frozenset()
        found |= {"vs_approve"} if purpose.approves else frozenset()
        found |= key_functions(purpose)
        found |= _REPORT if reports(purpose) else frozenset()
        found |= _REINDEX if reindexes(purpose) else frozenset()
        found |= {"vs_erase"} if erases(purpose) else frozenset()
        found |= {"vs_charge"} if _COUNTED & purpose.limits.keys() else frozenset()
    return frozenset(found).union(*(KEPT_BY.get(record, ()) for record in service.keeps))


def _kept(select: str = "", insert: str = "", update: str = "", delete: bool = False) -> Rights:
    return Rights(frozenset(select.split()), frozenset(insert.split()), frozenset(update.split()), delete)


_SUBJECT = "subject state created_at changed_at"
# Locking a subject takes UPDATE on one of its columns; this one decides nothing.
_HELD = _kept("subject state", _SUBJECT, "changed_at")

_JOB = "id kind about open started_at finished_at"
_RANGE = "job number after until rows at step done failed finished holder held_at"
_PROJECTION = "model field projection fingerprint left_out recorded_at"

KEPT: Final[Mapping[str, Mapping[str, Rights]]] = MappingProxyType({
    "approvals": {
        "vs_requests": _kept(insert="id case_id purpose subjects requested_by requested_at expires_at"),
    },
    # To plant canaries takes no look at those that are there: who could list them could leave them out of a leak.
    "canaries": {"vs_canaries": _kept(insert="subject actor store planted_at")},
    "cases": {
        "vs_cases": _kept(
            "id kind assigned_to opened_at closed_at note", "id kind assigned_to opened_at closed_at note"
        ),
        "vs_case_subjects": _kept("case_id subject", "case_id subject"),
        "vs_case_scopes": _kept("case_id subject scope", "case_id subject scope"),
    },
    "consents": {
        "vs_subjects": _HELD,
        "vs_consents": _kept(
            "id subject kind notice_version granted_at withdrawn_at evidence",
            "subject kind notice_version granted_at withdrawn_at evidence",
            "withdrawn_at",
        ),
    },
    "jobs": {
        "vs_jobs": _kept(_JOB, "id kind about open started_at", "open finished_at"),
        "vs_job_ranges": _kept(_RANGE, _RANGE, "at step done failed finished holder held_at"),
        "vs_job_failures": _kept("job key reason", "job key reason failed_at"),
        "vs_projections": _kept(_PROJECTION, _PROJECTION, "fingerprint left_out recorded_at"),
    },
    "revocations": {"vs_revocations": _kept("id", "jti actor before revoked_at reason")},
    "states": {
        "vs_subjects": _HELD | _kept("created_at changed_at reason"),
        "vs_states": _kept("id subject state changed_at reason entry"),
    },
})  # fmt: skip
"""Record that a service keeps -> rights on our tables, no more than its facade in vaultstore.lifecycle uses."""


def kept_by(service: Service) -> Mapping[str, Rights]:
    """Rights of a service's login on our tables."""
    found: dict[str, Rights] = {}
    for record in service.keeps:
        for table, rights in KEPT[record].items():
            found[table] = found.get(table, Rights()) | rights
    return found

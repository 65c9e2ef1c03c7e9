"""The compiled closure of a purpose: all that its enforcement rests on, as plain JSON data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vaultstore.catalogue import Catalogue, Field, Index, Model
from vaultstore.policy.model import Category, Limit, Never, Purpose
from vaultstore.policy.rights import consents_of, entry_of

__all__ = ["VERSION", "closure_of", "seals_of"]

VERSION = 1


def closure_of(
    purpose: Purpose, never: Iterable[Never], catalogue: Catalogue, kinds: Mapping[str, Category] | None = None
) -> dict[str, Any]:
    """Rights, requirements, limits and the fields they rest on, expanded over every model.

    `kinds` are the policy's categories: which of them take a consent of their own.

    The order of everything in it is fixed, so that equal rules give equal bytes wherever they stand in the files.
    Descriptions, labels and reasons are not in it: rewording them changes nothing that is enforced.
    """
    read = {m.name: sorted(purpose.reads(m.name, *m.bases)) for m in catalogue if entry_of(purpose.read, m)}
    rows = {m.name: purpose.rows(m.name, *m.bases) for m in catalogue}
    search = {m.name: sorted(purpose.searches(m.name, *m.bases)) for m in catalogue if entry_of(purpose.search, m)}
    write = {m.name: sorted(purpose.writes(m.name, *m.bases)) for m in catalogue if entry_of(purpose.write, m)}
    seals = {m.name: sorted(seals_of(m, write[m.name])) for m in catalogue if m.name in write}
    searched = {f.category for m in catalogue for f in m.fields if f.name in search.get(m.name, ())}
    categories = searched.union(*read.values(), *seals.values())
    return {
        "version": VERSION,
        "purpose": purpose.name,
        "roles": sorted(purpose.roles),
        "read": read,
        "rows": {name: scope for name, scope in rows.items() if scope is not None},
        "search": search,
        "write": write,
        "seals": seals,
        "approves": sorted(purpose.approves),
        # Named only where it is there, so that the digests of all other purposes are what they always were.
        **({"keeps_keys": sorted(purpose.keeps_keys)} if purpose.keeps_keys else {}),
        **({"replaces_keys": True} if purpose.replaces_keys else {}),
        "requires": {
            "consent": purpose.requires.consent,
            "case": purpose.requires.case,
            "approvals": purpose.requires.approvals,
            "subjects": purpose.requires.subjects,
            "sees_restricted": purpose.requires.sees_restricted,
            "sees_canaries": purpose.requires.sees_canaries,
            # Named only where there are any, so that the digests of all other purposes are what they always were.
            **({"consents": consents} if (consents := consents_of(purpose, kinds or {})) else {}),
        },
        "limits": {verb: _limits(limits) for verb, limits in sorted(purpose.limits.items())},
        "timezone": purpose.timezone,
        "batch": purpose.batch,
        "ttl": int(purpose.ttl.total_seconds()),
        "report_after": int(purpose.report_after.total_seconds()),
        # Over all models: a data key of a category opens that category's fields wherever they stand.
        "fields": {category: _fields(category, catalogue) for category in sorted(categories)},
        "never": _never(purpose, never),
    }


def seals_of(model: Model, sources: Iterable[str]) -> frozenset[str]:
    """The categories that a writer of `sources` seals under: these, and the projections of their fields."""
    written = frozenset(sources)
    return written.union(*(f.categories for f in model.fields if f.category in written))


def _limits(limits: Iterable[Limit]) -> list[dict[str, Any]]:
    ordered = sorted(limits, key=lambda limit: (limit.by, limit.per))
    return [{"max": limit.max, "per": limit.per, "by": limit.by} for limit in ordered]


def _fields(category: str, catalogue: Catalogue) -> list[dict[str, Any]]:
    found = []
    for model in sorted(catalogue, key=lambda m: m.name):
        for field in sorted(model.fields, key=lambda f: f.name):
            if field.category == category:
                found.append(_line(model, field, field.context, mask=None, index=field.index))
            if (projection := field.projection(category)) is not None:
                found.append(_line(model, field, projection.context, mask=projection.mask, index=None))
    return found


def _line(model: Model, field: Field, context: str, *, mask: str | None, index: Index | None) -> dict[str, Any]:
    of_index = index and {"name": index.name, "normalizer": index.normalizer, "unique": index.unique}
    return {
        "model": model.name,
        "field": field.name,
        "context": context,
        "type": field.type,
        "mask": mask,
        "index": of_index,
    }


def _never(purpose: Purpose, never: Iterable[Never]) -> list[dict[str, Any]]:
    concerned = [
        {
            "roles": sorted(rule.roles & purpose.roles),
            "categories": sorted(rule.categories),
            "except": {field: sorted(allowed) for field, allowed in sorted(rule.exceptions.items())},
        }
        for rule in never
        if rule.roles & purpose.roles
    ]
    return sorted(concerned, key=lambda rule: (rule["roles"], rule["categories"], sorted(rule["except"].items())))

"""A random policy over generated models, as the data of its YAML file. It always fits: errors have tests elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.support.generated import CARDS, SOURCES, Choices, FieldSpec, ModelSpec

__all__ = ["LOADER", "ROLES", "SCOPES", "policy", "reached"]

ROLES = ("seller", "carer", "analyst")
LOADER = "stock.load"
"""The purpose that may write everything and read nothing; its role is `loader`, its service `stock`."""
SCOPES = ("same_store", "own_rows", "held", "held_open")
"""Row scopes: a column equals an attribute, a column is the actor's UUID, or a plain model lists the row."""
_PURPOSES = ("sales.pool", "care", "safety.triage", "jobs.nightly_run")


def policy(choose: Choices, models: Sequence[ModelSpec]) -> dict[str, Any]:
    """A policy of two to five purposes, one of them LOADER, and maybe rules of `never` that hold."""
    scopes = [s for s in SCOPES if any(m.plain for m in models) or not s.startswith("held")]
    purposes: dict[str, Any] = {
        LOADER: {"roles": ["loader"], "write": {m.name: _sources(models, m) for m in models}, "ttl": "1h"}
    }
    for name in choose.some(_PURPOSES, least=1):
        purposes[name] = _purpose(choose, models, scopes)
    data: dict[str, Any] = {
        "version": 1,
        "roles": dict.fromkeys((*ROLES, "loader"), "somebody"),
        "categories": {
            **{name: {"sensitive": True} for name in SOURCES},
            **{name: {"projection": True} for name in CARDS},
        },
        "purposes": purposes,
    }
    never = [rule for _ in range(choose.number(0, 2)) if (rule := _never(choose, models, purposes))]
    if never:
        data["never"] = never
    data["services"] = _services(choose, list(purposes))
    return data


def _fields(models: Sequence[ModelSpec], model: ModelSpec) -> list[FieldSpec]:
    base = next((m for m in models if m.name == model.base), None)
    return [*(_fields(models, base) if base else ()), *model.fields]


def _sources(models: Sequence[ModelSpec], model: ModelSpec) -> list[str]:
    return sorted({f.category for f in _fields(models, model)})


def _purpose(choose: Choices, models: Sequence[ModelSpec], scopes: Sequence[str]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for model in choose.some(models):
        fields = _fields(models, model)
        categories = sorted({c for f in fields for c in (f.category, *(p for p, _ in f.projections))})
        read[model.name] = {"categories": choose.some(categories)}
        if not model.base and scopes and choose.flag():
            read[model.name]["rows"] = choose.one(scopes)
    _keep_one_mask(read, models)
    search = {}
    for model in choose.some(models):
        indexed = [f.name for f in _fields(models, model) if f.index]
        if found := choose.some(indexed):
            search[model.name] = found
    write = {model.name: choose.some(_sources(models, model)) for model in choose.some(models)}
    made: dict[str, Any] = {"roles": choose.some(ROLES, least=1), "read": read, "search": search, "write": write}
    return {**made, "batch": choose.one((50, 1, 3)), "ttl": choose.one(("15m", "1h"))}


def _keep_one_mask(read: dict[str, Any], models: Sequence[ModelSpec]) -> None:
    """Take projections away until no field is read through two of them without its source."""
    for model in models:
        listed = next((name for name in (model.name, model.base) if name in read), None)
        for field in _fields(models, model) if listed else ():
            granted = read[listed]["categories"]
            masks = [card for card, _ in field.projections if card in granted]
            if field.category not in granted and len(masks) > 1:
                read[listed]["categories"] = [c for c in granted if c not in masks[1:]]


def reached(
    purpose: Mapping[str, Any], models: Iterable[ModelSpec], every: Sequence[ModelSpec]
) -> set[tuple[str, str, str, str]]:
    """What a purpose reads or searches, as (model that declares the field, field, source category, form).

    A form is ``clear``, ``search`` or a projection's category.
    """
    found = set()
    for model in models:
        names = [n for n in (model.name, model.base) if n]
        granted = next((purpose["read"][n]["categories"] for n in names if n in purpose.get("read", {})), [])
        searched = next((purpose["search"][n] for n in names if n in purpose.get("search", {})), [])
        for field in _fields(every, model):
            owner = next(m.name for m in every if field in m.fields)
            forms = ["clear"] if field.category in granted else []
            forms += ["search"] if field.name in searched else []
            forms += [card for card, _ in field.projections if card in granted]
            found |= {(owner, field.name, field.category, form) for form in forms}
    return found


def _never(choose: Choices, models: Sequence[ModelSpec], purposes: Mapping[str, Any]) -> dict[str, Any] | None:
    """A rule that no purpose breaks: it bars some roles what they do not reach, and excepts the masks that they do."""
    roles = choose.some(ROLES, least=1)
    seen = set[tuple[str, str, str, str]]()
    for purpose in purposes.values():
        if set(purpose["roles"]) & set(roles):
            seen |= reached(purpose, models, models)
    open_to_them = {category for _, _, category, form in seen if form in ("clear", "search")}
    barred = choose.some([c for c in SOURCES if c not in open_to_them], least=1)
    if not barred:
        return None
    allowed: dict[str, list[str]] = {}
    for owner, field, category, form in sorted(seen):
        if category in barred and form in CARDS:
            allowed.setdefault(f"{owner}.{field}", []).append(form)
    rule: dict[str, Any] = {"roles": roles, "categories": barred, "because": "it was promised"}
    return {**rule, "except": allowed} if allowed else rule


def _services(choose: Choices, purposes: Sequence[str]) -> dict[str, Any]:
    """Each purpose in one service or two, LOADER in one of its own."""
    others = [name for name in purposes if name != LOADER]
    split = choose.number(0, len(others))
    desks = {"desk": others[:split], "back": others[split:]}
    if others and choose.flag(3):
        desks["back"] = sorted({*desks["back"], others[0]})
    services = {"stock": {"purposes": [LOADER], "keeps": ["consents", "states"]}}
    return {**services, **{name: {"purposes": served} for name, served in desks.items() if served}}

"""The section of a policy file that defines a purpose."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from vaultstore.policy.document import Node, Scalar, Table
from vaultstore.policy.fields import (
    MODEL,
    NAME,
    choice,
    duration,
    entry,
    flag,
    items,
    number,
    table,
    text,
    words,
)
from vaultstore.policy.model import KEY_VERBS, Limit, ModelRead, Purpose, Requirements
from vaultstore.policy.sections import Known, roles_of
from vaultstore.policy.words import BASES, LABELS, hint, shown

__all__ = ["KEYS", "read_purpose"]

KEYS = (
    "description",
    "label",
    "dpv",
    "basis",
    "roles",
    "read",
    "search",
    "write",
    "approves",
    "keeps_keys",
    "replaces_keys",
    "requires",
    "limits",
    "batch",
    "ttl",
    "report_after",
)
"""What may stand under a purpose."""
_HOLDERS = {
    "disclose": ("actor", "purpose"),
    "search": ("actor", "purpose"),
    "contact": ("actor", "subject", "purpose"),
    "claim": ("actor", "purpose"),
    "assign": ("actor", "purpose"),
}
_MAX_LIMIT = 10**9
_REQUIREMENTS = ("consent", "case", "approvals", "subjects", "sees_restricted", "sees_canaries")
_MAX_APPROVALS = 9
_MAX_BATCH = 1000
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)


def read_purpose(name: str, node: Table, known: Known) -> Purpose:
    """``NAME: {description, label, basis, roles, read, search, write, ...}``."""
    what, path = f"purpose {name}", ("purposes", name)
    entries = table(node, what, KEYS).entries
    for key, found in entries.items():
        known.places[*path, key] = found.place
    given = {key: found.node for key, found in entries.items()}
    return Purpose(
        name,
        description=text(given["description"], f"{what}, description") if "description" in given else "",
        label=choice(given["label"], f"{what}, label", LABELS) if "label" in given else "",
        basis=choice(given["basis"], f"{what}, basis", BASES) if "basis" in given else "",
        dpv=_iri(given["dpv"], f"{what}, dpv") if "dpv" in given else None,
        roles=frozenset(role for role, _ in roles_of(entry(node, "roles", what), what, known)),
        read=_read(given["read"], what, path, known) if "read" in given else MappingProxyType({}),
        search=_search(given["search"], what, path, known) if "search" in given else MappingProxyType({}),
        write=_write(given["write"], what, path, known) if "write" in given else MappingProxyType({}),
        approves=frozenset(
            known.purpose(word, place, f"{what}, approves")
            for word, place in (words(given["approves"], f"{what}, approves") if "approves" in given else ())
        ),
        keeps_keys=_key_verbs(given["keeps_keys"], f"{what}, keeps_keys") if "keeps_keys" in given else frozenset(),
        replaces_keys="replaces_keys" in given and _replaces(given, f"{what}, replaces_keys"),
        requires=_requires(given["requires"], f"{what}, requires") if "requires" in given else Requirements(),
        limits=_limits(given["limits"], what, path, known) if "limits" in given else MappingProxyType({}),
        batch=number(given["batch"], f"{what}, batch", 1, _MAX_BATCH) if "batch" in given else 50,
        ttl=duration(given["ttl"], f"{what}, ttl", _SECOND, _DAY) if "ttl" in given else timedelta(minutes=15),
        report_after=(
            duration(given["report_after"], f"{what}, report_after", timedelta(0), 3650 * _DAY)
            if "report_after" in given
            else timedelta(0)
        ),
        timezone=known.timezone,
    )


def _key_verbs(node: Node, what: str) -> frozenset[str]:
    found = set()
    for word, place in words(node, what):
        if word not in KEY_VERBS:
            raise place.error(f"{what}: {shown(word)} is not a verb of key upkeep{hint(word, KEY_VERBS)}")
        found.add(word)
    return frozenset(found)


def _replaces(given: Mapping[str, Node], what: str) -> bool:
    """Data keys are destroyed with that, so no token may have a free hand: it has to name the subjects."""
    node = given["replaces_keys"]
    replaces = flag(node, what)
    if replaces and ("requires" not in given or _requires(given["requires"], what).subjects is None):
        raise node.place.error(f"{what}: the purpose has to require subjects: named")
    return replaces


def _iri(node: Node, what: str) -> str:
    value = text(node, what)
    if not value.startswith(("https://", "http://")) or " " in value:
        raise node.place.error(f"{what}: expected an IRI such as https://w3id.org/dpv#CustomerCare")
    return value


def _models(node: Node, what: str, path: tuple[str, ...], known: Known) -> Mapping[str, Node]:
    found = table(node, what)
    for model, item in found.entries.items():
        known.places[*path, MODEL.check(model, item.place, what)] = item.place
    return {model: item.node for model, item in found.entries.items()}


def _read(node: Node, what: str, path: tuple[str, ...], known: Known) -> Mapping[str, ModelRead]:
    result = {}
    for model, body in _models(node, f"{what}, read", (*path, "read"), known).items():
        here, at = f"{what}, read {model}", (*path, "read", model)
        entries = table(body, here, ("categories", "rows")).entries
        categories = set()
        # An empty list is a statement here: the clear columns of the rows, and nothing else.
        found = entry(table(body, here), "categories", here)
        for word, place in words(found.node, f"{here}, categories", may_be_empty=True):
            categories.add(known.category(word, place, here).name)
            known.places[*at, "category", word] = place
        rows = None
        if "rows" in entries:
            rows = MODEL.check(text(entries["rows"].node, f"{here}, rows"), entries["rows"].node.place, f"{here}, rows")
            known.places[*at, "rows"] = entries["rows"].node.place
        result[model] = ModelRead(frozenset(categories), rows)
    return MappingProxyType(result)


def _search(node: Node, what: str, path: tuple[str, ...], known: Known) -> Mapping[str, frozenset[str]]:
    result = {}
    for model, body in _models(node, f"{what}, search", (*path, "search"), known).items():
        here, found = f"{what}, search {model}", set()
        for word, place in words(body, here):
            found.add(MODEL.check(word, place, here))
            known.places[*path, "search", model, word] = place
        result[model] = frozenset(found)
    return MappingProxyType(result)


def _write(node: Node, what: str, path: tuple[str, ...], known: Known) -> Mapping[str, frozenset[str]]:
    result = {}
    for model, body in _models(node, f"{what}, write", (*path, "write"), known).items():
        here, found = f"{what}, write {model}", set()
        for word, place in words(body, here, may_be_empty=True):  # an empty list: rows and their clear columns
            if known.category(word, place, here).projection:
                raise place.error(f"{here}: {word} is a projection; it is written along with its source category")
            found.add(word)
            known.places[*path, "write", model, word] = place
        result[model] = frozenset(found)
    return MappingProxyType(result)


def _requires(node: Node, what: str) -> Requirements:
    given = table(node, what, _REQUIREMENTS).entries
    consent = None
    if "consent" in given:
        consent = text(given["consent"].node, f"{what}, consent")
        NAME.check(consent, given["consent"].node.place, f"{what}, consent")
    return Requirements(
        consent=consent,
        case="case" in given and flag(given["case"].node, f"{what}, case"),
        approvals=number(given["approvals"].node, f"{what}, approvals", 0, _MAX_APPROVALS)
        if "approvals" in given
        else 0,
        subjects=choice(given["subjects"].node, f"{what}, subjects", ("named", "self"))
        if "subjects" in given
        else None,
        sees_restricted="sees_restricted" in given and flag(given["sees_restricted"].node, f"{what}, sees_restricted"),
        sees_canaries="sees_canaries" in given and flag(given["sees_canaries"].node, f"{what}, sees_canaries"),
    )


def _limits(node: Node, what: str, path: tuple[str, ...], known: Known) -> Mapping[str, tuple[Limit, ...]]:
    result = {}
    for verb, found in table(node, f"{what}, limits", tuple(_HOLDERS)).entries.items():
        here = f"{what}, limits {verb}"
        known.places[*path, "limits", verb] = found.place
        limits: dict[tuple[str, str], Limit] = {}
        for item in items(found.node, here):
            limit = _limit(item, here, _HOLDERS[verb])
            if (limit.per, limit.by) in limits:
                raise item.place.error(f"{here}: a second limit per {limit.per} by {limit.by}")
            limits[limit.per, limit.by] = limit
        result[verb] = tuple(limits.values())
    return MappingProxyType(result)


def _limit(node: Node, what: str, holders: tuple[str, ...]) -> Limit:
    found = table(node, what, ("max", "per", "by"))
    per = entry(found, "per", what).node
    return Limit(
        max=number(entry(found, "max", what).node, f"{what}, max", 1, _MAX_LIMIT),
        per=_window(per, f"{what}, per"),
        by=choice(entry(found, "by", what).node, f"{what}, by", holders),
    )


def _window(node: Node, what: str) -> str:
    if isinstance(node, Scalar) and node.value == "day":
        return "day"
    duration(node, what, _SECOND, 366 * _DAY, says="day, or a time such as 1h or 30d")
    return text(node, what)

"""A catalogue from a lock: the fields of a policy's past, whose models are no longer there to be asked."""

from __future__ import annotations

from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection
from vaultstore.errors import PolicyError
from vaultstore.policy.lock import Lock
from vaultstore.policy.rules import Rules

__all__ = ["catalogue_in"]

_UNIQUE = " unique"


def catalogue_in(lock: Lock, rules: Rules, models: Catalogue | None = None) -> Catalogue:
    """The models that `lock` speaks of, and those without encrypted fields that `rules` list.

    A lock holds neither inheritance nor row scopes: the first comes from `models`, where they are given; of the second
    all that `rules` name are taken to be there. Raises PolicyError for a line that no lock has.
    """
    fields: dict[str, list[Field]] = {}
    for place, lines in lock.fields.items():
        model, dot, name = place.partition(".")
        if not (model and dot and name):
            raise _error(lock, place, "is not Model.field")
        fields.setdefault(model, []).append(_field(lock, place, name, lines))
    listed = {name for p in rules.purposes.values() for section in (p.read, p.search, p.write) for name in section}
    named = [*(m for m in (models or ()) if m.name in fields or m.name in listed)]
    order = dict.fromkeys([*(m.name for m in named), *fields, *sorted(listed)])
    bases = {m.name: tuple(base for base in m.bases if base in order) for m in named}
    scopes = {entry.rows for p in rules.purposes.values() for entry in p.read.values() if entry.rows is not None}
    return Catalogue(
        {name: Model(name, name, tuple(fields.get(name, ())), bases.get(name, ())) for name in order},
        frozenset(scopes),
    )


def _field(lock: Lock, place: str, name: str, lines: tuple[str, ...]) -> Field:
    said: dict[str, str] = {}
    masks = []
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "mask":
            category, _, fingerprint = rest.partition(" ")
            masks.append(Projection(category, fingerprint, f"{place}_{category}"))
        elif kind in ("category", "type", "index") and kind not in said:
            said[kind] = rest
        else:
            raise _error(lock, place, f"has a line that no lock has: {kind!r}")
    if not said.get("category"):
        raise _error(lock, place, "has no category")
    index = None
    if "index" in said:
        index = Index(place, said["index"].removesuffix(_UNIQUE), said["index"].endswith(_UNIQUE))
    return Field(name, said["category"], place, said.get("type", ""), index, tuple(masks))


def _error(lock: Lock, place: str, reason: str) -> PolicyError:
    return PolicyError(f"{place} {reason}", file=lock.path, line=lock.lines.get(place), column=1)

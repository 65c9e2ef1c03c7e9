"""A purpose's compiled closure as the gate decides by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from vaultstore.policy.model import Limit

__all__ = ["Closure", "parse_closure", "window_start"]

_Rights = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Closure:
    """What one version of one purpose lets its holders do, by exact names of models."""

    roles: frozenset[str]
    read: _Rights
    search: _Rights
    write: _Rights
    seals: _Rights
    approves: frozenset[str]
    keeps_keys: frozenset[str]
    replaces_keys: bool
    consent: str | None
    consents: Mapping[str, str]
    """Category -> the kind of consent that opening or writing it takes besides."""
    case: bool
    approvals: int
    named: bool
    """The token must name its subjects."""
    sees_restricted: bool
    sees_canaries: bool
    limits: Mapping[str, tuple[Limit, ...]]
    timezone: ZoneInfo
    sources: Mapping[tuple[str, str], str]
    """(model, field) -> its source category."""
    indexes: Mapping[tuple[str, str], str]
    """(model, index name) -> source category of the indexed field."""

    def kinds(self, categories: Iterable[str]) -> tuple[str, ...]:
        """The kinds of consent that a request for these categories takes."""
        own = [self.consent] if self.consent is not None else []
        return tuple(dict.fromkeys([*own, *(self.consents[c] for c in sorted(categories) if c in self.consents)]))

    def may_read(self, model: str, categories: Collection[str]) -> bool:
        """Whether every one of `categories` of `model` is granted, in clear or as a projection."""
        return bool(categories) and self.read.get(model, frozenset()).issuperset(categories)

    def may_seal(
        self, model: str, sources: Collection[str], categories: Collection[str], indexes: Collection[str]
    ) -> bool:
        """Whether the source categories may be written, and the keys and digests asked for belong to such writes."""
        writes = self.write.get(model, frozenset())
        return (
            bool(sources)
            and writes.issuperset(sources)
            and self.seals.get(model, frozenset()).issuperset(categories)
            and all(self.indexes.get((model, index)) in writes for index in indexes)
        )

    def may_search(self, model: str, field: str) -> bool:
        """Whether the field may be searched by equality."""
        return field in self.search.get(model, frozenset())

    def may_collide(self, model: str, field: str) -> bool:
        """Whether the field may be written: only then can a write of it have met a taken value."""
        return self.sources.get((model, field)) in self.write.get(model, frozenset())


def parse_closure(text: str, digest: str) -> Closure | None:
    """Read a published closure; None where it is not the one that its digest, which the token signs, names."""
    if "sha256:" + hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    content = json.loads(text)
    requires = content["requires"]
    sources: dict[tuple[str, str], str] = {}
    indexes: dict[tuple[str, str], str] = {}
    for category, places in content["fields"].items():
        for place in places:
            if place["mask"] is None:
                sources[place["model"], place["field"]] = category
                if place["index"] is not None:
                    indexes[place["model"], place["index"]["name"]] = category
    return Closure(
        roles=frozenset(content["roles"]),
        read=_rights(content["read"]),
        search=_rights(content["search"]),
        write=_rights(content["write"]),
        seals=_rights(content["seals"]),
        approves=frozenset(content["approves"]),
        keeps_keys=frozenset(content.get("keeps_keys", ())),
        replaces_keys=bool(content.get("replaces_keys", False)),
        consent=requires["consent"],
        consents=requires.get("consents", {}),
        case=requires["case"],
        approvals=requires["approvals"],
        named=requires["subjects"] is not None,
        sees_restricted=requires["sees_restricted"],
        sees_canaries=requires["sees_canaries"],
        limits={verb: tuple(Limit(**limit) for limit in limits) for verb, limits in content["limits"].items()},
        timezone=ZoneInfo(content["timezone"]),
        sources=sources,
        indexes=indexes,
    )


def window_start(limit: Limit, now: datetime, timezone: ZoneInfo) -> tuple[datetime, bool]:
    """Since when charges count, and whether one at exactly that time does: a day includes its midnight."""
    if limit.window is not None:
        return now - limit.window, False
    local = now.astimezone(timezone)
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC), True


def _rights(content: Mapping[str, list[str]]) -> _Rights:
    return {model: frozenset(names) for model, names in content.items()}

"""What an inspector needs to know of one store: who worked there, what they read, and where to look first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vaultstore.evidence.anomalies import Anomalies, Departure
from vaultstore.evidence.anomalies_tally import Day, Tally, Who
from vaultstore.policy import Purpose

__all__ = ["Inspection", "Limited", "Staff", "inspect_store"]


@dataclass(frozen=True, slots=True)
class Limited:
    """A daily limit of a purpose, and how near somebody came to it."""

    purpose: str
    verb: str
    most: int
    used: int
    """On their busiest day, under all purposes."""


@dataclass(frozen=True, slots=True)
class Staff:
    """Somebody who acted for the store."""

    who: Who
    days: tuple[Day, ...]
    refusals: Counter[str]
    cases: Counter[str]
    purposes: Counter[str]
    limits: tuple[Limited, ...]

    @property
    def reads(self) -> int:
        """Members that were disclosed to them."""
        return sum(day.reads for day in self.days)


@dataclass(frozen=True, slots=True)
class Inspection:
    """One store in the time that was looked at. Counts only: no member is named."""

    store: str
    first: datetime | None
    last: datetime | None
    staff: tuple[Staff, ...]
    """Who read most first."""
    departures: tuple[Departure, ...]
    anomalies: Anomalies = field(repr=False)
    timezone: str = "UTC"

    @property
    def by_day(self) -> Mapping[str, int]:
        """Day -> members that were disclosed."""
        total: Counter[str] = Counter()
        for one in self.staff:
            total.update({day.day: day.reads for day in one.days})
        return dict(sorted(total.items()))

    @property
    def look_first(self) -> tuple[str, ...]:
        """What to look at first: sentences with an actor's id in them as ``{id}``."""
        said = [
            f"{{{d.who.id}}}: {d.findings[0].did} (usual: {d.findings[0].usual})" for d in self.departures[:5]
        ]  # fmt: skip
        for one in self.staff:
            for limit in one.limits:
                if limit.used >= limit.most:
                    allowed = f"{limit.purpose} allows {limit.most:,}"
                    said.append(f"{{{one.who.id}}}: read {limit.used:,} members on one day; {allowed}")
            if one.refusals and sum(one.refusals.values()) > max(20, one.reads // 4):
                said.append(f"{{{one.who.id}}}: {sum(one.refusals.values()):,} refusals to {one.reads:,} members read")
        return tuple(dict.fromkeys(said))


def inspect_store(
    tally: Tally, anomalies: Anomalies, store: str, purposes: Mapping[str, Purpose], timezone: str = "UTC"
) -> Inspection:
    """What the counts say of `store`. The anomalies are of all stores: peers are elsewhere too."""
    staff = []
    for who in tally.actors():
        if who.store != store:
            continue
        days, used = tuple(tally.days(who.id)), tally.told(who.id, "purpose")
        staff.append(
            Staff(
                who,
                days,
                tally.told(who.id, "refusal"),
                tally.told(who.id, "case"),
                used,
                _limits(used, days, purposes),
            )
        )
    staff.sort(key=lambda one: (-one.reads, one.who.actor))
    departures = tuple(d for d in anomalies.departures if d.who.store == store)
    return Inspection(store, tally.first, tally.last, tuple(staff), departures, anomalies, timezone)


def _limits(used: Counter[str], days: tuple[Day, ...], purposes: Mapping[str, Purpose]) -> tuple[Limited, ...]:
    busiest = max((day.reads for day in days), default=0)
    return tuple(
        Limited(name, verb, limit.max, busiest)
        for name in sorted(used)
        if name in purposes
        for verb, limits in sorted(purposes[name].limits.items())
        for limit in limits
        if verb == "disclose" and limit.per == "day" and limit.by == "actor"
    )

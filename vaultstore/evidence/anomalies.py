"""Actors whose reading departs from their peers': who, in what, by how much, on which days.

Peers hold the same role in stores of about the same size. What is usual is their median, and how far from it is usual
their median absolute deviation, so that a few odd ones don't shift it. A departure is a reason to look, not a verdict.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from math import exp, log
from statistics import median

from vaultstore.evidence.anomalies_tally import Day, Tally, Who

__all__ = ["Anomalies", "Departure", "Finding", "Followed", "StoresOf", "find_anomalies"]

StoresOf = Callable[[Collection[bytes]], Mapping[bytes, str]]
"""Members -> the store of each, of those that are known."""

Followed = Callable[[str, Collection[bytes]], Collection[bytes]]
"""(actor, members) -> those of them that the actor has a lead of, or has contacted."""

_FEW = 5
"""With fewer actors than this there is no telling what is usual."""
_FAR = 4.5
_CAP = 25.0
_SMALL, _MEDIUM = 5, 15
_DAYS = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which somebody departs from their peers."""

    kind: str
    """``volume``, ``hours``, ``breadth``, ``not followed up``, ``burst``, ``regular``, ``refusals``, ``searches``."""
    score: float
    """How many of the peers' usual deviations from what is usual, at most 25."""
    usual: str
    did: str
    days: tuple[str, ...] = ()
    """The days that show it most, at most ten."""


@dataclass(frozen=True, slots=True)
class Departure:
    """Somebody who departs from their peers."""

    who: Who
    peers: str
    findings: tuple[Finding, ...]

    @property
    def score(self) -> float:
        """What departures are ranked by."""
        return sum(finding.score for finding in self.findings)


@dataclass(slots=True)
class Anomalies:
    """What was found, those who depart most first."""

    departures: list[Departure] = field(default_factory=list)
    compared: int = 0
    """Actors that were compared with peers."""
    alone: tuple[Who, ...] = ()
    """Actors with too few peers to say anything."""
    unmeasured: tuple[str, ...] = ()
    """What there were no records for, a sentence each."""


@dataclass(frozen=True, slots=True)
class _Usual:
    """The middle of some figures, and how far from it they usually are."""

    middle: float
    spread: float

    @classmethod
    def of(cls, figures: Sequence[float], least: float) -> _Usual:
        middle = median(figures)
        return cls(middle, max(1.4826 * median(abs(f - middle) for f in figures), least))

    def score(self, figure: float) -> float:
        return min((figure - self.middle) / self.spread, _CAP)


@dataclass(slots=True)
class _Peer:
    who: Who
    days: list[Day]

    @property
    def reads(self) -> int:
        return sum(day.reads for day in self.days)


def find_anomalies(tally: Tally, stores_of: StoresOf | None = None, followed: Followed | None = None) -> Anomalies:
    """Compare everybody with their peers, group by group.

    `stores_of` and `followed` know of members what the audit log does not; without them breadth across stores and
    members that were never contacted are not measured, and the result says so.
    """
    result = Anomalies()
    if stores_of is None:
        result.unmeasured += ("breadth across stores: no model with a store was given",)
    if followed is None:
        result.unmeasured += ("members who were never contacted: no leads were given",)
    alone: list[Who] = []
    for name, group in _groups(tally.actors()):
        if len(group) < _FEW:
            alone += group
            continue
        result.compared += len(group)
        peers = [_Peer(who, tally.days(who.id)) for who in group]
        found: dict[int, list[Finding]] = defaultdict(list)
        for one, finding in _compare(tally, peers, stores_of, followed):
            found[one].append(finding)
        for who in group:
            if who.id in found:
                ranked = tuple(sorted(found[who.id], key=lambda f: -f.score))
                result.departures.append(Departure(who, name, ranked))
    result.alone = tuple(alone)
    result.departures.sort(key=lambda d: (-d.score, d.who.actor))
    return result


def _groups(actors: Sequence[Who]) -> Iterator[tuple[str, list[Who]]]:
    """Peers: the same role in stores of one size; of one role, where a size has too few."""
    roles: defaultdict[str, list[Who]] = defaultdict(list)
    for who in actors:
        roles[who.role].append(who)
    for role, people in sorted(roles.items()):
        sizes: defaultdict[str, int] = defaultdict(int)
        for who in people:
            sizes[who.store] += 1
        classes: defaultdict[str, list[Who]] = defaultdict(list)
        for who in people:
            classes[_size(sizes[who.store]) if who.store else "without a store"].append(who)
        if all(len(group) >= _FEW for group in classes.values()):
            for size, group in sorted(classes.items()):
                yield f"{role}, {size}", group
        else:
            yield role, people


def _size(actors: int) -> str:
    return "small stores" if actors <= _SMALL else "middling stores" if actors <= _MEDIUM else "large stores"


def _compare(
    tally: Tally, peers: list[_Peer], stores_of: StoresOf | None, followed: Followed | None
) -> Iterator[tuple[int, Finding]]:
    yield from _daily(peers, "volume", "members read in a day", lambda day: day.reads, least=20)
    yield from _daily(peers, "searches", "searches in a day", lambda day: day.searches, least=10)
    yield from _daily(peers, "burst", "members read within a minute", lambda day: day.burst, least=20)
    yield from _regular(peers)
    yield from _refusals(peers)
    yield from _hours(tally, peers)
    if stores_of is not None:
        yield from _breadth(tally, peers, stores_of)
    if followed is not None:
        yield from _not_followed(tally, peers, followed)


def _daily(
    peers: list[_Peer], kind: str, what: str, figure: Callable[[Day], int], least: int
) -> Iterator[tuple[int, Finding]]:
    """A figure of each day, compared as a ratio: twice as much is as far in a busy store as in a calm one."""
    counts = [figure(day) for peer in peers for day in peer.days if figure(day)]
    if not counts:
        return
    middle = median(counts)
    usual = _Usual.of([log(1 + count) for count in counts], max(0.25, (1 + middle) ** -0.5))
    habits = {peer.who.id: median(h) for peer in peers if (h := [figure(d) for d in peer.days if figure(d)])}
    habit = _Usual.of([log(1 + count) for count in habits.values()], 0.15)
    for peer in peers:
        over = [(usual.score(log(1 + figure(day))), day) for day in peer.days if figure(day) >= max(least, 2 * middle)]
        over = sorted((pair for pair in over if pair[0] >= _FAR), key=lambda pair: -pair[0])
        own = habits.get(peer.who.id, 0)
        steady = habit.score(log(1 + own)) if own >= max(least, 1.5 * exp(habit.middle)) and len(peer.days) > 2 else 0.0
        if not over and steady < _FAR:
            continue
        did = f"up to {max(figure(day) for day in peer.days):,}, on half of the days {own:,.0f} or more"
        days = tuple(f"{day.day}: {figure(day):,}" for _, day in over[:_DAYS])
        score = max(over[0][0] if over else 0.0, steady)
        yield peer.who.id, Finding(kind, score, f"{middle:,.0f} {what}", f"{did} ({len(over)} days stand out)", days)


def _regular(peers: list[_Peer]) -> Iterator[tuple[int, Finding]]:
    """Acts that follow each other like clockwork."""
    quick = {peer.who.id: [d.unevenness for d in peer.days if d.steps >= 20] for peer in peers}
    for peer in peers:
        others = [figure for who, figures in quick.items() if who != peer.who.id for figure in figures]
        # Where no other works that fast: people's steps vary by about as much as they take.
        usual = median(others) if others else 1.0
        if usual < 0.3:  # all of them are programs
            continue
        even = [day for day in peer.days if day.steps >= 40 and day.unevenness < min(0.2, usual / 3)]
        if even:
            even.sort(key=lambda day: -day.steps)
            worst = even[0]
            score = min(usual / max(worst.unevenness, 0.01), _CAP)
            did = f"a step every {worst.step:.1f} s that varies by {worst.unevenness:.0%}, as a macro's does"
            told = tuple(f"{day.day}: {day.steps:,} steps" for day in even[:_DAYS])
            yield peer.who.id, Finding("regular", score, f"steps that vary by {usual:.0%}", did, told)


def _refusals(peers: list[_Peer]) -> Iterator[tuple[int, Finding]]:
    shares = {
        p.who.id: (refused / (refused + p.reads) if (refused := sum(d.refused for d in p.days)) else 0.0) for p in peers
    }
    usual = _Usual.of(list(shares.values()), 0.03)
    for peer in peers:
        refused = sum(day.refused for day in peer.days)
        score = usual.score(shares[peer.who.id])
        if refused >= 15 and score >= _FAR:
            worst = sorted((day for day in peer.days if day.refused), key=lambda day: -day.refused)[:_DAYS]
            did = f"{refused:,} refusals, {shares[peer.who.id]:.0%} of what was asked for"
            days = tuple(f"{day.day}: {day.refused:,}" for day in worst)
            yield peer.who.id, Finding("refusals", score, f"{usual.middle:.1%} are refused", did, days)


def _hours(tally: Tally, peers: list[_Peer]) -> Iterator[tuple[int, Finding]]:
    """Reads in hours in which hardly any peer works; working days and weekends have hours of their own."""
    bins: defaultdict[tuple[bool, int], int] = defaultdict(int)
    for peer in peers:
        own: defaultdict[tuple[bool, int], int] = defaultdict(int)
        for day, hour, reads in tally.slots(peer.who.id):
            own[_weekend(day), hour] += reads
        for slot, reads in own.items():
            bins[slot] += reads * 100 >= peer.reads
    usual_bins = {slot for slot, actors in bins.items() if actors >= max(2, 0.2 * len(peers))}
    odd: dict[int, dict[str, int]] = {}
    for peer in peers:
        off: defaultdict[str, int] = defaultdict(int)
        for day, hour, reads in tally.slots(peer.who.id):
            if (_weekend(day), hour) not in usual_bins:
                off[day] += reads
        odd[peer.who.id] = dict(off)
    shares = {p.who.id: sum(odd[p.who.id].values()) / p.reads if p.reads else 0.0 for p in peers}
    usual = _Usual.of(list(shares.values()), 0.03)
    for peer in peers:
        off_reads, share = sum(odd[peer.who.id].values()), shares[peer.who.id]
        if off_reads >= 15 and share >= 0.1 and usual.score(share) >= _FAR:
            worst = sorted(odd[peer.who.id].items(), key=lambda pair: -pair[1])[:_DAYS]
            did = f"{off_reads:,} members, {share:.0%} of all, in hours when hardly any peer works"
            days = tuple(f"{day}: {reads:,}" for day, reads in worst)
            yield peer.who.id, Finding("hours", usual.score(share), f"{usual.middle:.1%} in such hours", did, days)


def _weekend(day: str) -> bool:
    return date.fromisoformat(day).weekday() >= 5


def _breadth(tally: Tally, peers: list[_Peer], stores_of: StoresOf) -> Iterator[tuple[int, Finding]]:
    """Members of how many stores somebody read."""
    stores: dict[int, set[str]] = {}
    foreign: defaultdict[int, int] = defaultdict(int)
    total: defaultdict[int, int] = defaultdict(int)
    for peer in peers:
        mine: set[str] = set()
        for members in tally.members(peer.who.id):
            found = stores_of(members)
            mine.update(found.values())
            total[peer.who.id] += len(members)
            foreign[peer.who.id] += sum(store != peer.who.store for store in found.values())
        stores[peer.who.id] = mine
    usual = _Usual.of([log(1 + len(mine)) for mine in stores.values()], 0.2)
    for peer in peers:
        count = len(stores[peer.who.id])
        score = usual.score(log(1 + count))
        if count >= 3 and score >= _FAR:
            did = f"members of {count:,} stores"
            if peer.who.store:
                did += (
                    f"; {foreign[peer.who.id]:,} of {total[peer.who.id]:,} members are of other stores than their own"
                )
            middle = exp(usual.middle) - 1
            yield peer.who.id, Finding("breadth", score, f"members of {middle:,.0f} stores", did)


def _not_followed(tally: Tally, peers: list[_Peer], followed: Followed) -> Iterator[tuple[int, Finding]]:
    """Members that somebody read and then never had to do with."""
    never: dict[int, tuple[int, int]] = {}
    for peer in peers:
        read = dealt = 0
        for members in tally.members(peer.who.id):
            read += len(members)
            dealt += len({*followed(peer.who.actor, members)} & {*members})
        never[peer.who.id] = read - dealt, read
    shares = {who: left / read for who, (left, read) in never.items() if read >= 20}
    if len(shares) < _FEW:
        return
    usual = _Usual.of(list(shares.values()), 0.05)
    for who, share in shares.items():
        left, read = never[who]
        if left >= 20 and usual.score(share) >= _FAR:
            did = f"{left:,} of {read:,} members were never contacted, nor were leads of theirs"
            yield who, Finding("not followed up", usual.score(share), f"{usual.middle:.0%} are not", did)

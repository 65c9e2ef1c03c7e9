"""Who can have leaked a set of members, by what each actor was shown. Pure: no database, no clock.

A leak is taken for a mixture: each leaked member was drawn from what one of a few actors saw, or is noise from the
whole population. That gives every explanation (up to a few actors) a likelihood; a small set that holds most of the
leak is a better one than a large set that does. It is compared with two other stories: chance over the population, and
chance within whole groups (stores), which a leak from a local source looks like. An actor is named only where the
leak is likelier under them than under either, after paying for how many actors could have been picked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from vaultstore.evidence.mixture import Part, fit, patterns

__all__ = ["APART", "Ranking", "Seen", "Suspect", "Verdict", "rank"]

Verdict = Literal["explained", "alike", "elsewhere", "group", "few"]
"""``explained``: `explanation` are the actors. ``alike``: so they are, but others explain it as well (`Suspect.alike`).
``elsewhere``: no actor's disclosures explain it. ``group``: it looks like a sample of whole groups, and no actor
stands out. ``few``: too few members to tell."""

APART = 3.0
"""Nats. Explanations closer than this (a factor of 20) can't be told apart."""

_FEWEST = 8
_CANDIDATES = 40
_PAIRS = 12
_WIDER = 1.02


@dataclass(frozen=True, slots=True)
class Seen:
    """What one actor, or one group of actors, was shown."""

    total: int
    """Distinct members, leaked or not."""
    count: int
    """Leaked ones among them."""
    load: Callable[[], Collection[bytes]]
    """Which. Asked for only where the actor is a candidate: there can be many."""
    group: str | None = None

    @classmethod
    def of(cls, subjects: Collection[bytes], leaked: Collection[bytes], group: str | None = None) -> Seen:
        """From sets."""
        hits = frozenset(leaked).intersection(subjects)
        return cls(len(subjects), len(hits), lambda: hits, group)


@dataclass(frozen=True, slots=True)
class Suspect:
    """An actor who saw leaked members."""

    actor: str
    saw: int
    """Distinct members, leaked or not."""
    hits: int
    """Leaked members among them."""
    coverage: float
    """Share of the leak."""
    by_chance: float
    """Leaked members that somebody who saw as many at random would have among them."""
    evidence: float
    """Decimal logarithm of how much likelier the leak is if this actor alone leaked it than by chance."""
    share: float
    """Part of the leak that the explanation puts down to this actor; 0 where it does not name them."""
    alike: tuple[str, ...] = ()
    """Actors who could stand in this one's place in the explanation."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Actors in the order in which the log points at them, and what that is worth."""

    verdict: Verdict
    leaked: int
    population: int
    never: int
    """Leaked members whom no actor saw."""
    suspects: tuple[Suspect, ...]
    """Those of the explanation first, then by evidence."""
    explanation: tuple[str, ...]
    """Actors who together explain the leak; empty unless the verdict is ``explained`` or ``alike``."""
    unexplained: int
    """Leaked members whom none of the explanation saw: noise, or another source."""
    groups: tuple[str, ...]
    """Groups that the leak is concentrated in, most of it first."""
    margin: float
    """Decimal logarithm of how much likelier the best explanation is than the best story without one."""


def rank(
    leaked: Collection[bytes],
    seen: Mapping[str, Seen],
    population: int,
    *,
    groups: Mapping[str, Seen] | None = None,
    noise: float = 0.1,
    insiders: int = 3,
) -> Ranking:
    """Rank the actors in `seen` by how well what they saw explains `leaked`.

    `leaked` are subjects of `population` members; `groups` holds what each group's actors saw together. `noise` is the
    part of a leak that is expected to come from nowhere, `insiders` the most actors that an explanation may name.
    """
    wanted = sorted(set(leaked))
    number = len(wanted)
    population = max(population, number, *(one.total for one in seen.values()), 1) if seen else max(population, 1)
    scene = _Scene(wanted, seen, population, noise)
    alone = {a: scene.alone(one) for a, one in seen.items() if one.count}
    order = sorted(alone, key=lambda a: (-alone[a], -seen[a].count, a))
    best, score = scene.search(order[:_CANDIDATES], insiders)
    within, rival = _by_groups(scene, _stories(groups or {}, seen))
    margin = score - max(rival, 0.0)
    verdict: Verdict = "explained"
    if number < _FEWEST:
        verdict = "few"
    elif margin < APART:
        verdict = "group" if within and rival > APART else "elsewhere"
    named = best if verdict == "explained" else ()
    shares = dict(zip(named, scene.shares(named), strict=True))
    alike = {a: scene.alike(named, a, order[:_CANDIDATES], score) for a in named}
    if any(alike.values()):
        verdict = "alike"
    first = sorted(named, key=lambda a: -shares[a])
    suspects = [
        Suspect(
            actor,
            seen[actor].total,
            seen[actor].count,
            seen[actor].count / number,
            number * seen[actor].total / population,
            alone[actor] / math.log(10),
            shares.get(actor, 0.0),
            alike.get(actor, ()),
        )
        for actor in dict.fromkeys([*first, *order])
    ]
    return Ranking(
        verdict=verdict,
        leaked=number,
        population=population,
        never=number - scene.ever(seen.values()),
        suspects=tuple(suspects),
        explanation=tuple(first),
        unexplained=number - scene.covered(named),
        groups=within,
        margin=margin / math.log(10),
    )


class _Scene:
    """One leak: which of its members each candidate saw, as the bits of a number."""

    def __init__(self, leaked: Sequence[bytes], seen: Mapping[str, Seen], population: int, noise: float) -> None:
        self.number, self.population, self._seen, self._noise = len(leaked), population, seen, noise
        self._bit = {subject: 1 << at for at, subject in enumerate(leaked)}
        self._masks: dict[str, int] = {}

    def mask(self, seen: Seen) -> int:
        bits = 0
        for subject in seen.load():
            bits |= self._bit.get(subject, 0)
        return bits

    def alone(self, seen: Seen) -> float:
        """Log-likelihood of the leak if it came from `seen` and noise, over that by chance."""
        part = [Part(seen.count, (0,)), Part(self.number - seen.count, ())]
        return fit(part, [seen.total], self.population, self._noise)[0]

    def search(self, candidates: Sequence[str], insiders: int) -> tuple[tuple[str, ...], float]:
        """The best explanation of up to `insiders` actors, and its score. A larger one has to be told apart."""
        best: tuple[str, ...] = ()
        score = 0.0
        tried: list[tuple[str, ...]] = [()]
        for size in range(1, insiders + 1):
            if size <= 2:
                sets = list(combinations(candidates, size))
            else:
                sets = list({tuple(sorted({*one, a})) for one in tried[:_PAIRS] for a in candidates if a not in one})
            scored = sorted(((self.score(one), one) for one in sets), key=lambda pair: (-pair[0], pair[1]))
            if not scored:
                break
            tried = [one for _, one in scored]
            if scored[0][0] > score + (APART if best else 0.0):
                score, best = scored[0]
        return best, score

    def score(self, actors: Sequence[str]) -> float:
        """Log-likelihood over that by chance, less the price of picking these among all actors."""
        return self._fitted(actors)[0] - _price(len(self._seen), len(actors), self.number)

    def shares(self, actors: Sequence[str]) -> list[float]:
        """The part of the leak that comes from each."""
        return self._fitted(actors)[1] if actors else []

    def alike(self, named: Sequence[str], actor: str, candidates: Sequence[str], score: float) -> tuple[str, ...]:
        """Who could stand in the place of `actor`."""
        rest = [a for a in named if a != actor]
        return tuple(c for c in candidates if c not in named and score - self.score([*rest, c]) < APART)

    def covered(self, actors: Sequence[str]) -> int:
        """Leaked members that any of these saw."""
        bits = 0
        for actor in actors:
            bits |= self._mask_of(actor)
        return bits.bit_count()

    def ever(self, seen: Collection[Seen]) -> int:
        """Leaked members that anybody saw."""
        bits, every = 0, (1 << self.number) - 1
        for one in seen:
            if one.count and bits != every:
                bits |= self.mask(one)
        return bits.bit_count()

    def _mask_of(self, actor: str) -> int:
        if actor not in self._masks:
            self._masks[actor] = self.mask(self._seen[actor])
        return self._masks[actor]

    def _fitted(self, actors: Sequence[str]) -> tuple[float, list[float]]:
        parts = patterns([self._mask_of(a) for a in actors], self.number)
        return fit(parts, [self._seen[a].total for a in actors], self.population, self._noise)


def _stories(groups: Mapping[str, Seen], seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """The groups that can be told from one of their actors: a store of which one actor saw all is that actor."""
    most: dict[str, int] = {}
    for one in seen.values():
        if one.group is not None:
            most[one.group] = max(one.total, most.get(one.group, 0))
    return {name: one for name, one in groups.items() if one.total > _WIDER * most.get(name, 0)}


def _by_groups(scene: _Scene, groups: Mapping[str, Seen]) -> tuple[tuple[str, ...], float]:
    """The groups that the leak is concentrated in, and the score of the story that it is a sample of them."""
    held = sorted((name for name, one in groups.items() if one.count), key=lambda name: -groups[name].count)
    best: tuple[str, ...] = ()
    score = 0.0
    masks = {name: scene.mask(groups[name]) for name in held[:_CANDIDATES]}
    for size in range(1, len(masks) + 1):
        some = held[:size]
        parts = patterns([masks[name] for name in some], scene.number)
        likelihood = fit(parts, [groups[name].total for name in some], scene.population, 0.1)[0]
        scored = likelihood - _price(len(groups), size, scene.number)
        if scored > score:
            best, score = tuple(some), scored
        elif size > len(best) + 3:
            break
    return best, score


def _price(of: int, picked: int, number: int) -> float:
    """Log of the ways to pick, and half the log of the leak's size for each weight that is fitted (as BIC does)."""
    ways = math.lgamma(of + 1) - math.lgamma(picked + 1) - math.lgamma(of - picked + 1)
    return ways + picked * 0.5 * math.log(max(number, 2))

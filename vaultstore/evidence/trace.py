"""Where a leak came from: canaries first, then whose disclosures explain it, then whether members' logins were taken.

What comes out are figures and sentences, never a number of anybody's. It says plainly what the log can't explain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from vaultstore.evidence.ranking import Ranking, rank
from vaultstore.evidence.sightings import CLEAR, MASKED, Levels, Profile, Sightings, gather
from vaultstore.policy import BoundPolicy
from vaultstore.records import canaries
from vaultstore.records.canaries import Canary
from vaultstore.records.subjects import ERASED, vs_subjects

__all__ = ["Found", "Stuffing", "Traced", "levels_of", "trace"]

_FEW_CLIENTS = 3
_MANY = 0.5
_OFTEN = 3.0


@dataclass(frozen=True, slots=True)
class Found:
    """A canary in the leak."""

    canary: Canary
    shown_to: tuple[tuple[str, bool], ...]
    """(actor, in clear) of everybody that the log says it was disclosed to."""


@dataclass(frozen=True, slots=True)
class Stuffing:
    """How many leaked members were logged in themselves shortly before the end of what was looked at."""

    members: int
    """Leaked members with sessions of their own."""
    share: float
    others: float
    """Share of the members who are not in the leak that had sessions of their own in the same time."""
    clients: tuple[int, ...] | None
    """Leaked members by client, the most first. None: the tokens don't say which client they are for."""
    verdict: str
    """``likely``, ``possible`` or ``no``."""


@dataclass(frozen=True, slots=True)
class Traced:
    """What the log tells of a leak."""

    leaked: int
    """Members in it."""
    canaries: tuple[Found, ...]
    clear: Ranking
    """By what was disclosed in clear."""
    masked: Ranking
    """By what was disclosed in clear or masked."""
    actors: dict[str, Profile]
    shown: int
    """Leaked members that anybody was shown anything of."""
    stuffing: Stuffing
    entries: int
    erased: int
    earliest: datetime | None
    latest: datetime | None

    @property
    def ranking(self) -> Ranking:
        """The ranking that tells more: who saw it in clear, unless that explains nothing."""
        masked_only = not self.clear.explanation and (self.masked.explanation or not self.clear.suspects)
        return self.masked if masked_only else self.clear


def levels_of(policy: BoundPolicy, model: str, fields: Collection[str]) -> Levels:
    """The categories that hold these fields in clear, and those that hold masks of them."""
    clear: set[str] = set()
    masked: set[str] = set()
    for name in fields:
        _, found = policy.field(model, name)
        clear.add(found.category)
        masked |= {projection.category for projection in found.projections}
    return Levels(frozenset(clear), frozenset(masked))


def trace(
    engine: sa.Engine,
    leaked: Collection[bytes],
    levels: Levels,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    insiders: int = 3,
    before: timedelta = timedelta(days=30),
    progress: Callable[[int], None] | None = None,
) -> Traced:
    """Trace a leak of these subjects (16 bytes each) through the log that `engine` reaches; read-only.

    `since` and `until` bound the disclosures that count: a leak is made of what was seen before it. `insiders` is the
    most actors that one explanation names. Raises AuditError.
    """
    with engine.connect() as connection:
        population = connection.execute(
            sa.select(sa.func.count()).select_from(vs_subjects).where(vs_subjects.c.state != ERASED)
        ).scalar_one()
        planted = canaries.find(connection, leaked)
    with gather(engine, leaked, levels, since=since, until=until, before=before, progress=progress) as found:
        rankings = []
        for level in (CLEAR, MASKED):
            actors, groups = found.seen(level)
            rankings.append(rank(leaked, actors, population, groups=groups, insiders=insiders))
        return Traced(
            leaked=len(found.leaked),
            canaries=tuple(
                Found(one, tuple((actor, level == CLEAR) for actor, level in found.who_saw(one.subject)))
                for one in planted
            ),
            clear=rankings[0],
            masked=rankings[1],
            actors=found.actors,
            shown=len(found.shown),
            stuffing=_stuffing(found, population),
            entries=found.entries,
            erased=found.erased,
            earliest=found.earliest,
            latest=found.latest,
        )


def _stuffing(found: Sightings, population: int) -> Stuffing:
    number = len(found.leaked)
    share = len(found.own) / number if number else 0.0
    rest = max(population - number, 0)
    others = found.own_others / rest if rest else 0.0
    by_client = sorted((len(members) for members in found.clients.values()), reverse=True)
    unusual = number >= 8 and share >= _MANY and share >= _OFTEN * others
    verdict = "no"
    if not found.clients:
        verdict = "possible" if unusual else "no"
    else:
        few: set[bytes] = set().union(*sorted(found.clients.values(), key=len, reverse=True)[:_FEW_CLIENTS])
        if number >= 8 and len(few) >= _MANY * number:
            verdict = "likely"
    return Stuffing(len(found.own), share, others, tuple(by_client) if found.clients else None, verdict)

"""`python -m benchmarks.tracing`: simulated leaks, and how often the log names who it was, or says that it can't.

50 stores of 20 actors, 100,000 members. Each actor saw 500 to 1,800 of the store's 2,000, so neighbours overlap
heavily. Leaks from here: one to three insiders, of one store or of several, each leak a part of what they saw; a tenth
of the leak is noise. Leaks from elsewhere: members picked by somebody who never looked into this store.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

from rich.console import Console
from rich.table import Table

from vaultstore.evidence.ranking import Ranking, Seen, rank

__all__ = ["Figures", "Town", "measure"]

TARGET = 95


@dataclass(frozen=True)
class Town:
    """Who saw whom. The same seed gives the same town."""

    seed: int
    stores: int = 50
    actors: int = 20
    members: int = 2000
    """Of each store."""
    least: int = 500
    most: int = 1800

    @cached_property
    def homes(self) -> list[list[bytes]]:
        """The members of each store."""
        dice = self.dice("members")
        return [[dice.randbytes(16) for _ in range(self.members)] for _ in range(self.stores)]

    @cached_property
    def seen(self) -> dict[str, frozenset[bytes]]:
        """Actor -> members that were disclosed to them."""
        dice = self.dice("seen")
        return {
            f"s{store:02d}-a{actor:02d}": frozenset(dice.sample(home, dice.randint(self.least, self.most)))
            for store, home in enumerate(self.homes)
            for actor in range(self.actors)
        }

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Store -> members that any of its actors saw."""
        together: dict[str, set[bytes]] = {}
        for actor, subjects in self.seen.items():
            together.setdefault(actor[:3], set()).update(subjects)
        return {store: len(subjects) for store, subjects in together.items()}

    @property
    def everybody(self) -> list[bytes]:
        """All members."""
        return [member for home in self.homes for member in home]

    def dice(self, what: str) -> random.Random:
        """Dice of their own for each thing that is drawn."""
        return random.Random(f"{self.seed}/{what}")

    def trace(self, leaked: set[bytes], seen: dict[str, frozenset[bytes]] | None = None) -> Ranking:
        """What the log says of a leak."""
        seen = seen or self.seen
        groups: dict[str, set[bytes]] = {}
        for actor, subjects in seen.items():
            groups.setdefault(actor[:3], set()).update(subjects & leaked)
        return rank(
            leaked,
            {actor: Seen.of(subjects, leaked, actor[:3]) for actor, subjects in seen.items()},
            self.stores * self.members,
            groups={name: Seen(self.sizes[name], len(hits), partial(frozenset, hits)) for name, hits in groups.items()},
        )

    # ---------------------------------------------------------------------------------------------- leaks

    def insiders(self, dice: random.Random) -> tuple[list[str], set[bytes]]:
        """One to three actors, and what they leaked: a tenth to six tenths of what each saw, and a tenth of noise."""
        actors = sorted(self.seen)
        if dice.random() < 0.5:
            store = dice.choice(actors)[:3]
            actors = [actor for actor in actors if actor.startswith(store)]
        guilty = dice.sample(actors, dice.choice((1, 1, 2, 3)))
        leaked: set[bytes] = set()
        for actor in guilty:
            seen = sorted(self.seen[actor])
            leaked.update(dice.sample(seen, int(len(seen) * dice.uniform(0.1, 0.6))))
        leaked.update(dice.sample(self.everybody, round(len(leaked) / 9)))
        return guilty, leaked

    def from_anywhere(self, dice: random.Random) -> set[bytes]:
        """A sample of all members: a dump, or another company's customers."""
        return set(dice.sample(self.everybody, dice.randint(30, 2000)))

    def from_one_place(self, dice: random.Random) -> set[bytes]:
        """A sample of the people around one store, whoever looked at them, with a tenth from anywhere."""
        home = dice.choice(self.homes)
        leaked = set(dice.sample(home, dice.randint(30, len(home) * 3 // 4)))
        return leaked.union(dice.sample(self.everybody, round(len(leaked) / 9)))

    def from_a_city(self, dice: random.Random) -> set[bytes]:
        """The same around two to six stores, each with its own weight."""
        leaked: set[bytes] = set()
        for home in dice.sample(self.homes, min(self.stores, dice.randint(2, 6))):
            leaked.update(dice.sample(home, dice.randint(20, 400)))
        return leaked.union(dice.sample(self.everybody, round(len(leaked) / 9)))


@dataclass
class Figures:
    """What came out, of so many leaks of each kind."""

    leaks: int
    first: int = 0
    """Leaks from here where an insider ranks first, or is among those said to be alike with who does."""
    named_wrongly: int = 0
    """Leaks from here whose explanation has somebody innocent in it, who is not said to be alike with an insider."""
    complete: int = 0
    """Leaks from here whose explanation is exactly the insiders."""
    elsewhere: int = 0
    """Leaks from elsewhere of which it was said that no actor explains them."""
    twins: int = 0
    """Leaks by somebody whose neighbour saw the same members: both were named, as alike."""
    kinds: Counter[str] = field(default_factory=Counter)
    """Kind of leak from elsewhere that was put down to an actor -> how often."""


def measure(town: Town, leaks: int) -> Figures:
    """Simulate `leaks` from here, as many from elsewhere, and a tenth as many by one of two alike."""
    figures = Figures(leaks)
    for number in range(leaks):
        guilty, leaked = town.insiders(town.dice(f"insiders {number}"))
        found = town.trace(leaked)
        top = found.suspects[0]
        figures.first += found.verdict in ("explained", "alike") and bool({top.actor, *top.alike} & set(guilty))
        figures.complete += set(found.explanation) == set(guilty)
        wrong = [s for s in found.suspects if s.share and not {s.actor, *s.alike} & set(guilty)]
        figures.named_wrongly += bool(wrong)
    kinds: tuple[Callable[[random.Random], set[bytes]], ...] = (
        town.from_anywhere,
        town.from_one_place,
        town.from_a_city,
    )
    for number in range(leaks):
        kind = kinds[number % len(kinds)]
        found = town.trace(kind(town.dice(f"elsewhere {number}")))
        said = found.verdict in ("elsewhere", "group") and not found.explanation
        figures.elsewhere += said
        figures.kinds[kind.__name__] += not said
    for number in range(max(1, leaks // 10)):
        dice = town.dice(f"twins {number}")
        one, other = dice.sample(sorted(a for a in town.seen if a.startswith("s00")), 2)
        twins = town.seen | {other: town.seen[one]}
        seen = sorted(town.seen[one])
        found = town.trace(set(dice.sample(seen, len(seen) // 3)), twins)
        top = found.suspects[0]
        figures.twins += found.verdict == "alike" and {one, other} <= {top.actor, *top.alike}
    return figures


def main() -> None:
    """Parse the command line, simulate and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--leaks", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2021)
    options = parser.parse_args()
    town = Town(options.seed)
    began = time.perf_counter()
    figures = measure(town, options.leaks)
    took = time.perf_counter() - began
    n, few = figures.leaks, max(1, figures.leaks // 10)
    table = Table("of simulated leaks", "", "target", box=None, pad_edge=False, header_style="bold")
    table.add_row("from here: an insider ranks first", f"{figures.first} of {n}", f"{TARGET} of 100")
    table.add_row("from here: exactly the insiders are named", f"{figures.complete} of {n}", "")
    table.add_row("from here: somebody innocent is named too", f"{figures.named_wrongly} of {n}", "")
    table.add_row("from elsewhere: said to be", f"{figures.elsewhere} of {n}", f"{TARGET} of 100")
    table.add_row("by one of two who saw the same: both said to be alike", f"{figures.twins} of {few}", "")
    Console().print(table)
    Console().print(f"{took / (2 * n + few) * 1e3:,.0f} ms a leak; wrongly put down to an actor: {dict(figures.kinds)}")
    if min(figures.first, figures.elsewhere) * 100 < TARGET * n:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""The likelihood of a leak as a mixture of what a few sources held, and noise from the whole population."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Part", "fit", "patterns"]

_ROUNDS = 40
_SETTLED = 1e-4


class Part(NamedTuple):
    """Leaked members whom the same sources held."""

    leaked: int
    sources: tuple[int, ...]
    """Which of the sources, by their places; empty: none of them."""


def patterns(masks: Sequence[int], number: int) -> list[Part]:
    """Part `number` leaked members by who held them; `masks` has a bit for each member, of each source."""
    split: list[tuple[int, tuple[int, ...]]] = [((1 << number) - 1, ())]
    for at, mask in enumerate(masks):
        split = [
            (bits, sources)
            for before, held in split
            for bits, sources in ((before & mask, (*held, at)), (before & ~mask, held))
            if bits
        ]
    return [Part(bits.bit_count(), sources) for bits, sources in split]


def fit(parts: Sequence[Part], sizes: Sequence[int], population: int, noise: float) -> tuple[float, list[float]]:
    """(log-likelihood over that by chance, in nats; weight of each source), by expectation and maximisation.

    A leaked member comes from source i, which held ``sizes[i]`` members, with its weight, and otherwise from anywhere
    among `population`. `noise` is the first guess at the weight of that rest.
    """
    number = sum(part.leaked for part in parts)
    if not number or not sizes:
        return 0.0, [0.0] * len(sizes)
    lift = [population / max(size, 1) for size in sizes]
    weights, rest = [(1 - noise) / len(sizes)] * len(sizes), noise
    before = -math.inf
    for _ in range(_ROUNDS):
        total, gained, noisy = 0.0, [0.0] * len(sizes), 0.0
        for count, sources in parts:
            if not count:
                continue
            density = rest + sum(weights[at] * lift[at] for at in sources)
            total += count * math.log(density)
            noisy += count * rest / density
            for at in sources:
                gained[at] += count * weights[at] * lift[at] / density
        # One leaked member's worth of noise is always thought possible: what nobody held must have come from somewhere.
        weights, rest = [part / (number + 1) for part in gained], (noisy + 1) / (number + 1)
        if total - before < _SETTLED:
            break
        before = total
    return total, weights

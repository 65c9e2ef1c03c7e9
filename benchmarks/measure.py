"""Alternating rounds and medians: on a noisy machine a ratio of neighbours says more than a time."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Result", "alternate"]


@dataclass(frozen=True, slots=True)
class Result:
    """Times of one case, in seconds."""

    times: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median, seconds."""
        return statistics.median(self.times)

    def ratio(self, base: Result) -> float:
        """Median of the ratios round by round, which a slow minute of the machine doesn't move."""
        return statistics.median(a / b for a, b in zip(self.times, base.times, strict=True))


def alternate(cases: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Result]:
    """Run every case once to warm up, then `rounds` times in turn."""
    for case in cases.values():
        case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            start = time.perf_counter()
            case()
            times[name].append(time.perf_counter() - start)
    return {name: Result(tuple(values)) for name, values in times.items()}

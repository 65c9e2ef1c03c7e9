"""How a nearly spent limit is shared out: in the order asked, and only to whom every limit has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Window", "allot"]


@dataclass(frozen=True, slots=True)
class Window:
    """One limit's window of one holder, as it stands."""

    id: int
    room: int
    """How many units it still takes; less than 0 where the limit was lowered."""
    charged: frozenset[bytes]
    """Those of the units asked for that were charged already: they are free."""


def allot(units: Sequence[bytes], windows: Sequence[Window]) -> tuple[set[bytes], dict[int, list[bytes]]]:
    """Units that don't fit, and what to charge to each window (by id). Units are distinct.

    A unit that one limit refuses is charged to none.
    """
    new = {window.id: [unit for unit in units if unit not in window.charged] for window in windows}
    if all(len(new[window.id]) <= window.room for window in windows):
        return set(), new
    refused: set[bytes] = set()
    charges: dict[int, list[bytes]] = {window.id: [] for window in windows}
    for unit in units:
        wanted = [window for window in windows if unit not in window.charged]
        if all(len(charges[window.id]) < window.room for window in wanted):
            for window in wanted:
                charges[window.id].append(unit)
        else:
            refused.add(unit)
    return refused, charges

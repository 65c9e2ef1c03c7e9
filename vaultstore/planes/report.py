"""What a look at one plane found: its cells and facts, counted, and each difference by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vaultstore.planes.plan import Difference, Plane, Probe, Verdict

__all__ = ["PlaneReport", "examine"]


@dataclass(frozen=True, slots=True)
class PlaneReport:
    """One plane, held against the policy."""

    plane: str
    facts: tuple[Difference, ...] = ()
    """Where what the server says of itself is not what was expected."""
    cells: int = 0
    """Cells that were tried."""
    denied: int = 0
    """Of these, the ones that the policy denies."""
    disagreeing: tuple[Probe, ...] = ()

    @property
    def too_open(self) -> int:
        """Cells that the plane opens and the policy does not."""
        return sum(not probe.expected for probe in self.disagreeing)

    @property
    def too_closed(self) -> int:
        """Cells that the policy opens and the plane does not."""
        return sum(probe.expected for probe in self.disagreeing)

    @property
    def agreeing(self) -> int:
        """Cells in which plane and policy agree."""
        return self.cells - len(self.disagreeing)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Every difference: facts first, since one of them is often the reason of many cells."""
        return (*self.facts, *map(_difference, self.disagreeing))

    @property
    def ok(self) -> bool:
        """Whether the plane is what the policy makes of it."""
        return not self.facts and not self.disagreeing


def examine(plane: Plane, *, probes: bool = True, tried: Callable[[Probe], None] | None = None) -> PlaneReport:
    """Compare a live plane's facts with the policy and, unless told not to, try every cell.

    `tried` hears of each probe as it is made.
    """
    facts = tuple(plane.differences())
    cells, denied, disagreeing = 0, 0, []
    for probe in plane.probes() if probes else ():
        cells += 1
        denied += not probe.expected
        if not probe.agrees:
            disagreeing.append(probe)
        if tried is not None:
            tried(probe)
    return PlaneReport(plane.name, facts, cells, denied, tuple(disagreeing))


def _difference(probe: Probe) -> Difference:
    words = {True: "allowed", False: "refused"}
    verdict: Verdict = "too closed" if probe.expected else "too open"
    return Difference(verdict, str(probe.cell), words[probe.expected], words[probe.found])

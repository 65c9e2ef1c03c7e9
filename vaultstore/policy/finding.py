"""What changed between two policies, one thing at a time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from vaultstore.policy.bound import BoundPolicy

__all__ = ["Direction", "Finding", "Pair", "added_and_removed", "toward"]

Direction = Literal["wider", "narrower", "changed", "note"]
"""``changed`` can't be put in order, and so counts as wider; a ``note`` changes nothing that is enforced."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One change."""

    direction: Direction
    subject: str
    """``purpose sales.pool``, ``role matchmaker``, ``service crm``, ``field Member.phone``, ``category contact``."""
    what: str
    place: str = ""
    """``file:line:column`` in the new policy, or in the old one for what is gone; "" where no line says it."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.what}"


@dataclass(frozen=True, slots=True)
class Pair:
    """The two policies that are compared."""

    old: BoundPolicy
    new: BoundPolicy

    def place(self, *path: str) -> str:
        """Where `path` is written now; where it no longer is, where it was."""
        for bound in (self.new, self.old):
            if path in bound.rules.places.known:
                return str(bound.rules.places.at(*path))
        return str(self.new.rules.places.at(*path))


def toward(old: int | None, new: int | None) -> Direction:
    """The direction from one rank to another, where the higher reaches more; None is a rank that can't be compared."""
    if old is None or new is None or old == new:
        return "changed"
    return "wider" if new > old else "narrower"


def added_and_removed(
    subject: str, old: Collection[str], new: Collection[str], gains: str, loses: str, place: str
) -> list[Finding]:
    """Members of a set of rights: one that is new is wider, one that is gone narrower."""
    found = []
    if more := sorted(set(new) - set(old)):
        found.append(Finding("wider", subject, f"{gains} {', '.join(more)}", place))
    if less := sorted(set(old) - set(new)):
        found.append(Finding("narrower", subject, f"{loses} {', '.join(less)}", place))
    return found

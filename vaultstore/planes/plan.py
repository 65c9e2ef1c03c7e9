"""What a plane can say of itself: the changes that would make it right, and where it differs from what it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Cell", "Change", "Difference", "Plane", "Probe", "Verdict"]

Verdict = Literal["too open", "too closed", "different"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that `apply` would make, change or remove."""

    action: Literal["create", "change", "remove"]
    thing: str
    """What kind of thing and its name, as its server calls it: ``ACL policy vs-sales.pool``."""
    detail: str = ""
    """What of it, in a few words; never a secret."""

    def __str__(self) -> str:
        sign = {"create": "+", "change": "~", "remove": "-"}[self.action]
        return f"{sign} {self.thing}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Cell:
    """One question that a plane answers yes or no: may this purpose do this?

    `operation` is the plane's own verb (``decrypt``, ``SELECT``, ``search``), `where` what it is done to
    (``category contact``, ``members.phone``, ``Member.phone``).
    """

    purpose: str
    where: str
    operation: str

    def __str__(self) -> str:
        return f"{self.purpose}: {self.operation} {self.where}"


@dataclass(frozen=True, slots=True)
class Probe:
    """A cell that was tried: what the policy says, and what the plane did."""

    cell: Cell
    expected: bool
    found: bool

    @property
    def agrees(self) -> bool:
        """Whether the plane did what the policy says."""
        return self.expected == self.found


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a live plane is not what the policy makes of it."""

    verdict: Verdict
    thing: str
    """What differs, by the name that its server knows: ``table members``, ``JWT role sales.pool``."""
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.thing} is {self.verdict}: expected {self.expected}, found {self.found}"


class Plane(Protocol):
    """One of the programs that enforce a policy, as `policy compile`, `apply` and `verify` see it."""

    @property
    def name(self) -> str:
        """``library``, ``vault`` or ``postgres``."""

    def compile(self) -> str:
        """What would be written to a fresh server, in its own language, for people to read."""

    def plan(self) -> Sequence[Change]:
        """What `apply` would do now, in its order. Reads only."""

    def apply(self) -> Sequence[Change]:
        """Make the live server match; what was done. Repeating it does nothing; after a failure it goes on."""

    def differences(self) -> Sequence[Difference]:
        """Where the facts of the live server are not those expected. Reads only."""

    def probes(self) -> Iterator[Probe]:
        """Try every cell with real logins and roles; nothing stays behind."""

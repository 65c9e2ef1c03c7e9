"""Upkeep of the categories' keys, as far as the gate's database has a say: who may, which wraps, which versions.

Wraps go out to be wrapped anew and come back. No data key is shown, so the entries of it have counts and no lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from vaultstore.gate.claims import Claims
from vaultstore.gate.ledger import Admission
from vaultstore.records.key_versions import Bound, HeldWrap

__all__ = ["Cuts", "Keeping", "KeyState", "Page", "Retirement", "Rewrapped"]


class Cuts(NamedTuple):
    """Where to cut a category's wraps: (last subject, how many) of each piece, in order."""

    cuts: Sequence[tuple[bytes, int]]
    code: str | None = None


class Page(NamedTuple):
    """Wraps that were handed out to be wrapped anew, and the committed entry that says so."""

    entry: str
    wraps: Sequence[HeldWrap] = ()
    code: str | None = None
    keys: int = 0
    """How many the entry says: one that was erased in between is not among the wraps."""


class Rewrapped(NamedTuple):
    """How many of a page's wraps were replaced: the others are gone, or were replaced by somebody else."""

    replaced: int
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Retirement:
    """Whether older versions of a category's key were given up."""

    code: str | None = None
    older: Mapping[int, int] = field(default_factory=dict)
    """Version -> how many live wraps still need it; then nothing was given up."""
    busy: bool = False
    """Writers did not end in time; then nothing was given up."""


@dataclass(frozen=True, slots=True)
class KeyState:
    """What the keyring needs of the categories' keys."""

    wraps: Mapping[str, Mapping[int, int]]
    """Category -> version -> how many live wraps."""
    oldest: Mapping[str, int]
    """Category -> the oldest version that wraps may be of, where older ones were given up."""
    code: str | None = None


class Keeping(Protocol):
    """The ledger's part in key upkeep. Every method raises AuditError where the database fails."""

    def rotate(self, claims: Claims, category: str) -> Admission:
        """Audit that the category's key is about to get a new version."""

    def state(self, claims: Claims) -> KeyState:
        """Live wraps by category and version; for any purpose that keeps keys."""

    def ranges(self, claims: Claims, category: str, newest: int, pieces: int) -> Cuts:
        """Where to cut the category's wraps of versions before `newest`."""

    def page(self, claims: Claims, category: str, newest: int, after: Bound, until: Bound | None, most: int) -> Page:
        """The next wraps of versions before `newest`, at most so many, beyond one place and up to another."""

    def rewrapped(
        self,
        connection: sa.Connection,
        claims: Claims,
        entry: str,
        category: str,
        changed: Sequence[tuple[HeldWrap, str]],
    ) -> Rewrapped:
        """In the caller's transaction: put new wraps in the places of a page's, each where the old one still stands."""

    def retire(self, claims: Claims, category: str, oldest: int) -> Retirement:
        """Take no wrap of a version before `oldest` any more, if no live one is left."""

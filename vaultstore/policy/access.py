"""The part of a policy that a key service can enforce: purpose -> category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["KeyAccess", "PurposeKeys"]


@dataclass(frozen=True, slots=True)
class PurposeKeys:
    """What one purpose may ask of a key service."""

    digest: str
    """The purpose's current digest: logins with another ``pol`` are refused."""
    unwrap: frozenset[str]
    """Categories it reads, over all models."""
    wrap: frozenset[str]
    """Categories it writes, with the projections of their fields."""
    hmac: frozenset[str]
    """Blind indexes of the fields it searches or writes."""
    rotate: frozenset[str] = frozenset()
    """Categories whose keys it adds versions to."""
    rewrap: frozenset[str] = frozenset()
    """Categories whose wraps it has wrapped anew, unseen, under the newest version."""
    retire: frozenset[str] = frozenset()
    """Categories whose old versions it lets the key service forget."""
    rotate_indexes: frozenset[str] = frozenset()
    """Blind indexes whose keys it adds versions to."""
    retire_indexes: frozenset[str] = frozenset()
    """Blind indexes whose old versions it lets the key service forget."""
    ttl: int | None = field(default=None, compare=False)
    """The longest life of a login in seconds, where the key service has such; `digest` already tells it apart."""

    @property
    def kept(self) -> frozenset[str]:
        """Categories whose versions it sees: those of which it keeps the keys in any way."""
        return self.rotate | self.rewrap | self.retire

    def rotated(self, kind: Literal["category", "index"]) -> frozenset[str]:
        """Keys of one kind that it adds versions to."""
        return self.rotate if kind == "category" else self.rotate_indexes

    def retired(self, kind: Literal["category", "index"]) -> frozenset[str]:
        """Keys of one kind whose old versions it lets the key service forget."""
        return self.retire if kind == "category" else self.retire_indexes

    def kept_of(self, kind: Literal["category", "index"]) -> frozenset[str]:
        """Keys of one kind whose versions it sees."""
        return self.kept if kind == "category" else self.rotate_indexes | self.retire_indexes


@dataclass(frozen=True, slots=True)
class KeyAccess:
    """Every purpose's rights, and every key that must exist."""

    issuer: str
    """``iss`` of login tokens."""
    categories: frozenset[str]
    indexes: tuple[str, ...]
    purposes: Mapping[str, PurposeKeys]

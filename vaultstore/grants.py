"""What a verified token stands for: who acts, for which purpose, until when, and what the policy lets them do."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from vaultstore.policy.model import Purpose

__all__ = ["Actor", "Grant", "Ticket"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a stable id, one role, and attributes that row scopes use (a store, a city).

    Build one by hand only in embedded use and tests; a service takes role and attributes from a verified
    identity assertion.
    """

    id: str
    role: str
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a strict database believes a token's claims by: a MAC over them that only it can make.

    `mac` is HMAC-SHA-256 in hex under the database's key `kid`; `logins` are those that may present it.
    """

    kid: str
    logins: tuple[str, ...]
    mac: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """A verified token together with the purpose it was issued for. It holds no token and no key."""

    jti: str
    actor: Actor
    purpose: Purpose
    digest: str
    """The token's ``pol`` claim: digest of the purpose's compiled closure."""
    issued_at: datetime
    expires_at: datetime
    subjects: tuple[uuid.UUID, ...] | None = None
    """The only subjects it may touch, or None where the purpose names none."""
    case: str | None = None
    ticket: Ticket | None = None
    """Where the store's database is strict; see docs/formats/tokens.md."""

    def __repr__(self) -> str:
        return f"<Grant {self.jti} {self.purpose.name} for {self.actor.role} {self.actor.id}>"

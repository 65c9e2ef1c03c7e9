"""The member store's services put together: what a web backend calls, each act with the caller's token."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TypeVar

from vaultstore import Store
from vaultstore.errors import UnsupportedOperation
from vaultstore.grants import Grant
from vaultstore.members.carriers import Carrier
from vaultstore.members.claims import Claims, LeadRules
from vaultstore.members.complaints import Complaints
from vaultstore.members.lookups import Lookup
from vaultstore.members.pools import Pools
from vaultstore.members.relay import ContactRules, Relay
from vaultstore.members.relay_worker import RelayWorker
from vaultstore.members.safety import Safety, blocked_among
from vaultstore.members.safety_rules import WarningPlan
from vaultstore.members.self_service import SelfService
from vaultstore.members.suppression import Suppressions, suppressed_among
from vaultstore.members.verification import Verification
from vaultstore.members.verification_limits import VerificationLimits

__all__ = ["Desks", "MemberServices"]

T = TypeVar("T")
Token = Callable[[], str]
Naming = Callable[[uuid.UUID], str]


@dataclass(frozen=True, slots=True)
class Desks:
    """Where a process gets tokens for what is written down beside its callers' own; None: it does not do that."""

    leads: Token | None = None
    """``sales.desk``"""
    relay: Token | None = None
    """``relay.desk``"""
    number: Naming | None = None
    """``relay.telephony``, naming the given member: for the relay's worker."""
    suppressions: Naming | None = None
    """``suppression.desk``, naming the given member."""


class MemberServices:
    """Services over one store. A process uses those whose purposes its login serves.

    `secret` (32 bytes or more) makes pseudonyms and the tags of attempts: keep it where the process's other secrets
    are, the same for all processes of one kind. A service whose desk was not given raises UnsupportedOperation.
    """

    safety: Safety
    verification: Verification

    def __init__(
        self,
        store: Store,
        *,
        secret: bytes,
        safety_desk: Callable[[], str],
        desks: Desks | None = None,
        leads: LeadRules | None = None,
        contacts: ContactRules | None = None,
        warnings: WarningPlan | None = None,
        limits: VerificationLimits | None = None,
        lookup: Lookup | None = None,
        lookup_token: Callable[[Grant, uuid.UUID], str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._desks, self._leads, self._contacts = store, desks or Desks(), leads, contacts
        self._clock = clock
        self.safety = Safety(store, safety_desk, secret=secret, plan=warnings, clock=clock)
        self.verification = Verification(
            store, secret=secret, limits=limits, lookup=lookup, lookup_token=lookup_token, clock=clock
        )

    def __repr__(self) -> str:
        return "<MemberServices>"

    @cached_property
    def claims(self) -> Claims:
        """The lead desk."""
        desk = _given(self._desks.leads, "leads")
        return Claims(self._store, desk, rules=self._leads, out=self._out, clock=self._clock)

    @cached_property
    def pools(self) -> Pools:
        """Pages of leads that are still to be claimed."""
        return Pools(self._store, self.claims.free, out=self._out)

    @cached_property
    def relay(self) -> Relay:
        """Calls and texts that are asked for."""
        return Relay(self._store, _given(self._desks.relay, "relay"), rules=self._contacts, clock=self._clock)

    def relay_worker(self, carrier: Carrier) -> RelayWorker:
        """Who sends them, by that carrier."""
        return RelayWorker(
            self._store,
            carrier,
            desk=_given(self._desks.relay, "relay"),
            number=_given(self._desks.number, "number"),
            rules=self._contacts,
            clock=self._clock,
        )

    @cached_property
    def suppressions(self) -> Suppressions:
        """Who is not to be contacted."""
        return Suppressions(self._store, _given(self._desks.suppressions, "suppressions"), closed=self.claims.close)

    @cached_property
    def complaints(self) -> Complaints:
        """Complaints, and what is overdue."""
        return Complaints(self._store, clock=self._clock)

    @cached_property
    def me(self) -> SelfService:
        """What members do about themselves."""
        return SelfService(self._store)

    def _out(self, members: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Who is in no pool: the suppressed, and the blocked."""
        with self._store.session(_given(self._desks.leads, "leads")()) as session:
            return suppressed_among(session, members) | blocked_among(session, members)


def _given(desk: T | None, name: str) -> T:
    if desk is None:
        raise UnsupportedOperation(f"this process was given no desk for that: MemberServices(desks=Desks({name}=...))")
    return desk

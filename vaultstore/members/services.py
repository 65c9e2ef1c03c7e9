"""The member store's services put together: what a web backend calls, each act with the caller's token."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from vaultstore import Store
from vaultstore.grants import Grant
from vaultstore.members.lookups import Lookup
from vaultstore.members.safety import Safety
from vaultstore.members.safety_rules import WarningPlan
from vaultstore.members.verification import Verification
from vaultstore.members.verification_limits import VerificationLimits

__all__ = ["MemberServices"]


class MemberServices:
    """Services over one store. A process builds those whose purposes its login serves.

    `secret` (32 bytes or more) makes pseudonyms and the tags of attempts: keep it where the process's other secrets
    are, the same for all processes of one kind.
    """

    safety: Safety
    verification: Verification

    def __init__(
        self,
        store: Store,
        *,
        secret: bytes,
        safety_desk: Callable[[], str],
        warnings: WarningPlan | None = None,
        limits: VerificationLimits | None = None,
        lookup: Lookup | None = None,
        lookup_token: Callable[[Grant, uuid.UUID], str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.safety = Safety(store, safety_desk, secret=secret, plan=warnings, clock=clock)
        self.verification = Verification(
            store, secret=secret, limits=limits, lookup=lookup, lookup_token=lookup_token, clock=clock
        )

    def __repr__(self) -> str:
        return "<MemberServices>"

"""Revocation of tokens, in force from the next step of the gate on."""

from __future__ import annotations

from datetime import datetime, timedelta

from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.journal import Journal, NoJournal
from vaultstore.lifecycle.records import Registry
from vaultstore.records import revocations
from vaultstore.tokens.verify import LEEWAY

__all__ = ["Revocations"]


class Revocations:
    """Revokes one token, or all that an actor holds."""

    def __init__(self, registry: Registry, journal: Journal | None = None) -> None:
        self._registry, self._journal = registry, journal or NoJournal()

    def __repr__(self) -> str:
        return "<Revocations>"

    def revoke(
        self,
        *,
        jti: str | None = None,
        actor: str | None = None,
        before: datetime | None = None,
        reason: str | None = None,
    ) -> None:
        """Revoke the token called `jti`, or what `actor` was issued until `before` (default: now), inclusive.

        A token's time of issue has whole seconds, so one that is issued in the very second of `before` is revoked too;
        by default all of the next 5 seconds are, since the issuer's clock may be ahead by as much.
        Raises UnsupportedOperation unless exactly one of `jti` and `actor` is given, and `before` is aware.
        """
        if (jti is None) == (actor is None) or (before is not None and (actor is None or before.tzinfo is None)):
            raise UnsupportedOperation("revoke a token by jti=, or an actor's tokens by actor= (and an aware before=)")
        now = self._registry.now
        with self._registry.gate() as connection:
            until = None if actor is None else before or now + timedelta(seconds=LEEWAY)
            revocations.add(connection, now, jti=jti, actor=actor, before=until, reason=reason)
            self._journal.append("revoke", connection=connection, jti=jti, actor=actor, before=until, at=now)

"""The open grants of one process: sessions of one token share a login and warm keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime

from vaultstore.errors import TokenInvalid
from vaultstore.gate.opened import OpenGrant
from vaultstore.grants import Grant

__all__ = ["HeldGrants"]


class HeldGrants:
    """Open grants by the id of their token, until they are over. Safe to use from several threads.

    Logins are given back outside the lock: a slow key service holds up nobody else's session.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, OpenGrant] = {}

    def __repr__(self) -> str:
        return f"<HeldGrants {len(self._held)}>"

    def __iter__(self) -> Iterator[OpenGrant]:
        with self._lock:
            return iter(list(self._held.values()))

    def get(self, grant: Grant, opening: Callable[[], OpenGrant]) -> OpenGrant:
        """The open grant of this token, opened where it is not. Raises TokenInvalid for two tokens of one id."""
        with self._lock:
            opened = self._held.get(grant.jti)
            if opened is not None and opened.grant != grant:
                raise TokenInvalid("another token of this id is in use: an id names one token")
            if opened is None:
                opened = self._held[grant.jti] = opening()
            return opened

    def end_expired(self, now: datetime) -> None:
        """Close what is over at `now`."""
        self._end(lambda grant: grant.expires_at <= now)

    def end_revoked(self, jti: str | None, actor: str | None, before: datetime | None) -> None:
        """Close the token `jti`, and what `actor` was issued until `before` (None: ever)."""
        self._end(
            lambda grant: (
                grant.jti == jti or (grant.actor.id == actor and (before is None or grant.issued_at <= before))
            )
        )

    def close(self) -> None:
        """Close all of them."""
        self._end(lambda grant: True)

    def _end(self, over: Callable[[Grant], bool]) -> None:
        with self._lock:
            ended = [self._held.pop(jti) for jti in [jti for jti, o in self._held.items() if over(o.grant)]]
        for opened in ended:
            opened.close()

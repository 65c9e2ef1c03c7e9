"""How often the real-name check may be tried, by member, by actor and by submitted number."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects import postgresql, sqlite

from vaultstore.errors import SettingsError
from vaultstore.members.models import VerificationCount
from vaultstore.orm import PurposeSession

__all__ = ["Attempts", "VerificationLimits", "Window", "upsert"]


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many attempts in a calendar window of UTC days."""

    most: int
    days: int


@dataclass(frozen=True, slots=True)
class VerificationLimits:
    """Attempts that are let through. A resident ID has four digits that can't be known: none of these tries many."""

    member: Sequence[Window] = (Window(5, 1), Window(10, 30))
    """Attempts on one member, whoever makes them."""
    actor: Sequence[Window] = (Window(60, 1),)
    """Attempts of one actor, on whomever."""
    number: Sequence[Window] = (Window(5, 1), Window(10, 30))
    """Attempts with one submitted ID number, on whomever."""


class Attempts:
    """Counts attempts, and commits before anything is looked up: no crash and no rollback takes one back.

    Each counter is a row that is raised in one statement, so that of attempts at the same time each gets a number of
    its own. Its key is an HMAC: neither member nor number stands anywhere.
    """

    def __init__(self, secret: bytes, limits: VerificationLimits) -> None:
        if len(secret) < 32:
            raise SettingsError("the secret of the real-name check takes at least 32 bytes")
        self._secret, self._limits = bytes(secret), limits

    def __repr__(self) -> str:
        return "<Attempts>"

    def count(
        self,
        begin: Callable[[], Any],
        now: datetime,
        *,
        member: str,
        actor: str,
        number: str,
    ) -> bool:
        """Count one attempt under all three, and whether every limit lets it through. `begin` commits at its end."""
        wanted: dict[str, tuple[int, datetime]] = {}
        for kind, value, windows in (
            ("member", member, self._limits.member),
            ("actor", actor, self._limits.actor),
            ("number", number, self._limits.number),
        ):
            for window in windows:
                place = now.astimezone(UTC).toordinal() // window.days
                tag = self._tag(kind, str(window.days), str(place), value)
                ends = datetime.fromordinal((place + 1) * window.days).replace(tzinfo=UTC)
                wanted[tag] = window.most, ends
        with begin() as session:
            # In the order of their keys: of attempts at the same time none waits for one that waits for it.
            used = {tag: _raise(session, tag, ends) for tag, (_, ends) in sorted(wanted.items())}
        return all(used[tag] <= most for tag, (most, _) in wanted.items())

    def sweep(self, begin: Callable[[], Any], now: datetime) -> int:
        """Delete counters whose window is over for a day; how many."""
        with begin() as session:
            done = session.execute(delete(VerificationCount).where(VerificationCount.ends_at < now - timedelta(days=1)))
        return int(done.rowcount)

    def _tag(self, *parts: str) -> str:
        message = b"\0".join([b"vaultstore/real-name/v1", *(part.encode() for part in parts)])
        return hmac.digest(self._secret, message, hashlib.sha256).hex()


def upsert(session: PurposeSession, model: type[Any]) -> Any:
    """An INSERT of the session's database that can take ON CONFLICT: one statement, so nobody comes between."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(model)


def _raise(session: PurposeSession, tag: str, ends_at: datetime) -> int:
    statement = upsert(session, VerificationCount).values(tag=tag, used=1, ends_at=ends_at)
    raised = statement.on_conflict_do_update(index_elements=["tag"], set_={"used": VerificationCount.used + 1})
    return int(session.execute(raised.returning(VerificationCount.used)).scalar_one())

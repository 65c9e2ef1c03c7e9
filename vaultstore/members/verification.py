"""The real-name check: yes or no, of a named member, in a way that can't be used to guess.

Name and number are compared as one, by a blind index: the number on file is not opened, and no answer says which of
them was wrong, or whether there is such a member. What tells a wrong number from a wrong name is nowhere to be read.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from vaultstore import Store, normalize
from vaultstore.errors import AccessDenied, BudgetExhausted
from vaultstore.grants import Grant
from vaultstore.members.identity_proof import identity_proof
from vaultstore.members.lookups import Lookup, LookupRequest, LookupUnavailable
from vaultstore.members.models import Member, VerifiedBadge
from vaultstore.members.verification_limits import Attempts, VerificationLimits, upsert

__all__ = ["Badge", "Verification", "Verified"]

PURPOSE = "identity.verification"
LOOKUP = "identity.lookup"

_NOBODYS = "\0"
"""In no proof: what is searched where what was submitted can't be anybody's."""


@dataclass(frozen=True, slots=True)
class Badge:
    """Since when a member is known to be who they say."""

    member: uuid.UUID
    verified_at: datetime


@dataclass(frozen=True, slots=True)
class Verified:
    """The answer. `badge` is there with a match, and nothing else is ever said."""

    matched: bool
    badge: Badge | None = None

    @property
    def text(self) -> str:
        """The same for every mismatch."""
        return "confirmed" if self.matched else "not confirmed"


class Verification:
    """The real-name check.

    `secret` (32 bytes or more) makes the tags under which attempts are counted. With a `lookup`, a match is confirmed
    by a third party too: `lookup_token` gives a token of ``identity.lookup`` for the given actor and member, and takes
    the member's consent of kind ``realname``. Then "not confirmed" also means: no consent, or no answer.
    """

    def __init__(
        self,
        store: Store,
        *,
        secret: bytes,
        limits: VerificationLimits | None = None,
        lookup: Lookup | None = None,
        lookup_token: Callable[[Grant, uuid.UUID], str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._lookup, self._lookup_token = store, lookup, lookup_token
        self._attempts = Attempts(secret, limits or VerificationLimits())
        self._clock, self._timer, self._sleep = clock, timer, sleep

    def __repr__(self) -> str:
        return "<Verification>"

    def check(self, token: str, member: uuid.UUID, id_number: str, name: str) -> Verified:
        """Whether this is the member's name and ID number. `token` is of ``identity.verification``.

        The attempt is counted and committed first, for the member, the actor and the number, whether or not there is
        such a member or number. Every mismatch takes the same steps: one count, one search, and where there is a lookup
        the same time. Raises BudgetExhausted (``attempts.exhausted``; ``budget.exhausted`` from the gate), AccessDenied
        (``not.granted``).
        """
        started = self._timer()
        grant = self._granted(token)
        proof = _proof(name, id_number)
        now = self._clock()
        number = proof.partition(" ")[0] if proof != _NOBODYS else id_number.strip()[:64]
        if not self._attempts.count(
            lambda: self._store.begin(token), now, member=member.hex, actor=grant.actor.id, number=number
        ):
            raise BudgetExhausted("too many attempts: try again later", reason="attempts.exhausted")
        consented = self._lookup is None or self._consented(grant, member)
        query = select(Member.id).where(Member.id == member, Member.identity_proof == proof)
        with self._store.session(token) as session:
            matched = session.scalars(query).one_or_none() is not None
        if matched and consented and self._confirmed(name, proof):
            return Verified(True, self._award(token, member, now))
        if self._lookup is not None:  # who was right but for the third party must not be told by how long it took
            self._sleep(max(0.0, self._lookup.timeout - (self._timer() - started)))
        return Verified(False)

    def badge(self, token: str, member: uuid.UUID) -> Badge | None:
        """A member's badge, for a purpose that lists it (``identity.verification``, ``member.self``)."""
        with self._store.session(token) as session:
            found = session.get(VerifiedBadge, member)
            return Badge(found.member_id, found.verified_at) if found is not None else None

    def withdraw(self, token: str, member: uuid.UUID) -> bool:
        """Take a badge back, after a name or number was corrected; whether there was one."""
        self._granted(token)
        with self._store.begin(token) as session:
            found = session.get(VerifiedBadge, member)
            if found is None:
                return False
            session.delete(found)
        return True

    def sweep(self, token: str) -> int:
        """Delete counters of windows that are over; how many."""
        self._granted(token)
        return self._attempts.sweep(lambda: self._store.begin(token), self._clock())

    def _granted(self, token: str) -> Grant:
        grant = self._store.verify(token)
        if grant.purpose.name != PURPOSE:
            raise AccessDenied(f"this takes a token of {PURPOSE}, not of {grant.purpose.name}", reason="not.granted")
        return grant

    def _consented(self, grant: Grant, member: uuid.UUID) -> bool:
        """Have the gate see to the member's consent, and count that their data goes out."""
        if self._lookup_token is None:
            return False
        try:
            asking = self._store.verify(self._lookup_token(grant, member))
            self._store.gate.charge(asking, "contact", "Member", member.bytes)
        except AccessDenied:
            return False
        return True

    def _confirmed(self, name: str, proof: str) -> bool:
        if self._lookup is None:
            return True
        request = LookupRequest(str(uuid.uuid4()), name.strip(), proof.partition(" ")[0])
        try:
            return self._lookup.confirms(request)
        except LookupUnavailable:
            return False

    def _award(self, token: str, member: uuid.UUID, now: datetime) -> Badge:
        with self._store.begin(token) as session:
            statement = upsert(session, VerifiedBadge).values(member_id=member, verified_at=now)
            session.execute(statement.on_conflict_do_update(index_elements=["member_id"], set_={"verified_at": now}))
        return Badge(member, now)


def _proof(name: str, id_number: str) -> str:
    """What is searched; something that nobody has where this can't be a name and a number."""
    try:
        return identity_proof(name, id_number) or _NOBODYS
    except normalize.NotNormalizable:
        return _NOBODYS

"""Issues client tokens: binds an actor to a purpose where the policy lets them have it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NoReturn

from uuid_utils.compat import uuid7

from vaultstore.canonical import canonical_json
from vaultstore.errors import IssueDenied, KeyServiceRefused, PolicyError, TokenInvalid
from vaultstore.grants import Actor, Grant, Ticket
from vaultstore.keys.protocols import Signer
from vaultstore.policy.model import Purpose
from vaultstore.tokens.claims import AUDIENCE, MAX_SUBJECTS, TYPE, Purposes, grant_of, own_subject, read_claims
from vaultstore.tokens.compact import MAX_TOKEN_SIZE, parse_object
from vaultstore.tokens.exchange import login_token
from vaultstore.tokens.signing import TokenSigner

__all__ = ["Issuer", "Ticketer"]

Ticketer = Callable[[Grant], Ticket]
"""Gives the ticket of a grant that has none. Raises KeyServiceError where the database can't make it."""


class Issuer:
    """Signs client tokens, and the login tokens that they are exchanged for. Safe to use from several threads.

    Who holds one can act as anybody: it belongs in the process that has verified the actor's identity. `ticketer`
    has a strict database MAC what a token will grant; it is asked with the very grant that a verifier will read.
    """

    def __init__(
        self,
        keys: Signer,
        policy: Purposes,
        issuer_name: str,
        clock: Callable[[], datetime],
        ticketer: Ticketer | None = None,
    ) -> None:
        self._signer, self._policy, self._issuer, self._clock = TokenSigner(keys), policy, issuer_name, clock
        self._ticketer = ticketer

    def __repr__(self) -> str:
        return f"<Issuer {self._issuer}>"

    def issue(
        self,
        actor: Actor,
        purpose: str,
        subjects: Iterable[uuid.UUID] | None = None,
        case: str | None = None,
        ttl: timedelta | None = None,
        *,
        act: str | None = None,
    ) -> str:
        """A client token that binds `actor` to `purpose`, a JWT of at most 8 KiB.

        `subjects` narrows it to these (None: whomever the purpose allows), `case` is the id of a case, `ttl` is cut
        to whole seconds and defaults to the purpose's, `act` names the service that asks for the actor. Raises
        IssueDenied, saying what the policy would allow, and KeyServiceError where it can't be signed.
        """
        allowed = self._purpose(actor, purpose)
        named = _subjects(actor, allowed, None if subjects is None else tuple(subjects))
        if allowed.requires.case and case is None:
            raise IssueDenied(f"a token for {purpose} must name a case")
        now = math.floor(self._clock().timestamp())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": actor.id,
            "iat": now,
            "nbf": now,
            "exp": now + _seconds(allowed, ttl),
            "jti": str(uuid7()),
            "purpose": purpose,
            "role": actor.role,
            "pol": self._policy.digest(purpose),
            "attrs": dict(actor.attributes),
        }
        if named is not None:
            claims["subjects"] = [str(subject) for subject in named]
        if case is not None:
            claims["case"] = case
        if act is not None:
            claims["act"] = {"sub": act}
        try:
            read_claims(claims)  # what we sign, we accept
        except TokenInvalid as flaw:
            raise IssueDenied(f"such a token would be refused: {flaw}") from None
        if self._ticketer is not None:
            claims["ticket"] = _ticket(self._ticketer, claims, allowed)
        token = self._signer.sign(TYPE, claims)
        if len(token) > MAX_TOKEN_SIZE:
            raise IssueDenied(f"the token would be longer than {MAX_TOKEN_SIZE} characters: name fewer subjects")
        return token

    def exchange(self, grant: Grant) -> str:
        """The login token that opens the key service for `grant`: at most 60 s, never past the grant's own end.

        Raises TokenExpired where the grant is over, and KeyServiceError where it can't be signed.
        """
        return login_token(self._signer, self._issuer, grant, self._clock())

    def _purpose(self, actor: Actor, name: str) -> Purpose:
        try:
            purpose = self._policy.purpose(name)
        except PolicyError as unknown:
            self._deny(actor, unknown.reason)
        if actor.role not in purpose.roles:
            roles = ", ".join(sorted(purpose.roles)) or "none"
            self._deny(actor, f"role {actor.role!r} may not act for {name} (its roles: {roles})")
        return purpose

    def _deny(self, actor: Actor, reason: str) -> NoReturn:
        open_to = sorted(name for name, other in self._policy.purposes.items() if actor.role in other.roles)
        hint = f"open to {actor.role!r}: {', '.join(open_to)}" if open_to else f"nothing is open to {actor.role!r}"
        raise IssueDenied(f"{reason}; {hint}")


def _subjects(actor: Actor, purpose: Purpose, subjects: tuple[uuid.UUID, ...] | None) -> tuple[uuid.UUID, ...] | None:
    if subjects is not None:
        if not all(isinstance(subject, uuid.UUID) for subject in subjects):
            raise IssueDenied("subjects are UUIDs")
        subjects = tuple(dict.fromkeys(subjects))
        if not subjects:
            raise IssueDenied("an empty list of subjects opens nothing: name some, or leave it out")
        if len(subjects) > MAX_SUBJECTS:
            raise IssueDenied(f"a token names at most {MAX_SUBJECTS} subjects, not {len(subjects)}")
    if purpose.requires.subjects == "self":
        own = own_subject(actor.id)
        if own is None:
            raise IssueDenied(f"{purpose.name} is for members themselves: the actor's id must be their subject, a UUID")
        if subjects not in (None, own):
            raise IssueDenied(f"a token for {purpose.name} names its actor as the only subject")
        return own
    if purpose.requires.subjects == "named" and subjects is None:
        raise IssueDenied(f"a token for {purpose.name} must name its subjects")
    return subjects


def _ticket(ticketer: Ticketer, claims: dict[str, Any], purpose: Purpose) -> dict[str, Any]:
    """The claim ``ticket``: made over the grant as the signed bytes give it, down to the order of attributes."""
    made = ticketer(grant_of(read_claims(parse_object(canonical_json(claims), "payload")), purpose))
    claim = {"kid": made.kid, "logins": list(made.logins), "mac": made.mac}
    try:
        read_claims({**claims, "ticket": claim})
    except TokenInvalid as flaw:
        raise KeyServiceRefused(f"the database made a ticket that would be refused: {flaw}") from None
    return claim


def _seconds(purpose: Purpose, ttl: timedelta | None) -> int:
    longest = math.floor(purpose.ttl.total_seconds())
    seconds = longest if ttl is None else math.floor(ttl.total_seconds())
    if not 1 <= seconds <= longest:
        raise IssueDenied(f"a token for {purpose.name} runs for 1 to {longest} seconds, not {seconds}")
    return seconds

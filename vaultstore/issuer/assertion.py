"""Identity assertions: an OIDC ID token, or another JWT of the provider, that says who is acting (RFC 7523, section 3).

An assertion may be presented again while it lasts. A person who works under three purposes gets three tokens with one
sign-in, each bound to its purpose and signed under the same policy, so a second one gives nothing that the first did
not; and one-time use would need a memory that every issuer shares and that outlives a restart. What bounds a stolen
one is its audience (the issuer alone), its age, and that only a known service can present it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt

from vaultstore.errors import TokenExpired, TokenInvalid
from vaultstore.grants import Actor
from vaultstore.issuer.provider import ALGORITHMS, ProviderKeys
from vaultstore.tokens import compact

__all__ = ["DEFAULT_ALGORITHMS", "MAX_ASSERTION_SIZE", "AssertionRules", "AssertionVerifier"]

MAX_ASSERTION_SIZE = 16 * 1024
"""Characters; longer assertions are refused unread."""

DEFAULT_ALGORITHMS = ("EdDSA", "ES256", "PS256", "RS256")

LEEWAY = 5
"""Seconds by which the provider's clock may be ahead of ours (`iat`, `nbf`). An expiry gets none."""

Path = tuple[str, ...]
"""Names that lead to a claim: ``("realm_access", "roles")``."""

_TYPES = (None, "JWT")
_LONGEST_TIME = 253_402_300_800  # the year 10000


@dataclass(frozen=True, slots=True)
class AssertionRules:
    """What an assertion must say, and where it says who is acting."""

    issuer: str
    audience: str
    """The issuer's own name at the provider; an assertion for anybody besides is refused."""
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    subject: Path = ("sub",)
    """The claim that becomes the actor's id."""
    role: Path = ("role",)
    """The claim that holds the actor's role, or a list of them."""
    attributes: Mapping[str, Path] = field(default_factory=dict)
    """Attribute -> claim."""
    max_age: timedelta = timedelta(hours=1)
    """How long after its `iat` an assertion is taken, whatever its `exp`."""


class AssertionVerifier:
    """Turns an assertion into the actor it speaks of. Safe to use from several threads."""

    def __init__(self, rules: AssertionRules, keys: ProviderKeys, clock: Callable[[], datetime]) -> None:
        self._rules, self._keys, self._clock = rules, keys, clock
        self._jws = jwt.PyJWS(algorithms=list(rules.algorithms))

    def __repr__(self) -> str:
        return f"<AssertionVerifier of {self._rules.issuer}>"

    def verify(self, assertion: object, role: str | None = None) -> Actor:
        """Who acts, in the one role that the assertion gives or, of several, the one that is named.

        The signature is checked before any claim is read. Raises TokenExpired where its time is over or has not
        begun, TokenInvalid for every other flaw, and KeyServiceUnavailable where the provider's keys can't be had.
        """
        claims = compact.parse_object(self._signed_payload(assertion), "payload")
        rules = self._rules
        if claims.get("iss") != rules.issuer:
            raise TokenInvalid("the assertion comes from another issuer")
        # Whoever else an assertion is for could present it here in the person's name.
        if claims.get("aud") not in (rules.audience, [rules.audience]):
            raise TokenInvalid("the assertion is meant for another audience, or for several")
        if "events" in claims:
            raise TokenInvalid("a logout or security event is no assertion")  # OIDC Back-Channel Logout, section 2.4
        self._check_times(claims)
        if not isinstance(claims.get("sub"), str):
            raise TokenInvalid("the assertion lacks a 'sub'")
        return Actor(
            _text(_at(claims, rules.subject), rules.subject),
            _role(_at(claims, rules.role), rules.role, role),
            {
                name: _text(value, path)
                for name, path in rules.attributes.items()
                if (value := _at(claims, path)) is not None
            },
        )

    def _signed_payload(self, assertion: object) -> bytes:
        try:
            parts = compact.split(assertion, MAX_ASSERTION_SIZE)
        except TokenInvalid as flaw:
            raise TokenInvalid(f"the assertion is refused: {flaw}") from None
        algorithm, key_id = parts.header.get("alg"), parts.header.get("kid")
        if algorithm not in self._rules.algorithms or algorithm not in ALGORITHMS:
            raise TokenInvalid("the assertion's algorithm is not one of those allowed")
        if parts.header.get("typ") not in _TYPES:  # logout+jwt, at+jwt, secevent+jwt: the same key signs other things
            raise TokenInvalid("the assertion's type is not JWT")
        if "crit" in parts.header or "b64" in parts.header:
            raise TokenInvalid("the assertion's header demands what is not known here")
        if key_id is not None and not isinstance(key_id, str):
            raise TokenInvalid("the assertion's 'kid' is no text")
        key = self._keys.find(algorithm, key_id)
        if key is None:
            raise TokenInvalid("the assertion is signed by a key that the provider does not publish")
        try:
            payload: Any = self._jws.decode(str(assertion), key, algorithms=[algorithm])
        except jwt.PyJWTError:
            raise TokenInvalid("the assertion's signature does not verify") from None
        return bytes(payload)

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        issued, ends, begins = (_time(claims, name) for name in ("iat", "exp", "nbf"))
        if issued is None or ends is None:
            raise TokenInvalid("the assertion lacks 'iat' or 'exp'")
        if issued > now + LEEWAY:
            raise TokenInvalid("the assertion was issued in the future")
        if begins is not None and begins > now + LEEWAY:
            raise TokenExpired("the assertion's time has not begun")
        if now >= ends:
            raise TokenExpired("the assertion has expired")
        if now - issued > self._rules.max_age.total_seconds():
            raise TokenExpired("the assertion is older than is allowed: sign in again")


def _at(claims: Mapping[str, Any], path: Path) -> Any:
    found: Any = claims
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _text(value: object, path: Path) -> str:
    if not isinstance(value, str) or not value:
        raise TokenInvalid(f"the assertion's {'.'.join(path)!r} is missing or no text")
    return value


def _role(value: object, path: Path, wanted: str | None) -> str:
    held = [value] if isinstance(value, str) else value
    if not isinstance(held, list) or not held or not all(isinstance(role, str) and role for role in held):
        raise TokenInvalid(f"the assertion's {'.'.join(path)!r} holds no role")
    if wanted is None:
        if len(held) > 1:
            raise TokenInvalid("the assertion holds several roles: name the one to act in")
        return str(held[0])
    if wanted not in held:
        raise TokenInvalid("the assertion does not hold the role that was named")
    return wanted


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LONGEST_TIME:
        raise TokenInvalid(f"the assertion's {name!r} is no time")
    return float(value)

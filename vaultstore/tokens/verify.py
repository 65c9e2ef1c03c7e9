"""Verifies client tokens: from a string that anyone may have sent to a grant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jwt

from vaultstore.errors import PolicyError, TokenExpired, TokenInvalid
from vaultstore.grants import Grant
from vaultstore.policy.model import Purpose
from vaultstore.tokens import compact
from vaultstore.tokens.claims import ALGORITHM, TYPE, Claims, Purposes, grant_of, own_subject, read_claims
from vaultstore.tokens.keyset import KeySet, PublicKeySource

__all__ = ["LEEWAY", "Verifier"]

LEEWAY = 5
"""Seconds by which the issuer's clock may be ahead of ours (`iat`, `nbf`). An expiry gets none."""

_HEADER = frozenset({"alg", "kid", "typ"})


class Verifier:
    """Verifies client tokens against the public keys and one policy. Safe to use from several threads.

    `public_keys` gives key id -> raw Ed25519 key (32 bytes); `clock` gives an aware time. Revocation is not looked at
    here: the gate checks it at each disclosure.
    """

    def __init__(
        self, public_keys: PublicKeySource, policy: Purposes, issuer_name: str, clock: Callable[[], datetime]
    ) -> None:
        self._keys, self._policy, self._issuer, self._clock = KeySet(public_keys, clock), policy, issuer_name, clock
        self._jws = jwt.PyJWS(algorithms=[ALGORITHM])

    def __repr__(self) -> str:
        return f"<Verifier of {self._issuer}>"

    def verify(self, token: object) -> Grant:
        """What `token` grants.

        The signature is checked before any claim is read. Raises TokenExpired where its time is over or has not
        begun, TokenInvalid for every other flaw, and KeyServiceError where the public keys can't be read.
        """
        claims = read_claims(compact.parse_object(self._signed_payload(token), "payload"))
        if claims.iss != self._issuer:
            raise TokenInvalid("the token comes from another issuer")
        purpose = self._purpose(claims)
        self._check_times(claims, purpose)
        return grant_of(claims, purpose)

    def _signed_payload(self, token: object) -> bytes:
        parts = compact.split(token)
        key = self._keys.find(_key_id(parts.header))
        if key is None:
            raise TokenInvalid("the token is signed by a key that is not known")
        try:
            payload: Any = self._jws.decode(str(token), key, algorithms=[ALGORITHM])
        except jwt.PyJWTError:
            raise TokenInvalid("the token's signature does not verify") from None
        return bytes(payload)

    def _purpose(self, claims: Claims) -> Purpose:
        try:
            purpose = self._policy.purpose(claims.purpose)
        except PolicyError:
            raise TokenInvalid("the token is for a purpose that is not in the policy") from None
        if claims.pol != self._policy.digest(purpose.name):
            raise TokenInvalid(f"purpose {purpose.name} has changed since the token was issued: a new token is needed")
        if claims.role not in purpose.roles:
            raise TokenInvalid(f"the token's role is not one of those of {purpose.name}")
        if purpose.requires.subjects == "named" and claims.subjects is None:
            raise TokenInvalid(f"a token for {purpose.name} names its subjects; this one names none")
        if purpose.requires.subjects == "self" and claims.subjects != own_subject(claims.sub):
            raise TokenInvalid(f"a token for {purpose.name} names its actor as the only subject; this one does not")
        if purpose.requires.case and claims.case is None:
            raise TokenInvalid(f"a token for {purpose.name} names a case; this one names none")
        return purpose

    def _check_times(self, claims: Claims, purpose: Purpose) -> None:
        now = self._clock().timestamp()
        if not claims.iat <= claims.nbf < claims.exp:
            raise TokenInvalid("the token's times contradict each other")
        if claims.exp - claims.iat > purpose.ttl.total_seconds():
            raise TokenInvalid(f"the token runs for longer than {purpose.name} allows")
        if claims.iat > now + LEEWAY:
            raise TokenInvalid("the token was issued in the future")
        if now >= claims.exp:
            raise TokenExpired("the token has expired")
        if claims.nbf > now + LEEWAY:
            raise TokenExpired("the token's time has not begun")


def _key_id(header: Mapping[str, Any]) -> str:
    """The header's ``kid``, once the header is exactly the one our tokens have."""
    if header.get("alg") != ALGORITHM:
        raise TokenInvalid(f"the token's algorithm is not {ALGORITHM}")
    if header.get("typ") != TYPE:
        raise TokenInvalid(f"the token's type is not {TYPE}")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not key_id:
        raise TokenInvalid("the token names no key")
    if header.keys() - _HEADER:  # crit, jku, jwk, x5u, b64 ...: none of them may say how to verify
        raise TokenInvalid("the token's header has more than alg, kid and typ")
    return key_id

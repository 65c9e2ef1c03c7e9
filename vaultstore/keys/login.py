"""Login tokens: the short JWT (RFC 7519, EdDSA as in RFC 8037) that a key service exchanges for a purpose's rights."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vaultstore.errors import KeyServiceRefused
from vaultstore.policy.access import KeyAccess, PurposeKeys

__all__ = [
    "AUDIENCE",
    "AUDIT_KEY",
    "MAX_LIFETIME",
    "SIGNING_KEYS",
    "TOKEN_KEY",
    "LoginEnded",
    "check_login",
    "claimed_purpose",
]

AUDIENCE = "vault"
MAX_LIFETIME = 60
"""Seconds between ``iat`` and ``exp``, at most."""
TOKEN_KEY = "tokens"  # noqa: S105 - the name of the key that signs tokens
AUDIT_KEY = "audit"
"""Name of the key that signs checkpoints of the log."""
SIGNING_KEYS = (AUDIT_KEY, TOKEN_KEY)
_MAX_BYTES = 8192


class LoginEnded(KeyServiceRefused):
    """This login is over (expired, revoked or closed): a new one may be allowed."""


def claimed_purpose(login_token: str) -> str:
    """The purpose that a login token claims, unverified: it only picks the role that will verify it.

    Raises KeyServiceRefused where the token has no readable one.
    """
    try:
        if len(login_token) <= _MAX_BYTES:
            body = login_token.split(".")[1]
            purpose = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["purpose"]
            if isinstance(purpose, str) and purpose:
                return purpose
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise KeyServiceRefused("this is not a login token")


def check_login(
    login_token: str, *, public_keys: Mapping[str, bytes], access: KeyAccess, now: datetime
) -> tuple[str, PurposeKeys]:
    """Verify a login token as Vault's JWT roles do: the purpose and its rights.

    `public_keys` are key id -> raw Ed25519 key, `now` is aware. Raises KeyServiceRefused, without the token.
    """
    reason, claims = _verified(login_token, public_keys, access.issuer)
    if claims is None:
        raise KeyServiceRefused(f"login refused: {reason}")
    issued, not_before, expires = (claims[name] for name in ("iat", "nbf", "exp"))
    # JSON of Python takes NaN, which no comparison below would refuse.
    if not all(type(moment) in (int, float) and math.isfinite(moment) for moment in (issued, not_before, expires)):
        raise KeyServiceRefused("login refused: its times are not numbers")
    moment = now.timestamp()
    if moment >= expires:
        raise KeyServiceRefused("login refused: the login token has expired")
    if moment < not_before or expires - issued > MAX_LIFETIME:
        raise KeyServiceRefused("login refused: the login token is not valid yet, or for too long")
    purpose = claims["purpose"]
    rights = access.purposes.get(purpose) if isinstance(purpose, str) else None
    if rights is None:
        raise KeyServiceRefused("login refused: the purpose is unknown here")
    if claims["pol"] != rights.digest:
        raise KeyServiceRefused(f"login refused: the purpose {purpose} has changed since the token was made")
    return purpose, rights


def _verified(login_token: str, public_keys: Mapping[str, bytes], issuer: str) -> tuple[str, dict[str, Any] | None]:
    """Claims of a token whose signature, audience and issuer hold; else the reason. It lets no exception out."""
    if len(login_token) > _MAX_BYTES:
        return "the login token is too long", None
    try:
        header = jwt.get_unverified_header(login_token)
        raw = public_keys.get(header.get("kid", ""))
        if raw is None or header.get("typ") != "JWT":
            return "the login token is not of this issuer", None
        claims: dict[str, Any] = jwt.decode(
            login_token,
            Ed25519PublicKey.from_public_bytes(raw),
            algorithms=["EdDSA"],
            audience=AUDIENCE,
            issuer=issuer,
            options={
                "require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "purpose", "pol"],
                "strict_aud": True,
                # Times are checked by the caller, against its own clock and with no leeway.
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return "the login token is forged, malformed or not for a key service", None
    return "", claims

"""The login token: what a service that holds a client token logs in to the key service with.

It is a second JWT with another type and audience, so that neither passes for the other, and it lives for a minute.
Key services check it by themselves (Vault: ``auth/jwt``), against the purpose and digest they were provisioned with.
"""

from __future__ import annotations

import math
from datetime import datetime

from vaultstore.errors import TokenExpired
from vaultstore.grants import Grant
from vaultstore.tokens.claims import LOGIN_AUDIENCE, LOGIN_TYPE
from vaultstore.tokens.signing import TokenSigner

__all__ = ["LOGIN_LIFE", "login_token"]

LOGIN_LIFE = 60
"""Seconds from a login token's ``iat`` to its ``exp``, at most."""

_BACKDATED = 5
"""Seconds: Vault is set to no leeway, so a token dated now is refused by a Vault whose clock is a moment behind."""


def login_token(signer: TokenSigner, issuer_name: str, grant: Grant, now: datetime) -> str:
    """Sign the login token of `grant`. Raises TokenExpired where the grant is over at `now`."""
    if now >= grant.expires_at:
        raise TokenExpired("the token has expired")
    issued = math.floor(now.timestamp()) - _BACKDATED
    claims = {
        "iss": issuer_name,
        "aud": LOGIN_AUDIENCE,
        "sub": grant.actor.id,
        "iat": issued,
        "nbf": issued,
        "exp": min(issued + LOGIN_LIFE, math.floor(grant.expires_at.timestamp())),
        "jti": grant.jti,
        "purpose": grant.purpose.name,
        "role": grant.actor.role,
        "pol": grant.digest,
    }
    return signer.sign(LOGIN_TYPE, claims)

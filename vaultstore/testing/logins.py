"""Login tokens as the token issuer makes them, for tests that talk to a key service without a store."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

from vaultstore.keys.protocols import Signer
from vaultstore.policy.access import KeyAccess

__all__ = ["login_token"]


def login_token(
    keys: Signer,
    access: KeyAccess,
    purpose: str,
    /,
    *,
    now: float | None = None,
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A login token for `purpose`, valid for 60 seconds from `now` (POSIX seconds).

    `header` and `claims` replace or add what a test wants to be wrong; a claim given as None is left out.
    """
    issued = int(time.time() if now is None else now)
    newest = max(keys.public_keys("tokens"), key=lambda key_id: int(key_id.rpartition(":")[2]))
    rights = access.purposes.get(purpose)
    payload = {
        "iss": access.issuer,
        "aud": "vault",
        "sub": "u-17",
        "role": "matchmaker",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 60,
        "jti": str(uuid.uuid4()),
        "purpose": purpose,
        "pol": "" if rights is None else rights.digest,
        **claims,
    }
    parts = [
        {"alg": "EdDSA", "typ": "JWT", "kid": newest, **(header or {})},
        {name: value for name, value in payload.items() if value is not None},
    ]
    signed = ".".join(_segment(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{signed}.{_segment(keys.sign('tokens', signed.encode()).value)}"


def _segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

"""Signs a header and claims with the newest version of the token key."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from vaultstore.errors import KeyServiceRefused
from vaultstore.keys.protocols import Signer
from vaultstore.tokens.claims import ALGORITHM, SIGNING_KEY
from vaultstore.tokens.compact import b64url, signing_input

__all__ = ["TokenSigner"]

_ATTEMPTS = 3


class TokenSigner:
    """Makes compact JWS. Safe to use from several threads.

    The header names the key's version, which a key service tells only with the signature. So the last known version
    is written, and the signing repeated where the service has meanwhile moved on: once after start or rotation.
    """

    def __init__(self, keys: Signer) -> None:
        self._keys = keys
        self._key_id = f"{SIGNING_KEY}:1"
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return "<TokenSigner>"

    def sign(self, kind: str, claims: Mapping[str, Any]) -> str:
        """Sign `claims` as a token whose ``typ`` is `kind`. Raises KeyServiceError."""
        with self._lock:
            key_id = self._key_id
        for _ in range(_ATTEMPTS):
            content = signing_input({"alg": ALGORITHM, "kid": key_id, "typ": kind}, claims)
            signature = self._keys.sign(SIGNING_KEY, content)
            if signature.key_id == key_id:
                with self._lock:
                    self._key_id = key_id
                return f"{content.decode()}.{b64url(signature.value)}"
            key_id = signature.key_id
        raise KeyServiceRefused("the key service signed with a different key version each time")

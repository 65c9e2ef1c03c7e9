"""The public keys that tokens are verified with, read from a key service or a JWKS and kept for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vaultstore.errors import KeyServiceRefused

__all__ = ["KeySet"]

PublicKeySource = Callable[[], Mapping[str, bytes]]
"""Gives key id -> raw Ed25519 public key (32 bytes, RFC 8032)."""


class KeySet:
    """Looks public keys up by id. Safe to use from several threads.

    Keys are kept for `keep`, so that one withdrawn from the source stops verifying; an unknown id makes it look
    again, but at most once in `pause`, so that made-up ids don't become a load on the key service.
    """

    def __init__(
        self,
        source: PublicKeySource,
        clock: Callable[[], datetime],
        *,
        keep: timedelta = timedelta(minutes=5),
        pause: timedelta = timedelta(seconds=10),
    ) -> None:
        self._source, self._clock, self._keep, self._pause = source, clock, keep, pause
        self._keys: Mapping[str, Ed25519PublicKey] = {}
        self._read_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<KeySet of {len(self._keys)}>"

    def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key called `key_id`, or None. Raises KeyServiceError where the keys can't be read."""
        now = self._clock()
        keys = self._keys
        if key_id in keys and _within(self._read_at, now, self._keep):
            return keys[key_id]
        with self._lock:
            fresh = _within(self._read_at, now, self._keep)
            if not fresh or (key_id not in self._keys and not _within(self._tried_at, now, self._pause)):
                self._tried_at = now
                self._keys = {name: _public_key(name, raw) for name, raw in self._source().items()}
                self._read_at = now
            return self._keys.get(key_id)


def _within(then: datetime | None, now: datetime, span: timedelta) -> bool:
    # A clock that was set back makes `then` the future: look again rather than trust it for long.
    return then is not None and timedelta(0) <= now - then < span


def _public_key(name: str, raw: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise KeyServiceRefused(f"public key {name} is not an Ed25519 key of 32 bytes") from None

"""The identity provider's public keys: which of them may verify a signature of which algorithm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from vaultstore.errors import KeyServiceError, KeyServiceUnavailable, SettingsError
from vaultstore.tokens.jwks import GRACE, PAUSE, file_source, jwks_entries, url_source

__all__ = ["ALGORITHMS", "KEEP", "ProviderKeys"]

_RSA = ("RSA", None)
ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "PS256": _RSA,
    "PS384": _RSA,
    "PS512": _RSA,
    "RS256": _RSA,
    "RS384": _RSA,
    "RS512": _RSA,
}
"""Signature algorithm -> kty and crv of its keys (RFC 7518, RFC 8037). None of them is a MAC."""

KEEP = 300.0
"""Seconds that keys are used before they are read again."""
_MIN_RSA_BITS = 2048


class ProviderKeys:
    """Finds the key that a header names. Safe to use from several threads.

    `fetch` gives the bytes of a JWKS; it is asked when keys are older than `KEEP` or an id is not known, the latter
    at most every `PAUSE` seconds. While it fails, the last keys are used for `GRACE` seconds.
    """

    def __init__(self, name: str, fetch: Callable[[], bytes], seconds: Callable[[], float] = time.monotonic) -> None:
        self._name, self._fetch, self._seconds = name, fetch, seconds
        self._entries: list[dict[str, Any]] = []
        self._read_at = self._tried_at = float("-inf")
        self._failure = ""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<ProviderKeys {self._name}>"

    @classmethod
    def of(cls, place: str, ca: str = "") -> ProviderKeys:
        """Keys of the JWKS at `place`, a path, or a URL whose server `ca` vouches for (the system's CAs without it).

        Raises SettingsError where the file is no JWKS of public keys, or the URL can't be used. A URL is not asked yet.
        """
        if place.startswith(("https:", "http:", "unix:")):
            return cls(place, url_source(place, ca))
        fetch = file_source(Path(place))
        jwks_entries(fetch(), place)
        return cls(place, fetch)

    def find(self, algorithm: str, key_id: str | None) -> Any | None:
        """The public key for `algorithm` called `key_id`, or None.

        Without an id there must be just one for that algorithm. Raises KeyServiceUnavailable where the keys can't be
        read.
        """
        with self._lock:
            now = self._seconds()
            if now - self._read_at >= KEEP and now - self._tried_at >= PAUSE:
                self._read(now)
            found = self._candidates(algorithm, key_id)
            if not found and now - self._tried_at >= PAUSE:
                self._read(now)
                found = self._candidates(algorithm, key_id)
            if now - self._read_at >= KEEP + GRACE:
                raise KeyServiceUnavailable(f"the identity provider's keys can't be read: {self._failure}")
        return _public_key(found[0], algorithm) if len(found) == 1 else None

    def _read(self, now: float) -> None:
        self._tried_at = now
        try:
            self._entries = jwks_entries(self._fetch(), self._name)
        except (KeyServiceError, SettingsError) as flaw:
            self._failure = str(flaw)
        else:
            self._read_at = now

    def _candidates(self, algorithm: str, key_id: str | None) -> list[dict[str, Any]]:
        kind, curve = ALGORITHMS[algorithm]
        return [
            entry
            for entry in self._entries
            if entry.get("kty") == kind
            and (curve is None or entry.get("crv") == curve)
            and entry.get("alg", algorithm) == algorithm
            and entry.get("use", "sig") == "sig"
            and "verify" in (entry.get("key_ops") or ("verify",))
            and (key_id is None or entry.get("kid") == key_id)
        ]


def _public_key(entry: dict[str, Any], algorithm: str) -> Any | None:
    try:
        key = jwt.PyJWK(entry, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return None
    return key

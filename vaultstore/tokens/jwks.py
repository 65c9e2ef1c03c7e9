"""Public keys as a JWKS (RFC 7517; OKP keys as in RFC 8037): to verify tokens without any credential."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vaultstore.errors import KeyServiceError, KeyServiceUnavailable, SettingsError, TokenInvalid
from vaultstore.keys.protocols import Signer
from vaultstore.tokens.claims import ALGORITHM, SIGNING_KEY
from vaultstore.tokens.compact import b64url, unb64url
from vaultstore.tokens.transport import Transport

__all__ = ["GRACE", "PAUSE", "JwksKeys", "file_source", "jwks", "jwks_entries", "url_source"]

GRACE = 3600.0
"""Seconds that the last keys of a URL are used while it does not answer."""
PAUSE = 10.0
"""Seconds after a failure before a URL is asked again."""

_MAX_FILE = 1024 * 1024


def jwks(keys: Signer) -> dict[str, Any]:
    """Every public key that may verify a token, as a JWKS document."""
    public = sorted(keys.public_keys(SIGNING_KEY).items())
    return {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "x": b64url(raw), "kid": key_id, "use": "sig", "alg": ALGORITHM}
            for key_id, raw in public
        ]
    }


class JwksKeys:
    """Public keys from a JWKS: a `Verifier`'s `public_keys`. Safe to use from several threads.

    `name` is what errors call it, `fetch` gives its bytes anew at each call; the verifier's `KeySet` keeps the keys
    for five minutes and looks again, at most every ten seconds, for an id that it does not know. While `fetch` fails
    the last keys are given for `grace` seconds, and it is not tried more often than
    every `pause` seconds. A document that is no JWKS of public keys is never used.
    """

    def __init__(
        self,
        name: str,
        fetch: Callable[[], bytes],
        *,
        grace: float = GRACE,
        pause: float = PAUSE,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._fetch, self._grace, self._pause, self._seconds = name, fetch, grace, pause, seconds
        self._keys: Mapping[str, bytes] = {}
        self._read_at = self._failed_at = float("-inf")
        self._failure = ""
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<JwksKeys {self._name}>"

    @classmethod
    def from_file(cls, path: Path | str) -> JwksKeys:
        """Use the JWKS at `path`, read whenever it is asked for; a file that is gone is not made up for.

        Raises SettingsError where it can't be read or holds anything but public keys.
        """
        path = Path(path)
        fetch = file_source(path)
        _parse(fetch(), str(path))
        return cls(str(path), fetch, grace=0, pause=0)

    @classmethod
    def from_url(cls, url: str, ca: str = "", *, cert: str = "", key: str = "", timeout: float = 5.0) -> JwksKeys:
        """Use the JWKS at `url`: https, http to this machine, or ``unix:/path`` (the issuer's ``/jwks`` there).

        `ca` is the path of a CA bundle in place of the system's; `cert` and `key` are for a server that demands a
        client's certificate; `timeout` is in seconds. Nothing is asked before the keys are. Raises SettingsError for
        a URL or file that can't be used.
        """
        return cls(url, url_source(url, ca, cert=cert, key=key, timeout=timeout))

    @classmethod
    def at(cls, source: str | Path) -> JwksKeys:
        """Use the JWKS at a URL or in a file, whichever `source` is; see `from_url` and `from_file`."""
        text = str(source)
        return cls.from_url(text) if text.startswith(("https:", "http:", "unix:")) else cls.from_file(source)

    def __call__(self) -> Mapping[str, bytes]:
        """Key id -> raw public key (32 bytes). Raises KeyServiceUnavailable where there are none to be had now."""
        with self._lock:
            now = self._seconds()
            if now - self._failed_at >= self._pause:
                try:
                    self._keys = _parse(self._fetch(), self._name)
                except (SettingsError, KeyServiceError) as flaw:
                    self._failed_at, self._failure = now, str(flaw)
                else:
                    self._read_at = now
                    return self._keys
            if now - self._read_at < self._grace:
                return self._keys
            failure = self._failure
        raise KeyServiceUnavailable(failure)


def file_source(path: Path) -> Callable[[], bytes]:
    """Reads the JWKS at `path` anew at each call, which raises SettingsError where it can't."""

    def fetch() -> bytes:
        try:
            if path.stat().st_size > _MAX_FILE:
                raise SettingsError(f"{path} is longer than {_MAX_FILE} bytes: no JWKS")
            return path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{path} can't be read: {error.strerror}") from None

    return fetch


def url_source(url: str, ca: str = "", *, cert: str = "", key: str = "", timeout: float = 5.0) -> Callable[[], bytes]:
    """Gets the JWKS at `url` at each call, which raises KeyServiceError where it can't; see `JwksKeys.from_url`."""
    transport = Transport(url, ca=ca, cert=cert, key=key, timeout=timeout, limit=_MAX_FILE)
    path = "/jwks" if url.startswith("unix:") else transport.path

    def fetch() -> bytes:
        answer = transport.request("GET", path)
        if answer.status != 200:
            raise KeyServiceUnavailable(f"{url} answered status {answer.status}")
        return answer.body

    return fetch


def jwks_entries(content: bytes, name: str) -> list[dict[str, Any]]:
    """The members of a JWKS document's ``keys``. Raises SettingsError where it is none, or holds a private key."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise SettingsError(f"{name} is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise SettingsError(f"{name} is not a JWKS: it has no list 'keys'")
    for at, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise SettingsError(f"{name}: key {at} is not an object")
        if "d" in entry or "k" in entry:  # RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1
            raise SettingsError(f"{name}: key {at} is a private key: it must not lie here")
    return entries


def _parse(content: bytes, name: str) -> Mapping[str, bytes]:
    keys: dict[str, bytes] = {}
    for at, entry in enumerate(jwks_entries(content, name), 1):
        key_id, raw = _key(entry, at, name)
        if key_id in keys:
            raise SettingsError(f"{name}: key {at} has the kid of another")
        keys[key_id] = raw
    return keys


def _key(entry: Mapping[str, Any], at: int, name: str) -> tuple[str, bytes]:
    fixed = {"kty": "OKP", "crv": "Ed25519"}
    if any(entry.get(member) != value for member, value in fixed.items()) or entry.get("alg", ALGORITHM) != ALGORITHM:
        raise SettingsError(f"{name}: key {at} is not an Ed25519 key for {ALGORITHM}")
    key_id, x = entry.get("kid"), entry.get("x")
    if not isinstance(key_id, str) or not key_id or not isinstance(x, str):
        raise SettingsError(f"{name}: key {at} lacks kid or x")
    try:
        raw = unb64url(x)
        Ed25519PublicKey.from_public_bytes(raw)
    except (TokenInvalid, ValueError):
        raise SettingsError(f"{name}: key {at} is not 32 bytes in base64url") from None
    return key_id, raw

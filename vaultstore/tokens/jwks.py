"""Public keys as a JWKS (RFC 7517; OKP keys as in RFC 8037): to verify tokens without any credential."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vaultstore.errors import KeyServiceUnavailable, SettingsError, TokenInvalid
from vaultstore.keys.protocols import Signer
from vaultstore.tokens.claims import ALGORITHM, SIGNING_KEY
from vaultstore.tokens.compact import b64url, unb64url

__all__ = ["JwksKeys", "jwks"]

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
    """Public keys from a JWKS file: a `Verifier`'s `public_keys`. The file is read anew whenever it asks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<JwksKeys {self._path}>"

    @classmethod
    def from_file(cls, path: Path | str) -> JwksKeys:
        """Use the JWKS at `path`. Raises SettingsError where it can't be read or holds anything but public keys."""
        keys = cls(Path(path))
        keys._read()
        return keys

    def __call__(self) -> Mapping[str, bytes]:
        """Key id -> raw public key (32 bytes). Raises KeyServiceUnavailable where the file is not usable now."""
        try:
            return self._read()
        except SettingsError as flaw:
            raise KeyServiceUnavailable(str(flaw)) from None

    def _read(self) -> Mapping[str, bytes]:
        try:
            if self._path.stat().st_size > _MAX_FILE:
                raise SettingsError(f"{self._path} is longer than {_MAX_FILE} bytes: no JWKS")
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{self._path} can't be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            raise SettingsError(f"{self._path} is not JSON") from None
        entries = content.get("keys") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise SettingsError(f"{self._path} is not a JWKS: it has no list 'keys'")
        keys: dict[str, bytes] = {}
        for at, entry in enumerate(entries, 1):
            key_id, raw = self._key(entry, at)
            if key_id in keys:
                raise SettingsError(f"{self._path}: key {at} has the kid of another")
            keys[key_id] = raw
        return keys

    def _key(self, entry: object, at: int) -> tuple[str, bytes]:
        if not isinstance(entry, dict):
            raise SettingsError(f"{self._path}: key {at} is not an object")
        if "d" in entry:
            raise SettingsError(f"{self._path}: key {at} is a private key: it must not lie here")
        fixed = {"kty": "OKP", "crv": "Ed25519"}
        if any(entry.get(name) != value for name, value in fixed.items()) or entry.get("alg", ALGORITHM) != ALGORITHM:
            raise SettingsError(f"{self._path}: key {at} is not an Ed25519 key for {ALGORITHM}")
        key_id, x = entry.get("kid"), entry.get("x")
        if not isinstance(key_id, str) or not key_id or not isinstance(x, str):
            raise SettingsError(f"{self._path}: key {at} lacks kid or x")
        try:
            raw = unb64url(x)
            Ed25519PublicKey.from_public_bytes(raw)
        except (TokenInvalid, ValueError):
            raise SettingsError(f"{self._path}: key {at} is not 32 bytes in base64url") from None
        return key_id, raw

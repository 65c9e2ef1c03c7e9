"""One purpose's login at a key file: what that purpose may do with the keys, in this process."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.errors import KeyServiceRefused
from vaultstore.keys.handle import SecretHandle
from vaultstore.keys.keyfile import KEY_BYTES
from vaultstore.keys.login import LoginEnded
from vaultstore.keys.protocols import KeyKind, KeyVersions, VersionGone
from vaultstore.policy.access import PurposeKeys

if TYPE_CHECKING:
    from vaultstore.keys.local import LocalKeys, Opened

__all__ = ["LocalKeyService"]

_NONCE_BYTES = 12


class LocalKeyService(SecretHandle):
    """The rights of one purpose over local keys: those it has had since login, and none that it lost meanwhile."""

    __slots__ = ("_keys", "_purpose", "_rights")

    def __init__(self, keys: LocalKeys, purpose: str, rights: PurposeKeys) -> None:
        """Use `LocalKeys.login`."""
        self._keys: LocalKeys | None = keys
        self._purpose, self._rights = purpose, rights

    def wrap(self, category: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        """Wrap data keys, see KeyService."""
        ciphers = self._ciphers("wrap", category, self._rights.wrap)
        if any(len(data_key) != KEY_BYTES or not context for context, data_key in items):
            raise KeyServiceRefused(f"a data key has {KEY_BYTES} bytes, and its wrap context is not empty")
        newest = max(ciphers)
        return [_wrap(newest, ciphers[newest], context, data_key) for context, data_key in items]

    def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        """Unwrap data keys, see KeyService. `reference` has no audit log to go to here."""
        ciphers = self._ciphers("unwrap", category, self._rights.unwrap)
        return [_unwrap(ciphers, context, wrapped) for context, wrapped in items]

    def rewrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str = "") -> list[str | None]:
        """Wrap again under the newest version, see KeyService. `reference` has no audit log to go to here."""
        ciphers = self._ciphers("rewrap", category, self._rights.rewrap)
        newest, wraps = max(ciphers), list[str | None]()
        for context, wrapped in items:
            data_key = _unwrap(ciphers, context, wrapped)
            wraps.append(None if data_key is None else _wrap(newest, ciphers[newest], context, data_key))
        return wraps

    def hmac(self, index: str, values: Sequence[bytes], *, version: int = 1) -> list[bytes]:
        """HMAC-SHA-256 of `values`, see KeyService."""
        opened = self._allowed("compute digests of", index, self._rights.hmac)
        key = opened.material.indexes.get(index, {}).get(version)
        if key is None:
            raise VersionGone(f"there is no key for the index {index} of version {version}")
        return [hmac.digest(key, value, "sha256") for value in values]

    def versions(self, name: str, kind: KeyKind = "category") -> KeyVersions:
        """The versions in the file, see KeyService."""
        numbers = self._kept("see the versions of", name, kind, self._rights.kept_of(kind))
        return KeyVersions(max(numbers), min(numbers), min(numbers))

    def rotate(self, name: str, kind: KeyKind = "category") -> int:
        """Add a version, see KeyService."""
        self._kept("rotate", name, kind, self._rights.rotated(kind))
        return self._held().rotate(name, kind)

    def retire(self, name: str, oldest: int, kind: KeyKind = "category") -> None:
        """Take the versions before `oldest` out of the file, see KeyService."""
        self._kept("retire", name, kind, self._rights.retired(kind))
        self._held().retire(name, oldest, kind)

    def close(self) -> None:
        """End this login. Harmless when repeated."""
        self._keys = None

    def _held(self) -> LocalKeys:
        keys = self._keys
        if keys is None:
            raise LoginEnded("this login was closed")
        return keys

    def _allowed(self, verb: str, name: str, names: Collection[str]) -> Opened:
        keys = self._held()
        # What another process rotated or retired must be known here before the next wrap, or it would be refused.
        keys._refresh()
        opened = keys._current()
        access = opened.material.access
        if access is None or access.purposes.get(self._purpose) != self._rights:
            raise LoginEnded(f"the rights of {self._purpose} have changed since this login")
        if name not in names:
            raise KeyServiceRefused(f"the purpose {self._purpose} may not {verb} {name}")
        return opened

    def _kept(self, verb: str, name: str, kind: KeyKind, names: Collection[str]) -> Mapping[int, bytes]:
        versions = self._allowed(verb, name, names).material.of(kind).get(name)
        if versions is None:
            raise KeyServiceRefused(f"there is no key for the {kind} {name}")
        return versions

    def _ciphers(self, verb: str, category: str, names: Collection[str]) -> Mapping[int, AESGCM]:
        ciphers = self._allowed(verb, category, names).ciphers.get(category)
        if ciphers is None:
            raise KeyServiceRefused(f"there is no key for the category {category}")
        return ciphers


def _wrap(version: int, cipher: AESGCM, context: bytes, data_key: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + cipher.encrypt(nonce, data_key, context)
    return f"local:v{version}:{base64.b64encode(sealed).decode()}"


def _unwrap(ciphers: Mapping[int, AESGCM], context: bytes, wrapped: str) -> bytes | None:
    scheme, _, rest = wrapped.partition(":v")
    version, _, encoded = rest.partition(":")
    if scheme != "local" or not version.isascii() or not version.isdecimal() or not context:
        return None
    cipher = ciphers.get(int(version)) if len(version) < 10 else None
    if cipher is None:
        return None
    try:
        sealed = base64.b64decode(encoded, validate=True)
        data_key = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (binascii.Error, ValueError, InvalidTag):
        return None
    return data_key if len(data_key) == KEY_BYTES else None

"""Keys in a file of our own, for embedded use and tests: one plane, no defence against whoever holds the file."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.errors import KeyServiceRefused, SettingsError
from vaultstore.keys.handle import SecretHandle
from vaultstore.keys.keyfile import (
    KEY_BYTES,
    KeyMaterial,
    Versions,
    exclusive,
    read_key_file,
    signature_of,
    write_key_file,
)
from vaultstore.keys.login import SIGNING_KEYS, TOKEN_KEY, LoginEnded, check_login
from vaultstore.keys.protocols import Signature
from vaultstore.policy.access import KeyAccess, PurposeKeys

__all__ = ["LocalKeyService", "LocalKeys"]

_NONCE_BYTES = 12
_INDEX_VERSION = 1  # an index's digests change with its key, so a second version is a second index


@dataclass(frozen=True, slots=True, repr=False)
class _Opened(SecretHandle):
    """The key material of one moment, with its cipher objects made once."""

    material: KeyMaterial
    ciphers: Mapping[str, Mapping[int, AESGCM]]
    signers: Mapping[str, Mapping[int, Ed25519PrivateKey]]

    @classmethod
    def of(cls, material: KeyMaterial) -> _Opened:
        return cls(
            material,
            {name: {n: AESGCM(key) for n, key in v.items()} for name, v in material.categories.items()},
            {
                name: {n: Ed25519PrivateKey.from_private_bytes(seed) for n, seed in v.items()}
                for name, v in material.signing.items()
            },
        )

    def public_keys(self, name: str) -> dict[str, bytes]:
        signers = self.signers.get(name, {})
        return {f"{name}:{n}": key.public_key().public_bytes_raw() for n, key in sorted(signers.items())}


class LocalKeys(SecretHandle):
    """A key file as a key service. Wraps are ``local:vN:`` + base64(nonce 12 || AES-256-GCM ciphertext || tag 16).

    It enforces each purpose's rights at `login`, in this process only. Safe to use from several threads, and the file
    from several processes. `clock` returns the time as an aware datetime.
    """

    __slots__ = ("_clock", "_lock", "_opened", "_path", "_seen")

    def __init__(self, path: Path | None, clock: Callable[[], datetime]) -> None:
        """Use `open` or `memory`."""
        self._path, self._clock, self._lock = path, clock, threading.RLock()
        self._seen: tuple[int, ...] | None = None
        self._opened: _Opened | None = _Opened.of(KeyMaterial())

    @classmethod
    def open(cls, path: Path | str, *, clock: Callable[[], datetime] | None = None) -> LocalKeys:
        """Open a key file, making an empty one (mode 0600) where there is none.

        Raises SettingsError where the file is not ours alone or is damaged, or its folder does not exist.
        """
        # Of a link its target is replaced, not the link: else the next change would be made to a copy beside it.
        found = Path(os.path.realpath(path))
        if found.is_symlink():
            raise SettingsError(f"the key file {path} is a link in a loop")
        keys = cls(found, clock or _utc_now)
        assert keys._path is not None
        with exclusive(keys._path):
            if not keys._path.exists():
                write_key_file(keys._path, KeyMaterial())
            keys._reload()
        return keys

    @classmethod
    def memory(cls, *, clock: Callable[[], datetime] | None = None) -> LocalKeys:
        """Keys that live as long as this object: for tests."""
        return cls(None, clock or _utc_now)

    def sign(self, name: str, payload: bytes) -> Signature:
        """Sign `payload` with the newest version of the key called `name`. Raises KeyServiceRefused."""
        signers = self._current().signers.get(name)
        if not signers:
            raise KeyServiceRefused(f"there is no signing key called {name}")
        newest = max(signers)
        return Signature(f"{name}:{newest}", signers[newest].sign(payload))

    def public_keys(self, name: str) -> Mapping[str, bytes]:
        """Key id -> raw public key (32 bytes) of every version, as the file has them now. Raises KeyServiceRefused."""
        self._refresh()
        found = self._current().public_keys(name)
        if not found:
            raise KeyServiceRefused(f"there is no signing key called {name}")
        return found

    def login(self, login_token: str) -> LocalKeyService:
        """Verify a login token and return its purpose's rights as a key service. Raises KeyServiceRefused."""
        self._refresh()
        opened = self._current()
        if opened.material.access is None:
            raise KeyServiceRefused("login refused: no purpose was given rights yet")
        purpose, rights = check_login(
            login_token, public_keys=opened.public_keys(TOKEN_KEY), access=opened.material.access, now=self._clock()
        )
        return LocalKeyService(self, purpose, rights)

    def provision(self, access: KeyAccess) -> None:
        """Make missing keys and replace all purposes' rights by `access`, in the file too. Raises SettingsError."""

        def change(old: KeyMaterial) -> KeyMaterial:
            return KeyMaterial(
                categories=_completed(old.categories, access.categories),
                indexes=_completed(old.indexes, access.indexes),
                signing=_completed(old.signing, SIGNING_KEYS),
                access=access,
            )

        self._change(change)

    def rotate(self, category: str) -> int:
        """Add a version to a category's key; new wraps use it, old wraps still open. Returns its number."""

        def change(old: KeyMaterial) -> KeyMaterial:
            versions = old.categories.get(category)
            if versions is None:
                raise KeyServiceRefused(f"there is no key for the category {category}")
            added = {**versions, max(versions) + 1: os.urandom(KEY_BYTES)}
            return replace(old, categories={**old.categories, category: added})

        return max(self._change(change).categories[category])

    def close(self) -> None:
        """Forget the keys. Harmless when repeated."""
        with self._lock:
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _current(self) -> _Opened:
        opened = self._opened
        if opened is None:
            raise LoginEnded("these keys were closed")
        return opened

    def _refresh(self) -> None:
        """Take up what another process changed in the file."""
        if self._path is not None and signature_of(self._path) != self._seen:
            with self._lock:
                self._current()
                try:
                    self._reload()
                except FileNotFoundError:
                    raise KeyServiceRefused(f"the key file {self._path} is gone") from None

    def _reload(self) -> None:
        assert self._path is not None
        with self._lock:
            seen = signature_of(self._path)
            self._opened = _Opened.of(read_key_file(self._path))
            self._seen = seen

    def _change(self, change: Callable[[KeyMaterial], KeyMaterial]) -> KeyMaterial:
        with self._lock:
            self._current()
            if self._path is None:
                material = change(self._current().material)
            else:
                with exclusive(self._path):
                    try:
                        material = change(read_key_file(self._path))
                    except FileNotFoundError:
                        # Starting over would silently lose every key: only `open` may make a file.
                        raise KeyServiceRefused(f"the key file {self._path} is gone") from None
                    write_key_file(self._path, material)
                    self._seen = signature_of(self._path)
            self._opened = _Opened.of(material)
            return material


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

    def rewrap(self, category: str, items: Sequence[tuple[bytes, str]]) -> list[str | None]:
        """Wrap again under the newest version, see KeyService. It takes the rights to unwrap and to wrap."""
        ciphers = self._ciphers("rewrap", category, self._rights.unwrap & self._rights.wrap)
        newest, wraps = max(ciphers), list[str | None]()
        for context, wrapped in items:
            data_key = _unwrap(ciphers, context, wrapped)
            wraps.append(None if data_key is None else _wrap(newest, ciphers[newest], context, data_key))
        return wraps

    def hmac(self, index: str, values: Sequence[bytes]) -> list[bytes]:
        """HMAC-SHA-256 of `values`, see KeyService."""
        opened = self._allowed("compute digests of", index, self._rights.hmac)
        versions = opened.material.indexes.get(index)
        if versions is None or _INDEX_VERSION not in versions:
            raise KeyServiceRefused(f"there is no key for the index {index}")
        key = versions[_INDEX_VERSION]
        return [hmac.digest(key, value, "sha256") for value in values]

    def close(self) -> None:
        """End this login. Harmless when repeated."""
        self._keys = None

    def _allowed(self, verb: str, name: str, names: Collection[str]) -> _Opened:
        keys = self._keys
        if keys is None:
            raise LoginEnded("this login was closed")
        opened = keys._current()
        access = opened.material.access
        if access is None or access.purposes.get(self._purpose) != self._rights:
            raise LoginEnded(f"the rights of {self._purpose} have changed since this login")
        if name not in names:
            raise KeyServiceRefused(f"the purpose {self._purpose} may not {verb} {name}")
        return opened

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


def _completed(keys: Versions, names: Collection[str]) -> Versions:
    return {**keys, **{name: {1: os.urandom(KEY_BYTES)} for name in names if name not in keys}}


def _utc_now() -> datetime:
    return datetime.now(UTC)

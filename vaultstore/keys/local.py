"""Keys in a file of our own, for embedded use and tests: one plane, no defence against whoever holds the file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

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
from vaultstore.keys.local_service import LocalKeyService
from vaultstore.keys.login import SIGNING_KEYS, TOKEN_KEY, LoginEnded, check_login
from vaultstore.keys.protocols import KeyKind, Signature
from vaultstore.policy.access import KeyAccess

__all__ = ["LocalKeyService", "LocalKeys"]


@dataclass(frozen=True, slots=True, repr=False)
class Opened(SecretHandle):
    """The key material of one moment, with its cipher objects made once."""

    material: KeyMaterial
    ciphers: Mapping[str, Mapping[int, AESGCM]]
    signers: Mapping[str, Mapping[int, Ed25519PrivateKey]]

    @classmethod
    def of(cls, material: KeyMaterial) -> Opened:
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
        self._opened: Opened | None = Opened.of(KeyMaterial())

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

    def rotate(self, name: str, kind: KeyKind = "category") -> int:
        """Add a version to the key of a category or an index, see KeyService. Returns its number."""

        def change(old: KeyMaterial) -> KeyMaterial:
            versions = old.of(kind).get(name)
            if versions is None:
                raise KeyServiceRefused(f"there is no key for the {kind} {name}")
            return old.with_versions(kind, name, {**versions, max(versions) + 1: os.urandom(KEY_BYTES)})

        return max(self._change(change).of(kind)[name])

    def retire(self, name: str, oldest: int, kind: KeyKind = "category") -> None:
        """Take the versions before `oldest` out of the file, for good: their wraps never open again.

        What the disk keeps of the file's former content is the disk's to overwrite. Raises KeyServiceRefused.
        """

        def change(old: KeyMaterial) -> KeyMaterial:
            versions = old.of(kind).get(name)
            if versions is None or not 1 <= oldest <= max(versions):
                raise KeyServiceRefused(f"the key for the {kind} {name} has no version {oldest} to begin with")
            return old.with_versions(kind, name, {n: key for n, key in versions.items() if n >= oldest})

        self._change(change)

    def close(self) -> None:
        """Forget the keys. Harmless when repeated."""
        with self._lock:
            self._opened = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _current(self) -> Opened:
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
            self._opened = Opened.of(read_key_file(self._path))
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
            self._opened = Opened.of(material)
            return material


def _completed(keys: Versions, names: Collection[str]) -> Versions:
    return {**keys, **{name: {1: os.urandom(KEY_BYTES)} for name in names if name not in keys}}


def _utc_now() -> datetime:
    return datetime.now(UTC)

"""What a key service is, whatever stands behind it: a key file or Vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from vaultstore.errors import KeyServiceRefused
from vaultstore.policy.access import KeyAccess

__all__ = ["KeyKind", "KeyService", "KeyVersions", "Keys", "Signature", "Signer", "VersionGone"]


@dataclass(frozen=True, slots=True)
class Signature:
    """An Ed25519 signature (64 bytes) and the id of the key that made it, ``name:version``."""

    key_id: str
    value: bytes


KeyKind = Literal["category", "index"]
"""What a key is for: data keys of a category are wrapped under it, or digests of a blind index made."""


@dataclass(frozen=True, slots=True)
class KeyVersions:
    """Which versions of a key there are. Versions count from 1."""

    newest: int
    """Wraps are made under it."""
    oldest: int
    """The oldest one that still opens."""
    kept: int
    """The oldest one that is still there: those below `oldest` could be let open again."""


class VersionGone(KeyServiceRefused):
    """The key has no such version: it was given up, or never was."""


class KeyService(Protocol):
    """Data keys and blind-index digests, with the rights of one login. Safe to use from several threads.

    Every method raises KeyServiceUnavailable (no answer, sealed, overloaded) or KeyServiceRefused (it said no).
    """

    def wrap(self, category: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        """Wrap data keys. `items` are (wrap context, data key of 32 bytes); the wraps come back in that order."""

    def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        """Unwrap data keys. `items` are (wrap context, wrap); an item that does not open comes back as None.

        `reference` is the id of the committed audit entry; Vault's own audit log shows it beside each item.
        """

    def rewrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str = "") -> list[str | None]:
        """Wrap again under the newest version of the category's key, without showing the data key.

        It takes a right of its own. `reference` is the id of the entry that the wraps were handed out under.
        """

    def versions(self, name: str, kind: KeyKind = "category") -> KeyVersions:
        """The versions of the key of a category or an index; for who may rotate, rewrap or retire it."""

    def rotate(self, name: str, kind: KeyKind = "category") -> int:
        """Add a version to the key of a category or an index; returns its number.

        New wraps use it, old wraps still open; digests are made under the version that is asked for.
        """

    def retire(self, name: str, oldest: int, kind: KeyKind = "category") -> None:
        """Let no version before `oldest` do anything any more, then forget them, for good.

        Doing it again goes on with it.
        """

    def hmac(self, index: str, values: Sequence[bytes], *, version: int = 1) -> list[bytes]:
        """HMAC-SHA-256 (32 bytes each) of `values` under one version of the key of the blind index called `index`.

        Raises VersionGone where that version was given up.
        """

    def close(self) -> None:
        """Give the login back (Vault revokes its token). Harmless when repeated."""


class Signer(Protocol):
    """Signs tokens and checkpoints with a named Ed25519 key."""

    def sign(self, name: str, payload: bytes) -> Signature:
        """Sign `payload` with the newest version of the key called `name`."""

    def public_keys(self, name: str) -> Mapping[str, bytes]:
        """Key id (``name:version``) -> raw public key (32 bytes), every version that may still verify."""


class Keys(Signer, Protocol):
    """A key service as a store is opened with it: it signs, and it logs purposes in."""

    def login(self, login_token: str) -> KeyService:
        """Exchange a login token (a JWT, aud ``vault``, at most 60 s old) for the key service of its purpose.

        Raises KeyServiceRefused where the token is not one, is over, or names an unknown purpose or digest.
        """

    def provision(self, access: KeyAccess) -> None:
        """Make every key that `access` names, where it is missing, and give each purpose its rights and no more."""

    def close(self) -> None:
        """Release connections and forget key material. Harmless when repeated."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...

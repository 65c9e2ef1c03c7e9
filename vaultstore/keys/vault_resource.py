"""One thing that a Vault should hold, and how a look at the live server finds it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstore.keys.vault_client import Answer

__all__ = ["Kind", "Look", "PublicKeys", "Request", "Resource", "look", "resolved", "same"]

Request = Callable[..., Answer]
"""``request(method, path, body=None, *, expect=())`` with the operator's token."""

Kind = Literal["mount", "audit", "setting", "header", "key", "trust", "quota", "acl", "role"]

_MISSING = (400, 404)  # 400 is how a missing mount or header is reported


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Stands for the public keys that a signing key has when it is asked: `path` is where."""

    path: str

    def __str__(self) -> str:
        return f"<the public keys of {self.path}>"


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that a policy wants a Vault to hold."""

    kind: Kind
    name: str
    """Its name on the server: ``vs-sales.pool``."""
    path: str
    """Where it is read, and written unless `create` or `change_path` say otherwise."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it must be set to, and can be."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What it must be, and can't be changed to once it is there."""
    create: Mapping[str, Any] | None = None
    """Body that makes it; None: `settings`."""
    change_path: str = ""
    """Where `settings` are written to one that is there; ``""``: `path`."""
    purpose: str = ""
    """Whose it is, where it is one purpose's."""

    @property
    def thing(self) -> str:
        """What it is and its name."""
        return f"{_KINDS[self.kind]} {self.name}"


_KINDS: Mapping[Kind, str] = {
    "mount": "mount",
    "audit": "audit settings of mount",
    "setting": "settings of mount",
    "header": "audited header",
    "key": "key",
    "trust": "trust of auth mount",
    "quota": "rate quota",
    "acl": "ACL policy",
    "role": "JWT role",
}


@dataclass(frozen=True, slots=True)
class Look:
    """A resource and what was found of it."""

    resource: Resource
    found: Mapping[str, Any] | None
    """Its settings as the server shows them; None: it is not there."""
    wanted: Mapping[str, Any]
    """The resource's settings with live public keys in place."""

    @property
    def missing(self) -> bool:
        """Whether it is not there."""
        return self.found is None

    @property
    def differing(self) -> tuple[str, ...]:
        """Names of settings that are there and are not as wanted, and can be changed."""
        if self.found is None:
            return ()
        return tuple(name for name, value in self.wanted.items() if not same(self.found.get(name), value))

    @property
    def immovable(self) -> tuple[str, ...]:
        """Names of settings that are there, are not as wanted, and can't be changed."""
        if self.found is None:
            return ()
        return tuple(
            name
            for name, value in self.resource.fixed.items()
            if self.found.get(name) not in (None, "") and not same(self.found[name], value)
        )


def look(request: Request, resource: Resource) -> Look:
    """Read one resource. Raises KeyServiceError, naming the path that was refused."""
    answer = request("GET", resource.path, expect=_MISSING)
    found: Mapping[str, Any] | None = None
    if answer.status < 300:
        found = answer.data
        if resource.kind == "header":
            found = next((value for name, value in found.items() if name.lower() == resource.name), None)
    return Look(resource, found, {name: resolved(request, value) for name, value in resource.settings.items()})


def resolved(request: Request, value: Any) -> Any:
    """`value`, or for PublicKeys the PEMs of them as Vault keeps them; none where the key is not there yet."""
    if not isinstance(value, PublicKeys):
        return value
    data = request("GET", value.path, expect=_MISSING).data
    versions, oldest = data.get("keys") or {}, data.get("min_decryption_version", 1)
    return [_pem(versions[n]["public_key"]) for n in sorted(versions, key=int) if int(n) >= oldest]


def same(found: Any, wanted: Any) -> bool:
    """Whether two settings mean the same: servers show what is empty in several ways, and lists in any order."""
    return bool(_plain(found) == _plain(wanted))


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return sorted(map(str, value)) or None
    return value or None


def _pem(encoded: str) -> str:
    """A raw Ed25519 key in base64, as the PEM of its SubjectPublicKeyInfo (RFC 8410)."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()  # as Vault keeps it

"""Names of what one store keeps in a Vault: keys, ACL policies and mounts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from vaultstore.errors import KeyServiceRefused, SettingsError

__all__ = ["VaultNames", "networks"]

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True)
class VaultNames:
    """Names of what one store keeps in a Vault. A prefix belongs to one store in a Vault (namespace)."""

    mount: str = "transit"
    prefix: str = "vs-"
    auth_mount: str = "jwt"

    def __post_init__(self) -> None:
        for name in (self.mount, self.auth_mount):
            if not all(_NAME.fullmatch(part) for part in name.split("/")):
                raise SettingsError(f"not a name for a mount: {name!r}")
        if not re.fullmatch(r"[a-z0-9_][a-z0-9_.-]*", self.prefix):  # Vault keeps ACL names in lower case
            raise SettingsError(f"not a prefix for keys and ACLs (lower case letters, digits, _ . -): {self.prefix!r}")

    def category(self, name: str) -> str:
        """Transit key of a category."""
        return f"{self.prefix}cat-{_plain('category', name)}"

    def index(self, name: str) -> str:
        """Transit key of a blind index, and the rate quota on it."""
        return f"{self.prefix}idx-{_plain('index', name)}"

    def signing(self, name: str) -> str:
        """Transit key that signs."""
        return f"{self.prefix}sig-{_plain('signing key', name)}"

    def acl(self, purpose: str) -> str:
        """ACL policy of a purpose."""
        return f"{self.prefix}{_plain('purpose', purpose)}"

    def acl_path(self, acl: str) -> str:
        """Where an ACL policy is read and written."""
        return f"sys/policies/acl/{acl}"

    def role_path(self, purpose: str) -> str:
        """Where a purpose's JWT role is read and written."""
        return f"auth/{self.auth_mount}/role/{_plain('purpose', purpose)}"


def networks(cidrs: Iterable[str]) -> tuple[str, ...]:
    """Networks in the form that Vault shows them in, sorted: a single address has no ``/32``. Raises SettingsError."""
    found = set()
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(cidr.strip(), strict=False)
        except ValueError:
            raise SettingsError(f"not a network that logins can be bound to: {cidr!r}") from None
        single = network.prefixlen == network.max_prefixlen
        found.add(str(network.network_address) if single else str(network))
    return tuple(sorted(found))


def _plain(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise KeyServiceRefused(f"not a name for a {kind} in Vault (letters, digits, _ . -): {name!r}")
    return name

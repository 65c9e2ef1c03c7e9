"""Rights that somebody adds by hand to a live Vault, one at a time: each has to be found and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.generated import Choices
from vaultstore.keys.vault_names import VaultNames
from vaultstore.policy import BoundPolicy
from vaultstore.testing import OpenBaoServer

__all__ = ["FOREIGN", "FOR_GOOD", "VAULT_DRIFTS", "VaultDrift"]


@dataclass(frozen=True, slots=True)
class VaultDrift:
    """A live Vault, what it should hold, and choices."""

    openbao: OpenBaoServer
    names: VaultNames
    bound: BoundPolicy
    choose: Choices

    def write(self, path: str, body: Mapping[str, Any]) -> None:
        """As root."""
        status, answer = self.openbao.request("POST", path, dict(body))
        assert status < 300, (path, answer)

    def purpose(self) -> str:
        """Some purpose."""
        return self.choose.one(sorted(self.bound.purposes))

    def widen_acl(self, rule: Callable[[str], str]) -> str:
        """Add rules to the ACL policy of some purpose; its name."""
        acl = self.names.acl(self.purpose())
        _, found = self.openbao.request("GET", self.names.acl_path(acl))
        self.write(self.names.acl_path(acl), {"policy": found["data"]["policy"] + rule(acl)})
        return acl

    def change_role(self, **settings: Any) -> str:
        """Change settings of some purpose's JWT role; its name."""
        purpose = self.purpose()
        _, found = self.openbao.request("GET", self.names.role_path(purpose))
        self.write(self.names.role_path(purpose), found["data"] | settings)
        return purpose


def _path(path: str, *capabilities: str) -> str:
    return f'path "{path}" {{\n  capabilities = [{", ".join(map(repr, capabilities))}]\n}}\n'.replace("'", '"')


def _another_category(drift: VaultDrift) -> str | None:
    """A purpose's ACL opens a category that it does not read."""
    access = drift.bound.key_access("any")
    closed = {p: sorted(access.categories - rights.unwrap) for p, rights in access.purposes.items()}
    purposes = sorted(p for p, categories in closed.items() if categories)
    if not purposes:
        return None
    purpose = drift.choose.one(purposes)
    key = drift.names.category(drift.choose.one(closed[purpose]))
    acl = drift.names.acl(purpose)
    _, found = drift.openbao.request("GET", drift.names.acl_path(acl))
    rule = _path(f"{drift.names.mount}/decrypt/{key}", "update")
    drift.write(drift.names.acl_path(acl), {"policy": found["data"]["policy"] + rule})
    return acl


def _glob(drift: VaultDrift) -> str:
    return drift.widen_acl(lambda _: _path(f"{drift.names.mount}/+/{drift.names.prefix}cat-*", "update"))


def _signing(drift: VaultDrift) -> str:
    return drift.widen_acl(lambda _: _path(f"{drift.names.mount}/sign/{drift.names.signing('tokens')}", "update"))


def _own_acl(drift: VaultDrift) -> str:
    return drift.widen_acl(lambda acl: _path(drift.names.acl_path(acl), "create", "update"))


def _login_elsewhere(drift: VaultDrift) -> str:
    """A JWT role of another name hands out a purpose's ACL policy."""
    settings = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"]}
    acl = drift.names.acl(drift.purpose())
    drift.write(drift.names.role_path("side.door"), {**settings, "token_policies": [acl]})
    return "side.door"


def _foreign_acl(drift: VaultDrift) -> str:
    """An ACL policy under another name reaches a category's key."""
    key = drift.names.category(drift.choose.one(sorted(drift.bound.catalogue.categories)))
    name = f"{drift.names.prefix.rstrip('-')}x-helper"
    drift.write(drift.names.acl_path(name), {"policy": _path(f"{drift.names.mount}/decrypt/{key}", "update")})
    return name


def _two_policies(drift: VaultDrift) -> str:
    """A JWT role gives another purpose's ACL policy as well."""
    purposes = sorted(drift.bound.purposes)
    return drift.change_role(token_policies=[drift.names.acl(p) for p in purposes])


def _another_issuer(drift: VaultDrift) -> str:
    """Vault believes the signatures of a second key."""
    path = f"auth/{drift.names.auth_mount}/config"
    _, found = drift.openbao.request("GET", path)
    raw = Ed25519PrivateKey.generate().public_key()
    pem = raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    kept = {k: v for k, v in found["data"].items() if k in ("jwt_supported_algs", "bound_issuer")}
    drift.write(path, {**kept, "jwt_validation_pubkeys": [*found["data"]["jwt_validation_pubkeys"], pem]})
    return drift.names.auth_mount


def _upsert(drift: VaultDrift) -> str:
    drift.write(f"{drift.names.mount}/config/keys", {"disable_upsert": False})
    return drift.names.mount


def _key_config(**settings: Any) -> Callable[[VaultDrift], str]:
    def change(drift: VaultDrift) -> str:
        category = drift.choose.one(sorted(drift.bound.catalogue.categories))
        drift.write(f"{drift.names.mount}/keys/{drift.names.category(category)}/config", settings)
        return drift.names.category(category)

    return change


def _role(**settings: Any) -> Callable[[VaultDrift], str]:
    return lambda drift: drift.change_role(**settings)


VAULT_DRIFTS: Mapping[str, Callable[[VaultDrift], str | None]] = {
    "an ACL opens another category": _another_category,
    "an ACL has a glob over all categories": _glob,
    "an ACL signs tokens": _signing,
    "an ACL rewrites itself": _own_acl,
    "another role hands out an ACL": _login_elsewhere,
    "another ACL reaches a key": _foreign_acl,
    "a role gives every ACL": _two_policies,
    "a second issuer is believed": _another_issuer,
    "upsert is enabled": _upsert,
    "a role without bound claims": _role(bound_claims={}),
    "a role for any version": _role(bound_claims={"purpose": "stock.load"}),
    "a role for any audience": _role(bound_audiences=["vault", "vaultstore"]),
    "expired tokens are taken": _role(expiration_leeway=0),
    "tokens are taken before their time": _role(not_before_leeway=600),
    "clocks may be minutes apart": _role(clock_skew_leeway=0),
    "logins last for days": _role(token_ttl=86_400 * 3, token_max_ttl=86_400 * 3),
    "logins renew for ever": _role(token_period=3600),
    "logins get the default ACL": _role(token_no_default_policy=False),
    "a key may be deleted": _key_config(deletion_allowed=True),
}
"""What is done -> how; the answer is a word that the finding has to hold, None where it can't be done in that world."""

FOR_GOOD: Mapping[str, Callable[[VaultDrift], str | None]] = {
    "a key can be exported": _key_config(exportable=True),
    "a key can be backed up": _key_config(allow_plaintext_backup=True),
}
"""The same, of what Vault does not take back."""

FOREIGN = frozenset({"another ACL reaches a key"})
"""What is reported and stays: it is not of our making."""

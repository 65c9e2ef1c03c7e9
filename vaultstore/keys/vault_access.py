"""What Vault must hold for a policy: keys, the verification of login tokens, and a role and an ACL for each purpose.

VaultKeys owns its Transit mount's configuration, its JWT auth mount, and the ACL policies whose names begin with its
prefix. Nothing here reads a data key.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaultstore.errors import KeyServiceRefused, SettingsError
from vaultstore.keys.login import AUDIENCE, TOKEN_KEY
from vaultstore.keys.vault_client import Answer
from vaultstore.policy.access import KeyAccess, PurposeKeys

__all__ = ["VaultNames", "acl_text", "provision", "role_of"]

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_AUDITED = ("reference", "context")

Request = Callable[..., Answer]
"""``request(method, path, body=None, *, expect=())`` with the provisioner's token."""


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
        """Transit key of a blind index."""
        return f"{self.prefix}idx-{_plain('index', name)}"

    def signing(self, name: str) -> str:
        """Transit key that signs."""
        return f"{self.prefix}sig-{_plain('signing key', name)}"

    def acl(self, purpose: str) -> str:
        """ACL policy of a purpose."""
        return f"{self.prefix}{_plain('purpose', purpose)}"


def acl_text(names: VaultNames, rights: PurposeKeys) -> str:
    """The ACL policy (HCL) of one purpose: its categories and indexes, and its own token's end.

    Rewrapping takes the rights to unwrap and to wrap: together they allow the same, with the data key in sight.
    """
    keys = [
        *(f"decrypt/{names.category(name)}" for name in rights.unwrap),
        *(f"encrypt/{names.category(name)}" for name in rights.wrap),
        *(f"rewrap/{names.category(name)}" for name in rights.unwrap & rights.wrap),
        *(f"hmac/{names.index(name)}" for name in rights.hmac),
    ]
    paths = [(f"{names.mount}/{path}", "update") for path in sorted(keys)]
    paths += [("auth/token/lookup-self", "read"), ("auth/token/revoke-self", "update")]
    return "".join(f'path "{path}" {{\n  capabilities = ["{capability}"]\n}}\n' for path, capability in paths)


def role_of(
    names: VaultNames, purpose: str, rights: PurposeKeys, *, ttl: int, bound_cidrs: Sequence[str] = ()
) -> dict[str, Any]:
    """The JWT role of one purpose: only a login token of exactly this purpose and digest gets its one ACL policy.

    `ttl` is the life of a login in seconds. The leeways of -1 mean none: Vault's defaults accept expired tokens.
    """
    return {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE],
        "bound_claims_type": "string",
        "bound_claims": {"purpose": purpose, "pol": rights.digest},
        "claim_mappings": {"purpose": "purpose", "jti": "jti"},
        "clock_skew_leeway": -1,
        "expiration_leeway": -1,
        "not_before_leeway": -1,
        "allowed_redirect_uris": [],
        "token_policies": [names.acl(purpose)],
        "token_no_default_policy": True,
        "token_type": "service",
        "token_ttl": ttl,
        "token_max_ttl": ttl,
        "token_bound_cidrs": list(bound_cidrs),
    }


def provision(
    request: Request, names: VaultNames, access: KeyAccess, *, ttl: int, bound_cidrs: Sequence[str] = ()
) -> None:
    """Bring a Vault to what `access` says. Running it again changes nothing; purposes that are gone lose their role.

    Raises KeyServiceUnavailable, KeyServiceRefused (the token may not), or SettingsError where something of that name
    is there but is not ours or has another type.
    """
    for purpose in access.purposes:
        if names.acl(purpose) != names.acl(purpose).lower():
            raise SettingsError(f"Vault keeps ACL names in lower case, so a purpose can't be called {purpose!r}")
    _mount(request, f"sys/mounts/{names.mount}", "transit")
    _write(request, f"{names.mount}/config/keys", {"disable_upsert": True})
    _audit_in_clear(request, names)
    for category in sorted(access.categories):
        _key(request, names, names.category(category), {"type": "aes256-gcm96", "derived": True})
    for index in access.indexes:
        _key(request, names, names.index(index), {"type": "hmac", "key_size": 32})
    tokens = _key(request, names, names.signing(TOKEN_KEY), {"type": "ed25519"})
    _mount(request, f"sys/auth/{names.auth_mount}", "jwt")
    _trust(request, names, access.issuer, [version["public_key"] for version in tokens["keys"].values()])
    for purpose, rights in sorted(access.purposes.items()):
        _write(request, f"sys/policies/acl/{names.acl(purpose)}", {"policy": acl_text(names, rights)})
        role = role_of(names, purpose, rights, ttl=ttl, bound_cidrs=bound_cidrs)
        _write(request, f"auth/{names.auth_mount}/role/{purpose}", role)
    _remove_former(request, names, access)


def _write(request: Request, path: str, wanted: dict[str, Any]) -> None:
    """Write what is not so already: an unchanged deployment is only read, and its audit log stays quiet."""
    found = request("GET", path, expect=(404,)).data
    if any((found.get(name) or None) != (value or None) for name, value in wanted.items()):
        request("POST", path, wanted)


def _mount(request: Request, path: str, kind: str) -> None:
    found = request("GET", path, expect=(400, 404))  # 400 is how a missing mount is reported
    if found.status >= 400:
        # Another process may have made it meanwhile: what counts is what is there afterwards.
        request("POST", path, {"type": kind}, expect=(400,))
        found = request("GET", path)
    if found.data.get("type") != kind:
        raise SettingsError(f"the mount {path} is of type {found.data.get('type')}, not {kind}")


def _audit_in_clear(request: Request, names: VaultNames) -> None:
    """Let Vault's audit log show each item's reference and wrap context: neither is secret, both join it to ours."""
    path = f"sys/mounts/{names.mount}/tune"
    known = request("GET", path).data.get("audit_non_hmac_request_keys") or []
    if not set(_AUDITED) <= set(known):
        request("POST", path, {"audit_non_hmac_request_keys": sorted({*known, *_AUDITED})})


def _key(request: Request, names: VaultNames, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    path = f"{names.mount}/keys/{name}"
    found = request("GET", path, expect=(404,))
    if found.status == 404:
        request("POST", path, wanted)
        found = request("GET", path)
    for setting, value in {**wanted, "exportable": False, "allow_plaintext_backup": False}.items():
        if found.data.get(setting, value) != value:
            raise SettingsError(f"the key {name} is there, but its {setting} is not {value!r}: make another prefix")
    return found.data


def _trust(request: Request, names: VaultNames, issuer: str, public_keys: list[str]) -> None:
    path = f"auth/{names.auth_mount}/config"
    found = request("GET", path, expect=(404,)).data
    if found.get("oidc_discovery_url") or found.get("jwks_url") or found.get("bound_issuer", "") not in ("", issuer):
        raise SettingsError(f"the auth mount {names.auth_mount} serves another issuer: give vaultstore one of its own")
    wanted = {
        "jwt_validation_pubkeys": [_pem(key) for key in public_keys],
        "jwt_supported_algs": ["EdDSA"],
        "bound_issuer": issuer,
    }
    _write(request, path, wanted)


def _pem(encoded: str) -> str:
    """A raw Ed25519 key in base64, as the PEM of its SubjectPublicKeyInfo (RFC 8410)."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().strip()  # as Vault keeps it


def _remove_former(request: Request, names: VaultNames, access: KeyAccess) -> None:
    """Take the rights of purposes that the policy no longer has. Roles that are not of our making stay."""
    listed = request("LIST", f"auth/{names.auth_mount}/role", expect=(404,))
    for purpose in sorted(set(listed.data.get("keys") or ()) - set(access.purposes)):
        path = f"auth/{names.auth_mount}/role/{purpose}"
        if request("GET", path).data.get("token_policies") == [names.acl(purpose)]:
            request("DELETE", path)
            request("DELETE", f"sys/policies/acl/{names.acl(purpose)}")


def _plain(kind: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise KeyServiceRefused(f"not a name for a {kind} in Vault (letters, digits, _ . -): {name!r}")
    return name

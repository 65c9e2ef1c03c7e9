"""What Vault must hold for a policy: keys, the verification of login tokens, and a role and an ACL for each purpose.

VaultKeys owns its Transit mount's configuration, its JWT auth mount, and the ACL policies that it wrote under its
prefix. Nothing here reads a data key, or asks a server.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vaultstore.errors import SettingsError
from vaultstore.keys.login import AUDIENCE, SIGNING_KEYS, TOKEN_KEY
from vaultstore.keys.vault_acl import acl_text
from vaultstore.keys.vault_client import AUDITED_HEADER
from vaultstore.keys.vault_names import VaultNames
from vaultstore.keys.vault_resource import PublicKeys, Resource
from vaultstore.policy.access import KeyAccess, PurposeKeys

__all__ = ["AUDITED", "role_of", "wanted"]

AUDITED = ("context", "reference")
"""What Vault's audit log shows in clear of each item: neither is secret, both join it to our own log."""


def wanted(
    names: VaultNames,
    access: KeyAccess,
    *,
    ttl: int,
    bound_cidrs: Sequence[str] = (),
    hmac_rate: int = 0,
    namespaced: bool = False,
) -> tuple[Resource, ...]:
    """Everything that a Vault must hold for `access`, in an order in which it can be made.

    `ttl` is the longest life of a login and `hmac_rate` the most requests a second for one index key (0: any).
    In a namespace there are no audited headers and no quotas: both belong to the root namespace.
    Raises SettingsError for what Vault could not keep.
    """
    for purpose in access.purposes:
        if names.acl(purpose) != names.acl(purpose).lower():
            raise SettingsError(f"Vault keeps ACL names in lower case, so a purpose can't be called {purpose!r}")
    if hmac_rate and namespaced:
        raise SettingsError("rate quotas belong to Vault's root namespace: set one there, and hmac_rate to 0 here")
    return (
        *_transit(names, namespaced=namespaced),
        *_keys(names, access),
        *_auth(names, access.issuer),
        *(_quota(names, index, hmac_rate) for index in access.indexes if hmac_rate),
        *(_acl(names, purpose, rights) for purpose, rights in sorted(access.purposes.items())),
        *(_role(names, purpose, rights, ttl, bound_cidrs) for purpose, rights in sorted(access.purposes.items())),
    )


def role_of(
    names: VaultNames, purpose: str, rights: PurposeKeys, *, ttl: int, bound_cidrs: Sequence[str] = ()
) -> dict[str, Any]:
    """The JWT role of one purpose: only a login token of exactly this purpose and digest gets its one ACL policy.

    `ttl` is the life of a login in seconds, where the purpose has no shorter one. The leeways of -1 mean none: Vault's
    defaults accept expired tokens. What is not wanted is named too: Vault keeps whatever a write leaves out.
    """
    life = ttl if rights.ttl is None else min(ttl, rights.ttl)
    return {
        "role_type": "jwt",
        "user_claim": "sub",
        "user_claim_json_pointer": False,
        "groups_claim": "",
        "bound_audiences": [AUDIENCE],
        "bound_claims_type": "string",
        "bound_claims": {"purpose": purpose, "pol": rights.digest},
        "bound_subject": "",
        "claim_mappings": {"purpose": "purpose", "jti": "jti"},
        "clock_skew_leeway": -1,
        "expiration_leeway": -1,
        "not_before_leeway": -1,
        "allowed_redirect_uris": [],
        "verbose_oidc_logging": False,
        "token_policies": [names.acl(purpose)],
        "token_policies_template_claims": False,
        "token_no_default_policy": True,
        "token_type": "service",
        "token_ttl": life,
        "token_max_ttl": life,
        "token_explicit_max_ttl": life,
        "token_period": 0,
        "token_num_uses": 0,
        "token_bound_cidrs": list(bound_cidrs),
    }


def _transit(names: VaultNames, *, namespaced: bool) -> Iterator[Resource]:
    yield _mount(f"sys/mounts/{names.mount}", names.mount, "transit")
    yield Resource("setting", names.mount, f"{names.mount}/config/keys", {"disable_upsert": True})
    in_clear = {"audit_non_hmac_request_keys": list(AUDITED), "audit_non_hmac_response_keys": []}
    yield Resource("audit", names.mount, f"sys/mounts/{names.mount}/tune", in_clear)
    if not namespaced:
        path = f"sys/config/auditing/request-headers/{AUDITED_HEADER}"
        yield Resource("header", AUDITED_HEADER, path, {"hmac": False}, create={"hmac": False})


def _keys(names: VaultNames, access: KeyAccess) -> Iterator[Resource]:
    for category in sorted(access.categories):
        derived = {"type": "aes256-gcm96", "derived": True}
        yield _key(names, names.category(category), derived, convergent_encryption=False)
    for index in access.indexes:
        yield _key(names, names.index(index), {"type": "hmac", "key_size": 32})
    for name in SIGNING_KEYS:
        yield _key(names, names.signing(name), {"type": "ed25519"})


def _key(names: VaultNames, name: str, create: dict[str, Any], **more: Any) -> Resource:
    path = f"{names.mount}/keys/{name}"
    # None of these can be undone, so a key that is otherwise can only be given up.
    fixed = {**create, **more, "exportable": False, "allow_plaintext_backup": False, "imported_key": False}
    settings = {"deletion_allowed": False}
    return Resource("key", name, path, settings, fixed, create=create, change_path=f"{path}/config")


def _auth(names: VaultNames, issuer: str) -> Iterator[Resource]:
    yield _mount(f"sys/auth/{names.auth_mount}", f"auth/{names.auth_mount}", "jwt")
    # A login token in the audit log would be one for whoever reads it; a batch token could not be revoked.
    tune = {
        "audit_non_hmac_request_keys": [],
        "audit_non_hmac_response_keys": [],
        "token_type": "default-service",
    }
    yield Resource("audit", f"auth/{names.auth_mount}", f"sys/auth/{names.auth_mount}/tune", tune)
    trusted = {
        "jwt_validation_pubkeys": PublicKeys(f"{names.mount}/keys/{names.signing(TOKEN_KEY)}"),
        "jwt_supported_algs": ["EdDSA"],
        "bound_issuer": issuer,
        "default_role": "",
    }
    fixed = {"oidc_discovery_url": "", "jwks_url": "", "jwks_pairs": [], "bound_issuer": issuer}
    yield Resource("trust", names.auth_mount, f"auth/{names.auth_mount}/config", trusted, fixed)


def _mount(path: str, name: str, kind: str) -> Resource:
    return Resource("mount", name, path, fixed={"type": kind}, create={"type": kind})


def _quota(names: VaultNames, index: str, rate: int) -> Resource:
    key = names.index(index)
    limit = {"path": f"{names.mount}/hmac/{key}", "rate": rate, "interval": 1, "block_interval": 0, "role": ""}
    return Resource("quota", key, f"sys/quotas/rate-limit/{key}", limit)


def _acl(names: VaultNames, purpose: str, rights: PurposeKeys) -> Resource:
    acl = names.acl(purpose)
    return Resource("acl", acl, names.acl_path(acl), {"policy": acl_text(names, purpose, rights)}, purpose=purpose)


def _role(names: VaultNames, purpose: str, rights: PurposeKeys, ttl: int, bound_cidrs: Sequence[str]) -> Resource:
    role = role_of(names, purpose, rights, ttl=ttl, bound_cidrs=bound_cidrs)
    return Resource("role", purpose, names.role_path(purpose), role, purpose=purpose)

"""What somebody could change at a live Vault, and the line that must name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.vault_plane import VaultWorld

__all__ = ["CIDRS", "CLOSING", "FACTS", "HMAC_RATE", "OPENING"]

CIDRS = ("127.0.0.0/8",)
HMAC_RATE = 500


def role(purpose: str, **changes: Any) -> Callable[[VaultWorld], None]:
    def plant(world: VaultWorld) -> None:
        path = f"auth/{world.prefix}jwt/role/{purpose}"
        whole = world.root("GET", path)
        world.root("POST", path, {**whole, **changes})

    return plant


def policy_of(purpose: str, change: Callable[[str, VaultWorld], str]) -> Callable[[VaultWorld], None]:
    def plant(world: VaultWorld) -> None:
        path = f"sys/policies/acl/{world.prefix}{purpose}"
        world.root("POST", path, {"policy": change(world.root("GET", path)["policy"], world)})

    return plant


def post(path: str, body: Any) -> Callable[[VaultWorld], None]:
    def plant(world: VaultWorld) -> None:
        filled = {
            name: value.replace("{P}", world.prefix) if isinstance(value, str) else value
            for name, value in body.items()
        }
        world.root("POST", path.replace("{P}", world.prefix), filled)

    return plant


def delete(path: str) -> Callable[[VaultWorld], None]:
    return lambda world: world.root("DELETE", path.replace("{P}", world.prefix)) and None


def another_key(world: VaultWorld) -> None:
    path = f"auth/{world.prefix}jwt/config"
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    config = world.root("GET", path)
    trusted = {name: config[name] for name in ("jwt_supported_algs", "bound_issuer")}
    world.root("POST", path, {**trusted, "jwt_validation_pubkeys": [*config["jwt_validation_pubkeys"], pem]})


def no_issuer(world: VaultWorld) -> None:
    path = f"auth/{world.prefix}jwt/config"
    config = world.root("GET", path)
    world.root("POST", path, {"jwt_validation_pubkeys": config["jwt_validation_pubkeys"]})


WIDE = 'path "{P}transit/decrypt/{P}cat-contact" {\n  capabilities = ["update"]\n}\n'
GLOB = 'path "{P}transit/*" {\n  capabilities = ["create", "update", "read"]\n}\n'


def adding(text: str) -> Callable[[str, VaultWorld], str]:
    return lambda policy, world: policy + text.replace("{P}", world.prefix)


OPENING = [
    # name of the drift, how it is planted, the difference, a cell that turns red
    (
        "an ACL widened by hand",
        policy_of("sales.outreach", adding(WIDE)),
        "ACL policy {P}sales.outreach is too open: expected no more than the policy's, found update {P}transit/decrypt",
        "sales.outreach: decrypt category contact",
    ),
    (
        "an ACL with a pattern",
        policy_of("sales.outreach", adding(GLOB)),
        "ACL policy {P}sales.outreach is too open",
        "sales.outreach: rotate category contact",
    ),
    (
        "an ACL in words of its own",
        policy_of("sales.outreach", lambda text, world: '{"path": {"*": {"policy": "sudo"}}}'),
        "ACL policy {P}sales.outreach is too open",
        "sales.outreach: encrypt category identity",
    ),
    (
        "a JWT role without bound claims",
        role("sales.outreach", bound_claims=None),
        'JWT role sales.outreach is too open: expected bound_claims = {"purpose": "sales.outreach"',
        "sales.outreach: log in for another purpose",
    ),
    (
        "a JWT role for any version",
        role("sales.outreach", bound_claims={"purpose": "sales.outreach"}),
        "JWT role sales.outreach is too open: expected bound_claims",
        "sales.outreach: log in for another version",
    ),
    (
        "a JWT role whose claims are patterns",
        role("sales.outreach", bound_claims_type="glob", bound_claims={"purpose": "sales.*", "pol": "*"}),
        'JWT role sales.outreach is too open: expected bound_claims_type = "string", found bound_claims_type = "glob"',
        "sales.outreach: log in for another version",
    ),
    (
        "leeway defaults",
        role("care.complaint", clock_skew_leeway=0, expiration_leeway=0, not_before_leeway=0),
        "JWT role care.complaint is too open: expected expiration_leeway = -1, found expiration_leeway = 0",
        "care.complaint: log in with an expired token",
    ),
    (
        "not-before leeway",
        role("care.complaint", clock_skew_leeway=0, not_before_leeway=0),
        "JWT role care.complaint is too open: expected not_before_leeway = -1, found not_before_leeway = 0",
        "care.complaint: log in before its time",
    ),
    (
        "an extra policy on a role",
        lambda world: role(
            "sales.outreach", token_policies=[f"{world.prefix}{p}" for p in ("sales.outreach", "registration")]
        )(world),
        "JWT role sales.outreach is too open: expected token_policies",
        "sales.outreach: encrypt category contact",
    ),
]
FACTS = [
    (
        "a role that gives the default policy",
        role("sales.outreach", token_no_default_policy=False),
        "JWT role sales.outreach is too open: expected token_no_default_policy = true",
    ),
    (
        "a role without networks",
        role("sales.outreach", token_bound_cidrs=[]),
        'JWT role sales.outreach is too open: expected token_bound_cidrs = ["127.0.0.0/8"], found token_bound',
    ),
    (
        "a role for a wider network",
        role("sales.outreach", token_bound_cidrs=["127.0.0.0/8", "10.0.0.0/8"]),
        "JWT role sales.outreach is too open: expected token_bound_cidrs",
    ),
    (
        "a role for a narrower network",
        role("sales.outreach", token_bound_cidrs=["127.0.0.0/16"]),
        "JWT role sales.outreach is too closed: expected token_bound_cidrs",
    ),
    (
        "logins that live longer",
        role("sales.outreach", token_ttl=7200, token_max_ttl=7200, token_explicit_max_ttl=0),
        "JWT role sales.outreach is too open: expected token_ttl = 900, found token_ttl = 7200",
    ),
    (
        "logins that renew for ever",
        role("sales.outreach", token_period=300),
        "JWT role sales.outreach is too open: expected token_period = 0, found token_period = 300",
    ),
    (
        "a role for another audience too",
        role("sales.outreach", bound_audiences=["vault", "vaultstore"]),
        "JWT role sales.outreach is too open: expected bound_audiences",
    ),
    (
        "a key whose deletion is allowed",
        post("{P}transit/keys/{P}cat-contact/config", {"deletion_allowed": True}),
        "key {P}cat-contact is too open: expected deletion_allowed = false, found deletion_allowed = true",
    ),
    (
        "upsert enabled",
        post("{P}transit/config/keys", {"disable_upsert": False}),
        "settings of mount {P}transit is too open: expected disable_upsert = true, found disable_upsert = false",
    ),
    (
        "data keys in the audit log",
        post("sys/mounts/{P}transit/tune", {"audit_non_hmac_response_keys": ["plaintext"]}),
        "audit settings of mount {P}transit is too open: expected audit_non_hmac_response_keys = []",
    ),
    (
        "more of requests in the audit log",
        post("sys/mounts/{P}transit/tune", {"audit_non_hmac_request_keys": ["context", "reference", "plaintext"]}),
        "audit settings of mount {P}transit is too open: expected audit_non_hmac_request_keys",
    ),
    (
        "references hidden from the audit log",
        post("sys/mounts/{P}transit/tune", {"audit_non_hmac_request_keys": ["context"]}),
        "audit settings of mount {P}transit is different: expected audit_non_hmac_request_keys",
    ),
    (
        "login tokens in the audit log",
        post("sys/auth/{P}jwt/tune", {"audit_non_hmac_request_keys": ["jwt"]}),
        "audit settings of mount auth/{P}jwt is too open: expected audit_non_hmac_request_keys = []",
    ),
    (
        "logins that can't be revoked",
        post("sys/auth/{P}jwt/tune", {"token_type": "batch"}),
        'audit settings of mount auth/{P}jwt is different: expected token_type = "default-service"',
    ),
    (
        "the request id hidden from the audit log",
        post("sys/config/auditing/request-headers/x-vaultstore-request-id", {"hmac": True}),
        "audited header x-vaultstore-request-id is different: expected hmac = false, found hmac = true",
    ),
    (
        "another trusted key",
        another_key,
        "trust of auth mount {P}jwt is too open: expected jwt_validation_pubkeys = 1 key",
    ),
    ("any issuer", no_issuer, 'trust of auth mount {P}jwt is too open: expected bound_issuer = "vaultstore"'),
    (
        "a raised quota",
        post(
            "sys/quotas/rate-limit/{P}idx-members.phone", {"path": "{P}transit/hmac/{P}idx-members.phone", "rate": 9000}
        ),
        "rate quota {P}idx-members.phone is too open: expected rate = 500, found rate = 9000",
    ),
    (
        "a quota that is gone",
        delete("sys/quotas/rate-limit/{P}idx-members.phone"),
        "rate quota {P}idx-members.phone is too open: expected it there, found nothing",
    ),
    (
        "a role that hands out an ACL of ours",
        post(
            "auth/{P}jwt/role/backdoor",
            {"role_type": "jwt", "user_claim": "sub", "bound_audiences": "x", "token_policies": "{P}registration"},
        ),
        "JWT role backdoor is too open: expected nothing of that name",
    ),
]
CLOSING = [
    (
        "an ACL that lost a path",
        policy_of("sales.outreach", lambda text, world: text.replace("decrypt/", "decrypt/x")),
        "ACL policy {P}sales.outreach is too closed: expected update {P}transit/decrypt/{P}cat-sales_card",
        "sales.outreach: decrypt category sales_card",
    ),
    (
        "an ACL that is gone",
        delete("sys/policies/acl/{P}care.complaint"),
        "ACL policy {P}care.complaint is too closed: expected it there, found nothing",
        "care.complaint: hmac index members.phone",
    ),
    (
        "a role that is gone",
        delete("auth/{P}jwt/role/registration"),
        "JWT role registration is too closed: expected it there, found nothing",
        "registration: log in JWT role registration",
    ),
    (
        "a role for an older version",
        role("registration", bound_claims={"purpose": "registration", "pol": "sha256:old"}),
        "JWT role registration is different: expected bound_claims",
        "registration: encrypt category contact",
    ),
]

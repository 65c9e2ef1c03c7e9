"""A sales login at a real Vault in the hands of somebody who writes their own requests."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.vault_plane import ISSUER, Thief, VaultWorld, shipped
from vaultstore.keys import VaultKeys
from vaultstore.keys.vault_names import VaultNames
from vaultstore.policy.access import KeyAccess
from vaultstore.policy.bound import BoundPolicy
from vaultstore.testing import OpenBaoServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration

SALES = "sales.outreach"
CONTEXT = base64.b64encode(b"subject 1").decode()
OTHER_CONTEXT = base64.b64encode(b"subject 2").decode()
DATA_KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(scope="module")
def bound() -> BoundPolicy:
    return shipped()


@pytest.fixture(scope="module")
def world(openbao: OpenBaoServer, bound: BoundPolicy) -> Iterator[VaultWorld]:
    made = VaultWorld(openbao)
    made.plane(bound).apply()
    yield made
    made.close()


@pytest.fixture(scope="module")
def access(bound: BoundPolicy) -> KeyAccess:
    return bound.key_access(ISSUER)


@pytest.fixture(scope="module")
def keys(world: VaultWorld) -> VaultKeys:
    return world.keys()


@pytest.fixture(scope="module")
def names(keys: VaultKeys) -> VaultNames:
    return keys.names


@pytest.fixture
def thief(world: VaultWorld, keys: VaultKeys, access: KeyAccess) -> Iterator[Thief]:
    service = keys.login(login_token(keys, access, SALES))
    made = Thief(world.server.url, service._token)
    yield made
    made.close()
    service.close()


@pytest.fixture(scope="module")
def wraps(world: VaultWorld, names: VaultNames, access: KeyAccess) -> dict[str, str]:
    """A wrap of each category, as a stolen keyring holds them."""
    body = {"plaintext": DATA_KEY, "context": CONTEXT}
    path = f"{names.mount}/encrypt"
    return {c: world.root("POST", f"{path}/{names.category(c)}", body)["ciphertext"] for c in access.categories}


def test_the_login_opens_wraps_of_its_own_category_and_nothing_else_at_all(
    thief: Thief, names: VaultNames, access: KeyAccess, wraps: dict[str, str]
) -> None:
    opened = set()
    for category, wrap in wraps.items():
        key = names.category(category)
        for verb, body in {
            "decrypt": {"ciphertext": wrap, "context": CONTEXT},
            "encrypt": {"plaintext": DATA_KEY, "context": CONTEXT},
            "rewrap": {"ciphertext": wrap, "context": CONTEXT},
            "datakey/plaintext": {"context": CONTEXT},
            "datakey/wrapped": {"context": CONTEXT},
            "hmac": {"input": DATA_KEY},
            "sign": {"input": DATA_KEY},
            "verify": {"input": DATA_KEY, "hmac": "vault:v1:AAAA"},
        }.items():
            status, answer = thief("POST", f"{names.mount}/{verb}/{key}", body)
            if status == 200:
                opened.add((verb, category, answer["data"]["plaintext"]))
            else:
                assert status == 403, (verb, category)
    assert opened == {("decrypt", "sales_card", DATA_KEY)}
    assert access.purposes[SALES].unwrap == {"sales_card"}


def test_no_index_answers(thief: Thief, names: VaultNames, access: KeyAccess) -> None:
    for index in access.indexes:
        for path in (
            f"hmac/{names.index(index)}",
            f"hmac/{names.index(index)}/sha2-256",
            f"verify/{names.index(index)}",
        ):
            assert thief("POST", f"{names.mount}/{path}", {"input": DATA_KEY})[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "{M}/keys/{K}/rotate", None),
        ("POST", "{M}/keys/{K}/config", {"exportable": True}),
        ("POST", "{M}/keys/{K}/config", {"deletion_allowed": True}),
        ("POST", "{M}/keys/{K}/config", {"min_decryption_version": 2}),
        ("POST", "{M}/keys/{K}/trim", {"min_available_version": 1}),
        ("DELETE", "{M}/keys/{K}", None),
        ("POST", "{M}/keys/fresh", {"type": "aes256-gcm96", "exportable": True}),
        ("POST", "{M}/keys/{K}/import", {"ciphertext": "x"}),
        ("GET", "{M}/keys/{K}", None),
        ("LIST", "{M}/keys", None),
        ("GET", "{M}/export/encryption-key/{K}", None),
        ("GET", "{M}/export/encryption-key/{K}/latest", None),
        ("GET", "{M}/export/signing-key/{S}", None),
        ("GET", "{M}/byok-export/{K}/{S}", None),
        ("GET", "{M}/backup/{K}", None),
        ("POST", "{M}/restore/copy", {"backup": "x"}),
        ("POST", "{M}/sign/{S}", {"input": "AAAA"}),
        ("POST", "{M}/sign/{S}/sha2-256", {"input": "AAAA"}),
        ("POST", "{M}/config/keys", {"disable_upsert": False}),
        ("POST", "{M}/cache-config", {"size": 0}),
        ("GET", "{M}/wrapping_key", None),
        ("POST", "{M}/random/32", None),
        ("POST", "auth/{A}/role/sales.outreach", {"bound_claims": {}}),
        ("GET", "auth/{A}/role/sales.outreach", None),
        ("LIST", "auth/{A}/role", None),
        ("POST", "auth/{A}/role/mine", {"token_policies": ["root"]}),
        ("DELETE", "auth/{A}/role/registration", None),
        ("POST", "auth/{A}/config", {"jwt_validation_pubkeys": []}),
        ("GET", "auth/{A}/config", None),
        ("POST", "auth/token/create", {"policies": ["{P}registration"]}),
        ("POST", "auth/token/create", {}),
        ("POST", "auth/token/create-orphan", {"policies": ["root"]}),
        ("POST", "auth/token/create/anyrole", {}),
        ("POST", "auth/token/renew-self", {"increment": "24h"}),
        ("POST", "auth/token/lookup", {"token": "x"}),
        ("LIST", "auth/token/accessors", None),
        ("POST", "auth/token/roles/mine", {"allowed_policies": ["{P}registration"]}),
        ("GET", "sys/policies/acl/{P}sales.outreach", None),
        ("PUT", "sys/policies/acl/{P}sales.outreach", {"policy": 'path "*" { capabilities = ["sudo"] }'}),
        ("PUT", "sys/policy/{P}sales.outreach", {"policy": 'path "*" { capabilities = ["sudo"] }'}),
        ("DELETE", "sys/policies/acl/{P}sales.outreach", None),
        ("LIST", "sys/policies/acl", None),
        ("GET", "sys/mounts", None),
        ("POST", "sys/mounts/mine", {"type": "transit"}),
        ("POST", "sys/mounts/{M}/tune", {"audit_non_hmac_response_keys": ["plaintext"]}),
        ("POST", "sys/remount", {"from": "{M}", "to": "mine"}),
        ("GET", "sys/auth", None),
        ("POST", "sys/auth/mine", {"type": "userpass"}),
        ("POST", "sys/auth/{A}/tune", {"token_type": "batch"}),
        ("GET", "sys/audit", None),
        ("POST", "sys/config/auditing/request-headers/x", {"hmac": False}),
        ("DELETE", "sys/quotas/rate-limit/any", None),
        ("POST", "sys/capabilities-self", {"paths": ["{M}/keys"]}),
        ("POST", "sys/wrapping/wrap", {"a": "b"}),
        ("POST", "sys/leases/revoke-prefix/auth/{A}/login", None),
        ("POST", "sys/seal", None),
        ("POST", "sys/rotate", None),
        ("GET", "sys/raw/core/keyring", None),
        ("POST", "sys/namespaces/mine", {}),
        ("POST", "sys/tools/random", None),
        ("GET", "identity/entity/id?list=true", None),
        ("POST", "identity/entity", {"name": "me", "policies": ["{P}registration"]}),
        ("POST", "identity/group", {"name": "us", "policies": ["{P}registration"]}),
        ("POST", "identity/entity-alias", {"name": "registrar-1"}),
        ("POST", "identity/lookup/entity", {"name": "me"}),
        ("GET", "cubbyhole/mine", None),
        ("GET", "secret/data/any", None),
        ("POST", "sys/internal/ui/mounts", None),
    ],
)  # fmt: skip
def test_every_other_door_is_shut(thief: Thief, names: VaultNames, method: str, path: str, body: Any) -> None:
    parts = {
        "{M}": names.mount,
        "{A}": names.auth_mount,
        "{P}": names.prefix,
        "{K}": names.category("sales_card"),
        "{S}": names.signing("tokens"),
    }
    for part, value in parts.items():
        path = path.replace(part, value)
    assert thief(method, path, body)[0] in (403, 405)


def test_a_node_of_a_cluster_does_not_step_down_for_it(openbao_raft: OpenBaoServer, bound: BoundPolicy) -> None:
    own = VaultWorld(openbao_raft)
    own.plane(bound).apply()
    service = own.keys().login(login_token(own.keys(), bound.key_access(ISSUER), SALES))
    thief = Thief(openbao_raft.url, service._token)
    assert thief("PUT", "sys/step-down")[0] == 403
    thief.close()
    service.close()
    own.close()


@pytest.mark.parametrize(
    "path",
    [
        "{M}/decrypt/{O}/",
        "{M}//decrypt/{O}",
        "{M}/decrypt//{O}",
        "{M}/./decrypt/{O}",
        "{M}/Decrypt/{O}",
        "{M}/decrypt/{K}/../{O}",
        "{M}/decrypt/{K}/%2e%2e/{O}",
        "{M}/decrypt/{K}%2f..%2f{O}",
        "{M}/decrypt/{K},{O}",
        "{M}/decrypt/{K}%00{O}",
        "{M}/decrypt/{O}?x={K}",
        "sys/../{M}/decrypt/{O}",
    ],
)
def test_no_spelling_of_a_path_reaches_another_key(
    thief: Thief, names: VaultNames, wraps: dict[str, str], path: str
) -> None:
    for part, name in {
        "{M}": names.mount,
        "{K}": names.category("sales_card"),
        "{O}": names.category("contact"),
    }.items():
        path = path.replace(part, name)
    status, answer = thief("POST", path, {"ciphertext": wraps["contact"], "context": CONTEXT})
    assert status >= 400
    assert DATA_KEY not in str(answer)


def test_a_batch_does_not_carry_another_key_along(thief: Thief, names: VaultNames, wraps: dict[str, str]) -> None:
    own, other = names.category("sales_card"), names.category("contact")
    good = {"ciphertext": wraps["sales_card"], "context": CONTEXT}
    stolen = {"ciphertext": wraps["contact"], "context": CONTEXT}
    tricks = [
        {**stolen, "name": other},
        {**stolen, "key": other, "key_name": other, "path": f"{names.mount}/decrypt/{other}"},
        {**stolen, "key_version": 1},
        {**stolen, "associated_data": CONTEXT},
        {"ciphertext": wraps["sales_card"], "context": OTHER_CONTEXT},
        {"ciphertext": wraps["sales_card"]},
        {"ciphertext": wraps["sales_card"], "context": ""},
    ]
    for trick in tricks:
        for extra in ({}, {"name": other}, {"partial_failure_response_code": 200}):
            body = {"batch_input": [good, trick], **extra}
            _, answer = thief("POST", f"{names.mount}/decrypt/{own}", body)
            found = [item.get("plaintext") for item in (answer.get("data") or {}).get("batch_results", [])]
            assert not any(found[1:]), trick
        assert thief("POST", f"{names.mount}/decrypt/{other}", {"batch_input": [good, trick]})[0] == 403
        assert thief("POST", f"{names.mount}/decrypt/{own}", trick)[0] == 400


def test_a_wrap_opens_in_its_own_context_only(thief: Thief, names: VaultNames, wraps: dict[str, str]) -> None:
    path = f"{names.mount}/decrypt/{names.category('sales_card')}"
    for context in (OTHER_CONTEXT, base64.b64encode(b"subject 1 ").decode(), base64.b64encode(b"subject").decode()):
        assert thief("POST", path, {"ciphertext": wraps["sales_card"], "context": context})[0] == 400
    assert thief("POST", path, {"ciphertext": wraps["sales_card"], "context": CONTEXT})[0] == 200

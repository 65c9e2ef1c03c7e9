"""Vault and OpenBao in particular: exact request counts, what Vault itself refuses, what its audit log shows."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vaultstore.errors import KeyServiceRefused, SettingsError
from vaultstore.keys import LoginEnded, VaultKeys
from vaultstore.keys.vault_service import VaultKeyService
from vaultstore.policy.access import KeyAccess
from vaultstore.testing import OpenBaoServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration

Requests = list[tuple[str, str, int]]
VaultMaker = Callable[..., VaultKeys]


@pytest.fixture
def requests() -> Requests:
    return []


@pytest.fixture
def counted(make_vault: VaultMaker, access: KeyAccess, requests: Requests) -> VaultKeys:
    keys = make_vault(on_request=lambda *seen: requests.append(seen))
    keys.provision(access)
    return keys


def entered(keys: VaultKeys, access: KeyAccess, purpose: str = "registration") -> VaultKeyService:
    return keys.login(login_token(keys, access, purpose))


def items(count: int) -> list[tuple[bytes, bytes]]:
    return [(f"context-{n}".encode(), bytes([n % 256]) * 32) for n in range(count)]


def as_root(server: OpenBaoServer, method: str, path: str, body: object = None) -> dict[str, Any]:
    status, answer = server.request(method, path, body)
    assert status < 300, (method, path, status)
    return answer


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (150, [150]), (151, [150, 1]), (400, [150, 150, 100])])
def test_a_batch_takes_as_few_requests_as_it_can(
    counted: VaultKeys, access: KeyAccess, requests: Requests, count: int, sizes: list[int]
) -> None:
    service = entered(counted, access)

    def spent(action: Callable[[], list[Any]]) -> list[Any]:
        requests.clear()
        found = action()
        assert [size for _, _, size in requests] == sizes
        return found

    wraps = spent(lambda: service.wrap("contact", items(count)))
    pairs = [(context, wrapped) for (context, _), wrapped in zip(items(count), wraps, strict=True)]
    assert spent(lambda: service.unwrap("contact", pairs, reference="r")) == [data_key for _, data_key in items(count)]
    upkeep = counted.login(login_token(counted, access, "maintenance.keys"))
    assert None not in spent(lambda: upkeep.rewrap("contact", pairs))
    spent(lambda: service.hmac("Member.phone", [context for context, _ in pairs]))


@pytest.mark.parametrize("batch", [1, 7, 499])
def test_the_size_of_a_batch_can_be_set(make_vault: VaultMaker, access: KeyAccess, batch: int) -> None:
    seen: Requests = []
    keys = make_vault(batch=batch, on_request=lambda *request: seen.append(request))
    keys.provision(access)
    service = entered(keys, access)
    seen.clear()
    service.hmac("Member.phone", [str(n).encode() for n in range(20)])
    assert len(seen) == -(-20 // batch)


def test_the_default_batch_is_within_what_a_stock_server_takes(vault: VaultKeys, access: KeyAccess) -> None:
    service = entered(vault, access)
    wraps = service.wrap("contact", items(150))
    pairs = [(context, wrapped) for (context, _), wrapped in zip(items(150), wraps, strict=True)]
    assert None not in service.unwrap("contact", pairs, reference=str(uuid.uuid4()))


def test_a_login_a_signature_and_the_public_keys_take_one_request_each(
    counted: VaultKeys, access: KeyAccess, requests: Requests
) -> None:
    requests.clear()
    token = login_token(counted, access, "registration")
    assert [method for method, _, _ in requests] == ["GET", "POST"]
    requests.clear()
    counted.login(token).close()
    assert [(method, path.rpartition("/")[2]) for method, path, _ in requests] == [
        ("POST", "login"),
        ("POST", "revoke-self"),
    ]


def test_a_refused_batch_costs_one_more_request_that_tells_an_ended_login_apart(
    counted: VaultKeys, access: KeyAccess, requests: Requests
) -> None:
    service = entered(counted, access, "sales.outreach")
    requests.clear()
    with pytest.raises(KeyServiceRefused, match="may not"):
        service.wrap("contact", items(1))
    assert [path.rpartition("/")[2] for _, path, _ in requests][1:] == ["lookup-self"]


def test_an_expired_login_is_told_apart(make_vault: VaultMaker, access: KeyAccess) -> None:
    keys = make_vault(login_ttl=1)
    keys.provision(access)
    service = entered(keys, access)
    service.wrap("contact", items(1))
    time.sleep(1.2)
    with pytest.raises(LoginEnded, match="registration has expired or was revoked"):
        service.wrap("contact", items(1))


def test_closing_revokes_the_token_at_vault(vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer) -> None:
    service = entered(vault, access)
    token = service._token
    assert openbao.request("GET", "auth/token/lookup-self", token=token)[0] == 200
    service.close()
    assert openbao.request("GET", "auth/token/lookup-self", token=token)[0] == 403


def test_the_issuers_token_is_not_revoked_by_closing(make_vault: VaultMaker, openbao: OpenBaoServer) -> None:
    make_vault().close()
    assert openbao.request("GET", "auth/token/lookup-self")[0] == 200


def test_a_client_token_is_no_login_at_vault_itself(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    path = f"auth/{vault._names.auth_mount}/login"
    good = login_token(vault, access, "registration")
    assert openbao.request("POST", path, {"role": "registration", "jwt": good}, token="")[0] == 200
    for claims in ({"aud": "vaultstore"}, {"pol": "sha256:old"}, {"exp": None}):
        bad = login_token(vault, access, "registration", **claims)
        assert openbao.request("POST", path, {"role": "registration", "jwt": bad}, token="")[0] == 400
    # Another purpose's role does not take it either, whatever the caller asks for.
    assert openbao.request("POST", path, {"role": "sales.outreach", "jwt": good}, token="")[0] == 400


def test_a_sales_login_can_do_nothing_else_at_vault(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    (contact,) = entered(vault, access).wrap("contact", items(1))
    token = entered(vault, access, "sales.outreach")._token
    names = vault._names
    mount, role = names.mount, f"auth/{names.auth_mount}/role/sales.outreach"
    card, phone, signer = names.category("contact"), names.index("Member.phone"), names.signing("tokens")
    own = names.category("sales_card")
    context = base64.b64encode(b"context-0").decode()
    for method, path, body in [
        ("POST", f"{mount}/decrypt/{card}", {"ciphertext": contact, "context": context}),
        ("POST", f"{mount}/encrypt/{own}", {"plaintext": context, "context": context}),
        ("POST", f"{mount}/rewrap/{own}", {"ciphertext": contact, "context": context}),
        ("POST", f"{mount}/datakey/plaintext/{own}", {"context": context}),
        ("POST", f"{mount}/hmac/{phone}", {"input": context}),
        ("POST", f"{mount}/sign/{signer}", {"input": context}),
        ("POST", f"{mount}/keys/{own}/rotate", None),
        ("POST", f"{mount}/keys/{own}/config", {"exportable": True}),
        ("POST", f"{mount}/keys/{own}/trim", {"min_available_version": 1}),
        ("POST", f"{mount}/keys/new", {"type": "aes256-gcm96"}),
        ("GET", f"{mount}/keys/{own}", None),
        ("GET", f"{mount}/export/encryption-key/{own}", None),
        ("GET", f"{mount}/backup/{own}", None),
        ("POST", role, {"bound_claims": {}}),
        ("GET", role, None),
        ("PUT", f"sys/policies/acl/{names.acl('sales.outreach')}", {"policy": ""}),
        ("POST", "auth/token/create", {}),
        ("GET", "sys/mounts", None),
    ]:
        assert openbao.request(method, path, body, token=token)[0] == 403, path
    # A wrap of another category handed to its own key does not open either.
    status, _ = openbao.request(
        "POST", f"{mount}/decrypt/{own}", {"ciphertext": contact, "context": context}, token=token
    )
    assert status == 400


def test_logins_are_bound_to_networks(make_vault: VaultMaker, access: KeyAccess) -> None:
    elsewhere = make_vault(bound_cidrs=["10.99.0.0/24"])
    elsewhere.provision(access)
    with pytest.raises(KeyServiceRefused, match="refused the login"):
        entered(elsewhere, access)
    here = make_vault(bound_cidrs=["127.0.0.0/8"])
    here.provision(access)
    entered(here, access).close()


def test_a_rotated_index_key_does_not_change_digests(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    service = entered(vault, access)
    before = service.hmac("Member.phone", [b"+8613812345678"])
    as_root(openbao, "POST", f"{vault._names.mount}/keys/{vault._names.index('Member.phone')}/rotate")
    assert service.hmac("Member.phone", [b"+8613812345678"]) == before


def test_a_rotated_signing_key_signs_anew_and_its_old_version_still_verifies(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    old = vault.sign("tokens", b"payload")
    names = vault._names
    as_root(openbao, "POST", f"{names.mount}/keys/{names.signing('tokens')}/rotate")
    assert (old.key_id, vault.sign("tokens", b"payload").key_id) == ("tokens:1", "tokens:2")
    assert list(vault.public_keys("tokens")) == ["tokens:1", "tokens:2"]
    with pytest.raises(KeyServiceRefused):
        entered(vault, access)
    vault.provision(access)
    entered(vault, access).close()
    config = {"min_decryption_version": 2, "min_encryption_version": 2}
    as_root(openbao, "POST", f"{names.mount}/keys/{names.signing('tokens')}/config", config)
    assert list(vault.public_keys("tokens")) == ["tokens:2"]


def test_provisioned_keys_can_never_leave_and_unknown_ones_are_not_made_on_the_way(
    vault: VaultKeys, openbao: OpenBaoServer
) -> None:
    names = vault._names
    for key in (names.category("contact"), names.index("Member.phone"), names.signing("tokens")):
        data = as_root(openbao, "GET", f"{names.mount}/keys/{key}")["data"]
        assert (data["exportable"], data["allow_plaintext_backup"], data["deletion_allowed"]) == (False, False, False)
    body = {"plaintext": "AAAA"}
    assert openbao.request("POST", f"{names.mount}/encrypt/{names.category('unknown')}", body)[0] == 400


def test_a_provisioned_role_has_no_leeway_no_default_policy_and_one_static_acl(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    names = vault._names
    role = as_root(openbao, "GET", f"auth/{names.auth_mount}/role/sales.outreach")["data"]
    assert role["bound_audiences"] == ["vault"]
    assert role["bound_claims"] == {"purpose": "sales.outreach", "pol": "sha256:s1"}
    assert {role[f"{name}_leeway"] for name in ("clock_skew", "expiration", "not_before")} == {-1}
    assert (role["token_policies"], role["token_no_default_policy"]) == ([names.acl("sales.outreach")], True)
    lookup = openbao.request("GET", "auth/token/lookup-self", token=entered(vault, access, "sales.outreach")._token)[1]
    assert lookup["data"]["policies"] == [names.acl("sales.outreach")]
    assert lookup["data"]["meta"]["purpose"] == "sales.outreach"
    assert lookup["data"]["ttl"] <= 900


def test_provisioning_twice_changes_nothing_and_only_reads(
    counted: VaultKeys, access: KeyAccess, openbao: OpenBaoServer, requests: Requests
) -> None:
    names = counted._names

    def state() -> list[Any]:
        paths = [
            *(f"{names.mount}/keys/{names.category(name)}" for name in sorted(access.categories)),
            f"auth/{names.auth_mount}/config",
            *(f"auth/{names.auth_mount}/role/{purpose}" for purpose in access.purposes),
            *(f"sys/policies/acl/{names.acl(purpose)}" for purpose in access.purposes),
            f"sys/mounts/{names.mount}/tune",
        ]
        return [as_root(openbao, "GET", path)["data"] for path in paths]

    before = state()
    requests.clear()
    counted.provision(access)
    assert state() == before
    assert {method for method, _, _ in requests} == {"GET", "LIST"}


def test_provisioning_removes_former_purposes_of_its_own_only(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    names = vault._names
    foreign = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["x"], "token_policies": ["someone-elses"]}
    as_root(openbao, "POST", f"auth/{names.auth_mount}/role/foreign", foreign)
    vault.provision(replace(access, purposes={"registration": access.purposes["registration"]}))
    listed = as_root(openbao, "LIST", f"auth/{names.auth_mount}/role")["data"]["keys"]
    assert sorted(listed) == ["foreign", "registration"]
    assert openbao.request("GET", f"sys/policies/acl/{names.acl('sales.outreach')}")[0] == 404


def test_what_belongs_to_somebody_else_is_left_alone(
    make_vault: VaultMaker, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    issuer = make_vault()
    issuer.provision(access)
    with pytest.raises(SettingsError, match="serves another issuer"):
        issuer.provision(replace(access, issuer="another"))
    mounted = make_vault()
    as_root(openbao, "POST", f"sys/mounts/{mounted._names.mount}", {"type": "kv"})
    with pytest.raises(SettingsError, match="of type kv"):
        mounted.provision(access)
    typed = make_vault()
    as_root(openbao, "POST", f"sys/mounts/{typed._names.mount}", {"type": "transit"})
    body = {"type": "aes256-gcm96", "derived": True, "exportable": True}
    as_root(openbao, "POST", f"{typed._names.mount}/keys/{typed._names.category('contact')}", body)
    with pytest.raises(SettingsError, match="its exportable is not False"):
        typed.provision(access)


def test_a_purpose_that_vault_would_rename_is_refused(make_vault: VaultMaker, access: KeyAccess) -> None:
    with pytest.raises(SettingsError, match="lower case"):
        make_vault().provision(replace(access, purposes={"Sales": access.purposes["sales.outreach"]}))


def test_a_process_without_a_token_of_its_own_only_logs_purposes_in(
    vault: VaultKeys, access: KeyAccess, openbao: OpenBaoServer
) -> None:
    names = vault._names
    reader = VaultKeys(openbao.url, mount=names.mount, prefix=names.prefix, auth_mount=names.auth_mount)
    service = reader.login(login_token(vault, access, "registration"))
    assert len(service.wrap("contact", items(1))) == 1
    for action in (lambda: reader.sign("tokens", b""), lambda: reader.provision(access)):
        with pytest.raises(KeyServiceRefused, match="without a token"):
            action()
    reader.close()


def test_vaults_audit_log_joins_each_item_to_our_entry_and_holds_no_data_key(
    openbao_raft: OpenBaoServer, access: KeyAccess
) -> None:
    name = uuid.uuid4().hex[:10]
    with VaultKeys(
        openbao_raft.url, token=openbao_raft.root_token, mount=f"t-{name}", prefix=f"{name}-", auth_mount=f"j-{name}"
    ) as keys:
        keys.provision(access)
        token = login_token(keys, access, "registration")
        service = keys.login(token)
        vault_token = service._token
        pairs = [(c, w) for (c, _), w in zip(items(3), service.wrap("contact", items(3)), strict=True)]
        reference = str(uuid.uuid4())
        service.unwrap("contact", pairs, reference=reference)
        service.close()
    entries = [e for e in openbao_raft.audit_entries() if f"t-{name}/decrypt/" in e["request"].get("path", "")]
    request = next(e["request"] for e in entries if e["type"] == "request")
    seen = [(item["reference"], base64.b64decode(item["context"])) for item in request["data"]["batch_input"]]
    assert seen == [(reference, context) for context, _ in pairs]
    assert {e["auth"]["metadata"]["purpose"] for e in entries} == {"registration"}
    raw = openbao_raft.audit_log.read_text()
    for secret in (base64.b64encode(items(3)[1][1]).decode(), vault_token, token, openbao_raft.root_token):
        assert secret not in raw
    json.loads(raw.splitlines()[0])

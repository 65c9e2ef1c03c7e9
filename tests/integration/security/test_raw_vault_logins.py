"""Login tokens and logins at a real Vault: replayed, touched, taken elsewhere, and kept after a right was lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.vault_plane import ISSUER, Thief, VaultWorld, shipped
from vaultstore.errors import KeyServiceRefused
from vaultstore.keys import VaultKeys
from vaultstore.keys.vault_names import VaultNames
from vaultstore.planes.vault_operator import issuer_acl
from vaultstore.policy.access import KeyAccess
from vaultstore.policy.bound import BoundPolicy
from vaultstore.testing import OpenBaoServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration

SALES = "sales.outreach"
CONTEXT = "c3ViamVjdCAx"


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


def test_a_login_token_is_for_one_role_and_one_minute(
    world: VaultWorld, keys: VaultKeys, access: KeyAccess, names: VaultNames
) -> None:
    token = login_token(keys, access, SALES)
    path = f"auth/{names.auth_mount}/login"
    assert world.server.request("POST", path, {"role": SALES, "jwt": token}, token="")[0] == 200
    for role in (*sorted(set(access.purposes) - {SALES}), "", "root", "../config", f"{SALES}/../registration"):
        assert world.server.request("POST", path, {"role": role, "jwt": token}, token="")[0] == 400, role
    short = int(time.time())
    replayed = login_token(keys, access, SALES, exp=short + 2)
    assert world.server.request("POST", path, {"role": SALES, "jwt": replayed}, token="")[0] == 200
    time.sleep(max(0.0, short + 2.1 - time.time()))
    assert world.server.request("POST", path, {"role": SALES, "jwt": replayed}, token="")[0] == 400


def test_a_login_token_that_was_touched_is_none(
    world: VaultWorld, keys: VaultKeys, access: KeyAccess, names: VaultNames
) -> None:
    def refused(**claims: Any) -> None:
        header = claims.pop("header", None)
        token = login_token(keys, access, SALES, header=header, **claims)
        status, _ = world.server.request(
            "POST", f"auth/{names.auth_mount}/login", {"role": SALES, "jwt": token}, token=""
        )
        assert status == 400, (header, claims)

    for claims in (
        {"aud": "vaultstore"},
        {"aud": ["vaultstore"]},
        {"iss": "another"},
        {"pol": ["sha256:0", "sha256:1"]},
        {"purpose": "registration"},
        {"exp": None, "nbf": None, "iat": None},
        {"exp": int(time.time()) - 1},
        {"nbf": int(time.time()) + 30},
        {"sub": None},
        {"header": {"alg": "none"}},
        {"header": {"alg": "HS256"}},
    ):
        refused(**claims)


def test_a_role_for_another_network_logs_nobody_in_here(openbao: OpenBaoServer, bound: BoundPolicy) -> None:
    elsewhere = VaultWorld(openbao)
    elsewhere.plane(bound, bound_cidrs=["192.0.2.0/24"]).apply()
    keys = elsewhere.keys()
    with pytest.raises(KeyServiceRefused, match="refused the login"):
        keys.login(login_token(keys, bound.key_access(ISSUER), SALES))
    elsewhere.close()


def test_a_token_stays_in_its_network_also_after_the_login(openbao: OpenBaoServer, bound: BoundPolicy) -> None:
    here = VaultWorld(openbao)
    here.plane(bound, bound_cidrs=["127.0.0.0/8"]).apply()
    keys = here.keys()
    service = keys.login(login_token(keys, bound.key_access(ISSUER), SALES))
    status, answer = openbao.request("GET", "auth/token/lookup-self", token=service._token)
    assert (status, answer["data"]["bound_cidrs"]) == (200, ["127.0.0.0/8"])
    service.close()
    here.close()


def test_a_purpose_that_lost_a_right_loses_it_in_logins_that_are_open(
    openbao: OpenBaoServer, bound: BoundPolicy, access: KeyAccess
) -> None:
    own = VaultWorld(openbao)
    keys = own.keys()
    keys.provision(access)
    service = keys.login(login_token(keys, access, SALES))
    thief = Thief(openbao.url, service._token)
    path = f"{keys.names.mount}/decrypt/{keys.names.category('sales_card')}"
    assert thief("POST", path, {"ciphertext": "vault:v1:AAAA", "context": CONTEXT})[0] == 400
    fewer = {name: rights for name, rights in access.purposes.items() if name != SALES}
    keys.provision(KeyAccess(access.issuer, access.categories, access.indexes, fewer))
    assert thief("POST", path, {"ciphertext": "vault:v1:AAAA", "context": CONTEXT})[0] == 403
    thief.close()
    own.close()


def test_the_issuers_token_signs_and_opens_nothing(world: VaultWorld, names: VaultNames, access: KeyAccess) -> None:
    name = f"{names.prefix}issuer-only"
    world.plant(f"sys/policies/acl/{name}", {"policy": issuer_acl(names)})
    body = {"policies": [name], "no_default_policy": True}
    token = world.server.request("POST", "auth/token/create", body)[1]["auth"]["client_token"]
    issuer = Thief(world.server.url, token)
    assert issuer("POST", f"{names.mount}/sign/{names.signing('tokens')}", {"input": "AAAA"})[0] == 200
    assert issuer("GET", f"{names.mount}/keys/{names.signing('tokens')}")[0] == 200
    for category in access.categories:
        opening = {"ciphertext": "vault:v1:AAAA", "context": CONTEXT}
        assert issuer("POST", f"{names.mount}/decrypt/{names.category(category)}", opening)[0] == 403
    assert issuer("POST", f"{names.mount}/keys/{names.signing('tokens')}/rotate")[0] == 403
    assert issuer("GET", f"auth/{names.auth_mount}/role/{SALES}")[0] == 403
    issuer.close()

"""What an operator sets at a real OpenBao besides the policy: lives, rates, rights, namespaces, the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.vault_plane import FEWER, ISSUER, POLICY, VaultWorld, bind
from vaultstore.errors import KeyServiceRefused, KeyServiceUnavailable, SettingsError
from vaultstore.planes.vault_operator import operator_acl
from vaultstore.testing import OpenBaoServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration


@pytest.fixture
def world(openbao: OpenBaoServer) -> Iterator[VaultWorld]:
    made = VaultWorld(openbao)
    yield made
    made.close()


def test_a_login_lives_no_longer_than_its_purposes_tokens(world: VaultWorld, tmp_path: Path) -> None:
    bound = bind(POLICY.replace("ttl: 15m", "ttl: 60s"), tmp_path)
    world.plane(bound, login_ttl=300).apply()
    lives = {
        purpose: world.root("GET", f"auth/{world.prefix}jwt/role/{purpose}")["token_ttl"] for purpose in bound.purposes
    }
    assert lives == {"sales.outreach": 60, "care.complaint": 300, "registration": 300}


def test_an_index_key_answers_at_most_its_rate(world: VaultWorld, tmp_path: Path) -> None:
    bound = bind(POLICY, tmp_path)
    world.plane(bound, hmac_rate=2).apply()
    keys = world.keys(retries=0)
    service = keys.login(login_token(keys, bound.key_access(ISSUER), "care.complaint"))
    index = next(iter(bound.key_access(ISSUER).purposes["care.complaint"].hmac))
    with pytest.raises(KeyServiceUnavailable, match="status 429: it is over a rate quota"):
        for n in range(50):
            service.hmac(index, [str(n).encode()])
    patient = world.keys()
    service = patient.login(login_token(patient, bound.key_access(ISSUER), "care.complaint"))
    assert len([service.hmac(index, [str(n).encode()]) for n in range(6)]) == 6
    raised = world.plane(bound, hmac_rate=40)
    assert {change.action for change in raised.plan()} == {"change"}
    raised.apply()
    assert len([service.hmac(index, [str(n).encode()]) for n in range(9)]) == 9
    none = world.plane(bound)
    assert {change.action for change in none.plan()} == {"remove"}
    none.apply()
    assert list(none.differences()) == []


def test_the_operators_policy_is_enough_and_the_least_of_it_is_named_when_missing(
    world: VaultWorld, tmp_path: Path
) -> None:
    bound = bind(POLICY, tmp_path)
    text = operator_acl(world.keys().names)
    name = f"{world.prefix}operator"
    world.plant(f"sys/policies/acl/{name}", {"policy": text})
    world.plant(f"sys/policies/acl/{name}-less", {"policy": text.replace('"sys/policies/acl"', '"sys/nothing"')})
    token, less = (
        world.server.request("POST", "auth/token/create", {"policies": [each], "no_default_policy": True})[1]["auth"][
            "client_token"
        ]
        for each in (name, f"{name}-less")
    )
    with pytest.raises(KeyServiceRefused, match=r"refused LIST sys/policies/acl \(not permitted\)"):
        world.plane(bound, token=less).apply()
    plane = world.plane(bound, token=token, hmac_rate=5, admin_policies=(name, f"{name}-less"))
    plane.apply()
    world.plane(bind(FEWER, tmp_path), token=token).apply()
    plane.apply()
    assert list(plane.differences()) == []
    assert all(probe.agrees for probe in plane.probes())
    stranger = world.plane(bound, token=token, hmac_rate=5)
    assert {d.thing for d in stranger.differences()} == {f"ACL policy {name}", f"ACL policy {name}-less"}


def test_a_namespace_gets_all_but_what_belongs_to_the_root(world: VaultWorld, tmp_path: Path) -> None:
    space = world.prefix.rstrip("-")
    world.plant(f"sys/namespaces/{space}", {})
    bound = bind(POLICY, tmp_path)
    with pytest.raises(SettingsError, match="root namespace"):
        world.plane(bound, namespace=space, hmac_rate=5).apply()
    plane = world.plane(bound, namespace=space)
    plane.apply()
    assert list(plane.plan()) == []
    assert list(plane.differences()) == []
    assert all(probe.agrees for probe in plane.probes())


def test_vaults_audit_log_shows_the_reference_with_each_unwrap_and_with_refusals(
    openbao_raft: OpenBaoServer, tmp_path: Path
) -> None:
    world = VaultWorld(openbao_raft)
    bound = bind(POLICY, tmp_path)
    world.plane(bound).apply()
    keys = world.keys()
    service = keys.login(login_token(keys, bound.key_access(ISSUER), "sales.outreach"))
    service.unwrap("sales_card", [(b"context", "vault:v1:AAAA")], reference="entry-4711")
    with pytest.raises(KeyServiceRefused):
        service.unwrap("identity", [(b"context", "vault:v1:AAAA")], reference="entry-4712")
    seen = {
        (entry["request"]["path"].rpartition("cat-")[2], value)
        for entry in openbao_raft.audit_entries()
        if f"{world.prefix}transit/decrypt" in entry["request"].get("path", "")
        for value in entry["request"].get("headers", {}).get("x-vaultstore-request-id", [])
    }
    assert seen == {("sales_card", "entry-4711"), ("identity", "entry-4712")}
    world.close()

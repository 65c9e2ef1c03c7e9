"""Applying a policy to a real OpenBao: from nothing, again, stopped half-way, and from one policy to another."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.soaking import often
from tests.support.vault_plane import FEWER, ISSUER, OTHER, POLICY, VaultWorld, bind, shipped
from vaultstore.errors import KeyServiceRefused, SettingsError
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.testing import OpenBaoServer
from vaultstore.testing.logins import login_token

pytestmark = pytest.mark.integration

CATEGORIES = ("contact", "identity", "sales_card", "browsing")
INDEXES = ("Member.email", "Member.phone")


class Cut(Exception):
    """The process that applies ends here."""


@pytest.fixture
def world(openbao: OpenBaoServer) -> Iterator[VaultWorld]:
    made = VaultWorld(openbao)
    yield made
    made.close()


def cut_at(world: VaultWorld, write: int) -> None:
    """End the process just before it sends its write number `write` (from 0)."""
    left = iter(range(write + 1))

    def before(method: str, path: str) -> None:
        if method not in ("GET", "LIST") and next(left) == write:
            raise Cut

    world.before = before


def go_on(world: VaultWorld) -> None:
    world.before = lambda method, path: None


def test_apply_makes_everything_from_nothing_as_planned_and_then_nothing(world: VaultWorld, tmp_path: Path) -> None:
    plane = world.plane(bind(POLICY, tmp_path), hmac_rate=50, bound_cidrs=["127.0.0.0/8"])
    planned = list(plane.plan())
    assert world.writes == []
    assert list(plane.apply()) == planned
    assert {change.action for change in planned} == {"create"}
    assert len(world.writes) == len(planned)
    world.requests.clear()
    assert list(plane.plan()) == list(plane.apply()) == []
    assert list(plane.differences()) == []
    assert world.writes == []
    assert [str(probe.cell) for probe in plane.probes() if not probe.agrees] == []


def test_the_shipped_policy_is_applied_and_every_cell_agrees(world: VaultWorld) -> None:
    bound = shipped()
    plane = world.plane(bound, hmac_rate=1000)
    plane.apply()
    probes = list(plane.probes())
    assert list(plane.differences()) == []
    assert [str(probe.cell) for probe in probes if not probe.agrees] == []
    access = bound.key_access(ISSUER)
    expected = {
        *((name, f"category {c}", "decrypt") for name, rights in access.purposes.items() for c in rights.unwrap),
        *((name, f"category {c}", "encrypt") for name, rights in access.purposes.items() for c in rights.wrap),
        *((name, f"index {i}", "hmac") for name, rights in access.purposes.items() for i in rights.hmac),
    }
    verbs = ("decrypt", "encrypt", "hmac")
    assert {
        (p.cell.purpose, p.cell.where, p.cell.operation) for p in probes if p.found and p.cell.operation in verbs
    } == (expected)


def test_probes_leave_no_login_behind(world: VaultWorld, tmp_path: Path) -> None:
    plane = world.plane(bind(POLICY, tmp_path))
    plane.apply()
    before = sorted(world.root("LIST", "auth/token/accessors")["keys"])
    assert sum(probe.found for probe in plane.probes()) > 3
    assert sorted(world.root("LIST", "auth/token/accessors")["keys"]) == before
    # Whoever stops looking half-way leaves none either.
    assert next(probe for probe in plane.probes() if probe.found).cell.operation == "log in"
    assert sorted(world.root("LIST", "auth/token/accessors")["keys"]) == before


def test_apply_from_nothing_goes_on_wherever_it_was_cut(world: VaultWorld, tmp_path: Path) -> None:
    plane = world.plane(bind(POLICY, tmp_path), hmac_rate=50)
    planned = list(plane.plan())
    runs = 0
    while True:
        world.requests.clear()
        cut_at(world, 1)
        try:
            plane.apply()
            break
        except Cut:
            runs += 1
            assert len(world.writes) == 1
    go_on(world)
    # A fresh auth mount keeps login tokens out of the audit log by itself, so the first step made two of the plan true.
    assert runs == len(planned) - 2
    assert list(plane.differences()) == []


def test_half_way_between_two_policies_nothing_is_open_that_neither_opens(world: VaultWorld, tmp_path: Path) -> None:
    old, new = world.plane(bind(POLICY, tmp_path)), world.plane(bind(OTHER, tmp_path))
    old.apply()
    before = world.rights()
    new.apply()
    after = world.rights()
    assert before != after
    old.apply()
    assert world.rights() == before
    writes = len(new.plan())
    assert writes > 3
    for write in range(writes):
        cut_at(world, write)
        with pytest.raises(Cut):
            new.apply()
        go_on(world)
        assert within(world.rights(), before) or within(world.rights(), after)
        new.apply()
        assert world.rights() == after
        assert list(new.differences()) == []
        old.apply()


def within(live: dict[str, set[str]], policy: dict[str, set[str]]) -> bool:
    return all(paths <= policy.get(role, set()) for role, paths in live.items())


def generated(seed: int) -> KeyAccess:
    chance = random.Random(seed)

    def some(names: tuple[str, ...]) -> frozenset[str]:
        return frozenset(name for name in names if chance.random() < 0.5)

    purposes = {
        f"p{n}": PurposeKeys(f"sha256:{seed}-{n}", some(CATEGORIES), some(CATEGORIES), some(INDEXES))
        for n in range(4)
        if chance.random() < 0.8
    }
    return KeyAccess(ISSUER, frozenset(CATEGORIES), INDEXES, purposes)


def check_generated(world: VaultWorld, seed: int) -> None:
    keys = world.keys()
    one, two = generated(2 * seed), generated(2 * seed + 1)
    keys.provision(one)
    before = world.rights()
    live = [before]
    for change in keys.changes(two):
        keys.make(change)
        live.append(world.rights())
    assert keys.changes(two) == []
    after = live[-1]
    assert set(after) == set(two.purposes)
    assert all(within(each, before) or within(each, after) for each in live)


@pytest.mark.parametrize("seed", range(4))
def test_every_step_between_generated_policies_is_within_one_of_them(world: VaultWorld, seed: int) -> None:
    check_generated(world, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4, 4 + often(56)))
def test_every_step_between_many_generated_policies_is_within_one_of_them(world: VaultWorld, seed: int) -> None:
    check_generated(world, seed)


def test_a_change_can_be_made_twice(world: VaultWorld) -> None:
    keys = world.keys()
    keys.provision(generated(2))
    for change in keys.changes(generated(3)):
        keys.make(change)
        keys.make(change)
    assert keys.changes(generated(3)) == []


def test_a_purpose_that_is_gone_loses_role_and_acl_and_no_key_goes(world: VaultWorld, tmp_path: Path) -> None:
    world.plane(bind(POLICY, tmp_path)).apply()
    plane = world.plane(bind(FEWER, tmp_path))
    keys = world.root("LIST", f"{world.prefix}transit/keys")["keys"]
    login = login_token(world.keys(), bind(POLICY, tmp_path).key_access(ISSUER), "registration")
    assert [str(change) for change in plane.plan()] == [
        "- JWT role registration: the policy does not have it",
        f"- ACL policy {world.prefix}registration: the policy does not have it",
    ]
    cut_at(world, 1)  # the role is gone, its ACL is not
    with pytest.raises(Cut):
        plane.apply()
    go_on(world)
    assert [d.thing for d in plane.differences()] == [f"ACL policy {world.prefix}registration"]
    plane.apply()
    assert list(plane.differences()) == []
    with pytest.raises(KeyServiceRefused, match="refused the login of registration"):
        world.keys().login(login)
    assert world.root("LIST", f"{world.prefix}transit/keys")["keys"] == keys


def test_what_others_have_is_not_touched(world: VaultWorld, tmp_path: Path) -> None:
    plane = world.plane(bind(POLICY, tmp_path), hmac_rate=9)
    plane.apply()
    mount, prefix = f"{world.prefix}transit", world.prefix
    neighbour = VaultWorld(world.server, f"{prefix}staging-")  # a prefix that begins with ours, and its own mounts
    other = neighbour.plane(bind(POLICY, tmp_path), hmac_rate=9)
    other.apply()
    foreign = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["x"], "token_policies": ["other"]}
    world.plant(f"auth/{prefix}jwt/role/foreign", foreign)
    world.plant("sys/policies/acl/other-thing", {"policy": 'path "secret/*" { capabilities = ["read"] }'})
    world.plant(f"sys/policies/acl/{prefix}issuer", {"policy": 'path "secret/*" { capabilities = ["read"] }'})
    world.root("POST", f"{mount}/keys/foreign", {"type": "aes256-gcm96", "exportable": True})
    world.plant(f"sys/quotas/rate-limit/{prefix}idx-foreign", {"path": f"{mount}/sign/foreign", "rate": 3})
    world.requests.clear()
    world.plane(bind(FEWER, tmp_path), hmac_rate=9).apply()
    assert {path for _, path in world.writes} == {
        f"auth/{prefix}jwt/role/registration",
        f"sys/policies/acl/{prefix}registration",
    }
    assert list(other.plan()) == []
    assert "registration" in neighbour.rights()
    neighbour.close()


def test_a_token_for_an_older_version_is_refused_for_the_changed_purposes_only(
    world: VaultWorld, tmp_path: Path
) -> None:
    old, new = bind(POLICY, tmp_path), bind(OTHER, tmp_path)
    world.plane(old).apply()
    keys = world.keys()
    tokens = {name: login_token(keys, old.key_access(ISSUER), name) for name in old.purposes}
    kept = keys.login(tokens["registration"])
    world.plane(new).apply()
    for name in ("sales.outreach", "care.complaint"):
        with pytest.raises(KeyServiceRefused, match=f"refused the login of {name}"):
            keys.login(tokens[name])
        keys.login(login_token(keys, new.key_access(ISSUER), name)).close()
    keys.login(tokens["registration"]).close()
    kept.wrap("contact", [(b"context", bytes(32))])


def test_a_key_that_could_leave_is_refused_before_anything_is_written(world: VaultWorld, tmp_path: Path) -> None:
    world.root("POST", f"sys/mounts/{world.prefix}transit", {"type": "transit"})
    body = {"type": "aes256-gcm96", "derived": True, "exportable": True}
    world.root("POST", f"{world.prefix}transit/keys/{world.prefix}cat-identity", body)
    plane = world.plane(bind(POLICY, tmp_path))
    for action in (plane.plan, plane.apply):
        with pytest.raises(SettingsError, match="its exportable is not False"):
            action()
    assert world.writes == []
    assert f"key {world.prefix}cat-identity is too open: expected exportable = false, found exportable = true" in [
        str(difference) for difference in plane.differences()
    ]


def test_a_plane_shows_nothing_of_its_token(world: VaultWorld, tmp_path: Path) -> None:
    plane = world.plane(bind(POLICY, tmp_path))
    assert isinstance(plane, VaultPlane)
    assert repr(plane) == "<VaultPlane of 3 purposes>"
    assert world.server.root_token not in plane.compile()

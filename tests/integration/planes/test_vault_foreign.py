"""What others put into a Vault that reaches what is ours: it is named, and it is theirs to remove."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.vault_drifts import CIDRS, HMAC_RATE
from tests.support.vault_plane import POLICY, VaultWorld, bind
from vaultstore.planes.vault import VaultPlane
from vaultstore.policy.bound import BoundPolicy
from vaultstore.testing import OpenBaoServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> BoundPolicy:
    return bind(POLICY, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def shared(openbao: OpenBaoServer) -> Iterator[VaultWorld]:
    made = VaultWorld(openbao)
    yield made
    made.close()


@pytest.fixture
def world(shared: VaultWorld, bound: BoundPolicy) -> VaultWorld:
    """A world that is as the policy wants it."""
    shared.plane(bound, hmac_rate=HMAC_RATE, bound_cidrs=CIDRS).apply()
    return shared


@pytest.fixture
def plane(world: VaultWorld, bound: BoundPolicy) -> VaultPlane:
    return world.plane(bound, hmac_rate=HMAC_RATE, bound_cidrs=CIDRS)


def found_of(plane: VaultPlane) -> list[str]:
    return [str(difference) for difference in plane.differences()]


@pytest.mark.parametrize(
    ("mount", "kind", "path", "body", "thing"),
    [
        ("approle", "approle", "role/x", {}, "approle role auth/{M}/role/x"),
        ("users", "userpass", "users/x", {"password": "x"}, "userpass role auth/{M}/users/x"),
        ("jwt2", "jwt", "role/x", {"user_claim": "sub", "bound_audiences": "y"}, "jwt role auth/{M}/role/x"),
    ],
)
def test_another_mounts_role_that_hands_out_an_acl_of_ours_is_named_and_left(
    world: VaultWorld, plane: VaultPlane, mount: str, kind: str, path: str, body: dict[str, str], thing: str
) -> None:
    name = f"{world.prefix}{mount}"
    world.root("POST", f"sys/auth/{name}", {"type": kind})
    given = {"role_type": "jwt", "token_policies": f"unknown,{world.prefix}registration"}
    world.root("POST", f"auth/{name}/{path}", {**body, **given})
    line = (
        f"{thing.replace('{M}', name)} is too open: expected none of our ACL policies, found hands out {world.prefix}"
    )
    assert [found.startswith(line) for found in found_of(plane)] == [True]
    plane.apply()
    assert len(found_of(plane)) == 1
    world.root("DELETE", f"sys/auth/{name}")


def test_a_token_role_and_a_group_that_hand_out_an_acl_of_ours_are_named(world: VaultWorld, plane: VaultPlane) -> None:
    world.plant("auth/token/roles/anybody", {"allowed_policies_glob": f"{world.prefix}*"})
    world.plant("identity/group/name/friends", {"policies": f"{world.prefix}sales.outreach"})
    everything = ", ".join(
        sorted(f"{world.prefix}{name}" for name in ("care.complaint", "registration", "sales.outreach"))
    )
    none = "is too open: expected none of our ACL policies, found hands out"
    assert found_of(plane) == [
        f"token role auth/token/roles/anybody {none} {everything}",
        f"identity group friends {none} {world.prefix}sales.outreach",
    ]
    for path in ("auth/token/roles/anybody", "identity/group/name/friends"):
        world.root("DELETE", path)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "{P}transit/*",
        "{P}transit/decrypt/+",
        "+/decrypt/{P}cat-contact",
        "{P}transit/decrypt/{{identity.entity.name}}",
        "{P}transit/export/encryption-key/{P}cat-c*",
        "{P}transit/keys/{P}cat-contact/rotate",
        "{P}transit/hmac/{P}idx-members.phone/sha2-256",
        "{P}transit/config/keys",
        "auth/{P}jwt/role/sales.outreach",
        "auth/{P}jwt/config",
        "sys/policies/acl/{P}*",
        "sys/policy/*",
    ],
)
def test_an_acl_of_others_that_reaches_ours_is_named_unless_it_may(
    world: VaultWorld, plane: VaultPlane, bound: BoundPolicy, pattern: str
) -> None:
    path = pattern.replace("{P}", world.prefix)
    world.plant("sys/policies/acl/somebodys", {"policy": f'path "{path}" {{ capabilities = ["update", "read"] }}'})
    (line,) = found_of(plane)
    assert line.startswith("ACL policy somebodys is too open: expected no path that reaches our keys")
    assert line.endswith(path)
    settings: dict[str, Any] = {"hmac_rate": HMAC_RATE, "bound_cidrs": CIDRS}
    assert found_of(world.plane(bound, admin_policies=("somebodys",), **settings)) == []
    world.root("DELETE", "sys/policies/acl/somebodys")


def test_an_acl_of_others_that_reaches_nothing_of_ours_is_not_named(world: VaultWorld, plane: VaultPlane) -> None:
    text = "".join(
        f'path "{path}" {{ capabilities = [{capabilities}] }}\n'
        for path, capabilities in [
            ("secret/*", '"create"'),
            ("transit-of-others/*", '"update"'),
            (f"{world.prefix}transit/decrypt/others", '"update"'),
            (f"{world.prefix}transit/keys/*", '"read", "list"'),
            (f"auth/{world.prefix}jwt/role/*", '"read"'),
            ("sys/policies/acl/*", '"read", "list"'),
            (f"{world.prefix}transit/*", '"deny"'),
        ]
    )
    world.plant("sys/policies/acl/harmless", {"policy": text})
    assert found_of(plane) == []
    world.root("DELETE", "sys/policies/acl/harmless")


def test_an_acl_with_our_prefix_that_we_did_not_write_is_named_and_left(world: VaultWorld, plane: VaultPlane) -> None:
    name = f"{world.prefix}backdoor"
    world.plant(f"sys/policies/acl/{name}", {"policy": 'path "secret/x" { capabilities = ["read"] }'})
    plane.apply()
    (line,) = found_of(plane)
    assert line.startswith(f"ACL policy {name} is too open: expected nothing else that begins with {world.prefix}")
    world.root("DELETE", f"sys/policies/acl/{name}")


def test_the_default_policy_is_looked_at_too(world: VaultWorld, plane: VaultPlane) -> None:
    before = world.root("GET", "sys/policies/acl/default")["policy"]
    wide = f'{before}\npath "{world.prefix}transit/decrypt/*" {{ capabilities = ["update"] }}\n'
    world.root("POST", "sys/policies/acl/default", {"policy": wide})
    (line,) = found_of(plane)
    assert line.startswith("ACL policy default is too open")
    world.root("POST", "sys/policies/acl/default", {"policy": before})
    assert found_of(plane) == []

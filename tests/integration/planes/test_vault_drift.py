"""What somebody changed at a live Vault: each drift is found by name, what opens something also by a probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.vault_drifts import CIDRS, CLOSING, FACTS, HMAC_RATE, OPENING
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


def red(plane: VaultPlane) -> list[str]:
    return [str(probe.cell) for probe in plane.probes() if not probe.agrees]


def named(world: VaultWorld, plane: VaultPlane, planted: Callable[[VaultWorld], None], line: str) -> None:
    planted(world)
    lines = [str(difference) for difference in plane.differences()]
    expected = line.replace("{P}", world.prefix)
    assert any(found.startswith(expected) for found in lines), lines


def mended(plane: VaultPlane) -> None:
    plane.apply()
    assert list(plane.differences()) == []


@pytest.mark.parametrize(("drift", "planted", "line", "cell"), OPENING, ids=[row[0] for row in OPENING])
def test_what_opens_is_named_turns_a_cell_red_and_is_closed_by_apply(
    world: VaultWorld, plane: VaultPlane, drift: str, planted: Any, line: str, cell: str
) -> None:
    named(world, plane, planted, line)
    assert any(found.startswith(cell) for found in red(plane))
    mended(plane)
    assert red(plane) == []


@pytest.mark.parametrize(("drift", "planted", "line", "cell"), CLOSING, ids=[row[0] for row in CLOSING])
def test_what_closes_is_named_turns_a_cell_red_and_is_opened_by_apply(
    world: VaultWorld, plane: VaultPlane, drift: str, planted: Any, line: str, cell: str
) -> None:
    named(world, plane, planted, line)
    assert any(found.startswith(cell) for found in red(plane))
    mended(plane)
    assert red(plane) == []


@pytest.mark.parametrize(("drift", "planted", "line"), FACTS, ids=[row[0] for row in FACTS])
def test_what_no_login_of_ours_can_show_is_named_and_mended_by_apply(
    world: VaultWorld, plane: VaultPlane, drift: str, planted: Any, line: str
) -> None:
    named(world, plane, planted, line)
    mended(plane)


def found_of(plane: VaultPlane) -> list[str]:
    return [str(difference) for difference in plane.differences()]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"exportable": True}, "expected exportable = false, found exportable = true"),
        (
            {"allow_plaintext_backup": True},
            "expected allow_plaintext_backup = false, found allow_plaintext_backup = true",
        ),
    ],
)
def test_a_key_that_can_leave_is_named(
    openbao: OpenBaoServer, bound: BoundPolicy, setting: dict[str, bool], line: str
) -> None:
    own = VaultWorld(openbao)
    plane = own.plane(bound)
    plane.apply()
    own.root("POST", f"{own.prefix}transit/keys/{own.prefix}cat-contact/config", setting)
    assert found_of(plane) == [f"key {own.prefix}cat-contact is too open: {line}"]
    own.close()


def test_a_vault_that_holds_nothing_is_all_too_closed(openbao: OpenBaoServer, tmp_path: Path) -> None:
    own = VaultWorld(openbao)
    plane = own.plane(bind(POLICY, tmp_path))
    verdicts = {difference.thing.split(" ")[0]: difference.verdict for difference in plane.differences()}
    assert {verdicts[kind] for kind in ("mount", "key", "trust", "ACL", "JWT")} == {"too closed"}
    probes = list(plane.probes())
    assert any(probe.expected for probe in probes)
    assert not any(probe.found for probe in probes)
    own.close()


def test_looking_and_probing_changes_nothing(world: VaultWorld, plane: VaultPlane) -> None:
    world.requests.clear()
    list(plane.differences())
    assert {method for method, _ in world.requests} <= {"GET", "LIST"}
    list(plane.probes())
    places = {path.removeprefix(f"{world.prefix}transit/").split("/")[0] for method, path in world.writes}
    assert places <= {"auth", "decrypt", "encrypt", "rewrap", "hmac", "sign", "sys"}
    assert {path for _, path in world.writes if path.startswith("sys/")} == {"sys/capabilities"}
    assert {path for _, path in world.writes if path.startswith("auth/")} == {
        f"auth/{world.prefix}jwt/login",
        "auth/token/revoke-self",
    }

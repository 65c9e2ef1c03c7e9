"""The planes' demo on servers of its own: each drift is named and healed, each statement of the intruder refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vaultstore.members.demo.planes_attacks import ATTACKS, Attack, attack, forged_leads
from vaultstore.members.demo.planes_drifts import DRIFTS, Drift, play
from vaultstore.members.demo.planes_stage import World, set_world
from vaultstore.planes.report import examine
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("planes_demo")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The shipped policy, applied to two servers of this module's own: the names in it are the demo's."""
    with OpenBaoServer() as bao, PostgresServer() as postgres:
        made = set_world(bao, postgres, tmp_path_factory.mktemp("planes-demo"))
        done = made.command("policy", "apply", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
        made.close()


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.what)
def test_a_planted_drift_is_named_and_healed(world: World, drift: Drift) -> None:
    assert examine(world.planes[drift.plane], probes=False).ok
    found = play(world, drift)
    assert found.named, found.lines
    assert found.healed, found.by
    assert found.by


def test_the_drifts_cover_every_plane() -> None:
    assert {drift.plane for drift in DRIFTS} == {"vault", "postgres", "library"}


def test_verify_ends_with_one_while_a_drift_is_there(world: World) -> None:
    codes = []

    def look() -> bool:
        done = world.command("policy", "verify", "--target", "postgres", "--no-probes")
        codes.append(done.returncode)
        return DRIFTS[0].names in done.stdout

    assert play(world, DRIFTS[0], meanwhile=look).ok
    codes.append(world.command("policy", "verify", "--target", "postgres", "--no-probes").returncode)
    assert codes == [1, 0]


@pytest.fixture(scope="module")
def leads(world: World) -> int:
    """Leads of the matchmaker whom the intruder would be."""
    return world.fill()


@pytest.mark.usefixtures("leads")
@pytest.mark.parametrize("tried", ATTACKS, ids=lambda tried: tried.what)
def test_raw_sql_under_the_crms_login_comes_to_nothing(world: World, tried: Attack) -> None:
    outcome = attack(world, tried)
    assert outcome.held, outcome.said


def test_a_superuser_is_not_held_so_the_attacks_can_fail(world: World, leads: int) -> None:
    with world.engine.connect() as connection:
        assert len(connection.exec_driver_sql("SELECT phone FROM members").all()) > leads


def test_forged_claims_are_believed_in_default_mode_and_not_in_strict_mode(world: World, leads: int) -> None:
    assert forged_leads(world) == leads
    world.strict = True
    try:
        done = world.command("policy", "apply", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        assert forged_leads(world) == 0
        assert world.command("policy", "verify", "--no-probes").returncode == 0
    finally:
        world.strict = False
        assert world.command("policy", "apply", "--yes").returncode == 0


@pytest.mark.soak
def test_the_demo_ends_well(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vaultstore.members.demo.planes"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert f"{len(DRIFTS)} drifts planted, {len(DRIFTS)} named and healed." in done.stdout
    assert "Strict mode: 0 rows." in done.stdout
    assert "\x1b" not in done.stdout

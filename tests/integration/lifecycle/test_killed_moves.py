"""Processes that move a table are killed at random, while old code goes on writing: no row is lost or half done."""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.legacy import NAME, World, moving_store, raw, sqlite_url
from tests.support.moving_process import main
from tests.support.soaking import often
from vaultstore import LocalKeys

pytestmark = pytest.mark.integration

ROWS = 250

_SERVER = multiprocessing.get_context("forkserver")  # real processes, that need not import everything anew
_SERVER.set_forkserver_preload(["tests.support.moving_process"])


class Killer:
    """Runs a step of a move in processes that are killed after a random time, until one gets to its end."""

    def __init__(self, url: str, folder: Path, dice: random.Random) -> None:
        self.url, self.folder, self.dice = url, folder, dice
        self.kills = 0

    def run(self, step: str, between: Callable[[], None], limit: int = 8) -> None:
        for attempt in range(limit + 1):
            ready = self.folder / f"ready-{step}-{uuid.uuid4().hex}"
            process = _SERVER.Process(target=main, args=(self.url, str(self.folder / "keys.json"), step, str(ready)))
            process.start()
            while not ready.exists() and process.is_alive():
                time.sleep(0.002)
            process.join(None if attempt == limit else self.dice.uniform(0.0, 0.3))
            if process.exitcode is None:
                process.kill()
                process.join()
                self.kills += 1
            else:
                assert process.exitcode == 0
                between()
                return
            between()
        pytest.fail("it never got to the end")


def _move(folder: Path, seed: int) -> int:
    """A whole move, killed again and again; how often."""
    dice, url = random.Random(seed), sqlite_url(folder)
    with LocalKeys.open(folder / "keys.json") as keys, moving_store(url, keys, rows=ROWS) as world:
        expected = {who: row[0] for who, row in raw(world.old).items()}
        ids = sorted(expected)
        seen: dict[uuid.UUID, bytes] = {}
        killer = Killer(url, folder, dice)

        def backfilling() -> None:
            _check(world, expected, seen)
            who = dice.choice(ids)
            expected[who] = f"137{dice.randrange(10**8):08d}"
            world.set(who, expected[who])
            seen.pop(who, None)
            assert raw(world.old)[who] == (expected[who], None, None, None)

        def cutting() -> None:
            rows = raw(world.old)
            assert all(row[0] in (None, expected[who]) for who, row in rows.items())
            assert {who: row[1] for who, row in rows.items()} == seen

        world.store.moves.start(NAME)
        killer.run("backfill", backfilling)
        world.store.moves.backfill(NAME, world.token())
        looked = world.store.moves.verify(NAME, world.token())
        assert (looked.rows, looked.failures) == (ROWS, ())
        seen = {who: row[1] for who, row in raw(world.old).items()}
        killer.run("cutover", cutting)
        world.store.moves.drop(NAME, world.token())
        assert world.phones() == expected
    return killer.kills


def _check(world: World, expected: dict[uuid.UUID, str], seen: dict[uuid.UUID, bytes]) -> None:
    """Each row is whole: not sealed at all, or sealed with all that belongs to it, and never sealed twice."""
    rows = raw(world.old)
    assert {who: row[0] for who, row in rows.items()} == expected
    for who, (_, sealed, index, projection) in rows.items():
        assert (sealed is None) == (index is None) == (projection is None)
        if who in seen:
            assert sealed == seen[who]
        elif sealed is not None:
            seen[who] = sealed


@pytest.mark.parametrize("seed", [1, 2])
def test_a_move_whose_processes_are_killed_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    assert _move(tmp_path, seed) > 0


@pytest.mark.soak
def test_a_move_is_killed_fifty_times(tmp_path: Path) -> None:
    wanted, kills, seed = often(50), 0, 100
    while kills < wanted:
        (folder := tmp_path / str(seed)).mkdir()
        kills += _move(folder, seed)
        seed += 1

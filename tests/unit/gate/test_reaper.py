"""Open keys are forgotten by a process that asks for nothing any more, and by one that asks for somebody erased."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import time
import weakref
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.unit.gate.test_two_processes import eraser
from tests.unit.gate.world import World
from vaultstore.errors import SubjectErased
from vaultstore.gate import KeyRef, cache
from vaultstore.gate.cache import KeyCache

__all__ = ["eraser"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATE = NOW + timedelta(days=1)


def refs(count: int) -> dict[KeyRef, AESGCM]:
    return {("contact", os.urandom(16), b"", at): AESGCM(os.urandom(32)) for at in range(count)}


def emptied(held: KeyCache) -> bool:
    """Whether a cache that nobody uses becomes empty; its length is all that is looked at."""
    until = time.monotonic() + 20
    while len(held) and time.monotonic() < until:
        time.sleep(0.02)
    return not len(held)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIFETIME", timedelta(seconds=0.3))


@pytest.mark.usefixtures("short")
def test_keys_that_nobody_asks_for_are_forgotten_when_their_time_is_over() -> None:
    caches = [KeyCache(LATE) for _ in range(20)]
    for each in caches:
        each.put(refs(3), NOW)
        each.put(refs(2), NOW)
    assert all(map(emptied, caches))
    caches[0].put(refs(1), NOW)
    assert emptied(caches[0])


@pytest.mark.usefixtures("short")
def test_keys_end_with_the_grant_also_where_nobody_asks() -> None:
    held = KeyCache(NOW + timedelta(seconds=0.1))
    held.put(refs(1), NOW)
    assert emptied(held)


def test_a_cache_is_not_kept_alive_to_be_emptied() -> None:
    held = KeyCache(LATE)
    held.put(refs(1), NOW)
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is None


def _child(held: KeyCache, answer: Connection) -> None:
    held.put(refs(1), NOW)
    answer.send(emptied(held))


@pytest.mark.usefixtures("short")
def test_a_forked_process_forgets_what_it_copied_once_it_opens_keys_itself() -> None:
    held = KeyCache(LATE)
    held.put(refs(1), NOW)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_child, args=(held, there))
    process.start()
    process.join(60)
    assert here.recv() is True


def test_warm_keys_of_a_member_whom_another_process_erased_open_nothing_and_are_dropped(
    world: World, eraser: subprocess.Popen[str]
) -> None:
    assert eraser.stdin is not None
    assert eraser.stdout is not None
    erased, other = world.members(2, "contact", by="register")
    opened = world.open("register")
    assert len(world.disclose(opened, [erased, other], "contact").keys) == 2
    warm = len(opened.cache)
    eraser.stdin.write(erased.hex() + "\n")
    eraser.stdin.flush()
    assert eraser.stdout.readline().strip() == erased.hex()
    assert len(opened.cache) == warm  # it can't know yet: what it may not do is use them
    disclosed = world.disclose(opened, [erased, other], "contact")
    assert [ref[1] for ref in disclosed.keys] == [other]
    assert isinstance(disclosed.refused[erased], SubjectErased)
    assert len(opened.cache) == warm - 1

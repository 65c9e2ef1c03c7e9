"""Open keys end with their time, are bounded, and show nothing."""

from __future__ import annotations

import copy
import os
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.gate import KeyRef
from vaultstore.gate.cache import LIFETIME, KeyCache

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATE = NOW + timedelta(days=1)


def refs(count: int, start: int = 1) -> dict[KeyRef, AESGCM]:
    return {("contact", bytes(16), b"", start + at): AESGCM(os.urandom(32)) for at in range(count)}


def test_a_key_is_open_for_five_minutes_and_no_longer() -> None:
    cache, keys = KeyCache(LATE), refs(1)
    cache.put(keys, NOW)
    assert cache.get(list(keys), NOW + LIFETIME - timedelta(microseconds=1)) == (keys, [])
    assert cache.get(list(keys), NOW + LIFETIME) == ({}, list(keys))
    assert len(cache) == 0


def test_putting_a_key_again_does_not_prolong_it() -> None:
    cache, keys = KeyCache(LATE), refs(1)
    cache.put(keys, NOW)
    cache.put(keys, NOW + timedelta(seconds=200))
    assert cache.get(list(keys), NOW + LIFETIME) == ({}, list(keys))


def test_no_key_is_open_past_the_grant() -> None:
    cache, keys = KeyCache(NOW + timedelta(seconds=10)), refs(1)
    cache.put(keys, NOW)
    assert cache.get(list(keys), NOW + timedelta(seconds=10)) == ({}, list(keys))
    cache.put(keys, NOW + timedelta(seconds=10))
    assert len(cache) == 0


def test_what_is_missing_is_told_once_and_in_order() -> None:
    cache, keys = KeyCache(LATE), refs(4)
    order = list(keys)
    cache.put({order[1]: keys[order[1]]}, NOW)
    found, missing = cache.get([order[3], order[1], order[0], order[3]], NOW)
    assert (list(found), missing) == ([order[1]], [order[3], order[0]])


def test_the_oldest_keys_make_room() -> None:
    cache = KeyCache(LATE, limit=10)
    first, second, third = refs(4), refs(4, 10), refs(4, 20)
    for keys in (first, second, third):
        cache.put(keys, NOW)
    assert len(cache) == 8
    assert cache.get(list(first), NOW)[0] == {}
    assert cache.get([*second, *third], NOW)[1] == []


def test_one_batch_beyond_the_limit_is_kept_whole() -> None:
    cache, keys = KeyCache(LATE, limit=2), refs(5)
    cache.put(keys, NOW)
    assert len(cache) == 5


def test_only_keys_that_were_allowed_seal_again() -> None:
    cache, keys = KeyCache(LATE), refs(2)
    one, other = keys
    cache.put(keys, NOW)
    assert cache.reusable([one[:3]], NOW) == {}
    cache.allow_reuse([one])
    assert cache.reusable([one[:3]], NOW) == {one[:3]: (one[3], keys[one])}
    cache.allow_reuse([other])
    assert cache.reusable([one[:3]], NOW) == {one[:3]: (other[3], keys[other])}
    cache.drop([other])
    assert cache.reusable([one[:3]], NOW) == {}
    cache.allow_reuse([other])  # no longer open
    assert cache.reusable([one[:3]], NOW) == {}


def test_keys_that_may_seal_again_end_with_their_time_too() -> None:
    cache, keys = KeyCache(LATE), refs(1)
    cache.put(keys, NOW)
    cache.allow_reuse(keys)
    assert cache.reusable([ref[:3] for ref in keys], NOW + LIFETIME) == {}


def test_clearing_forgets_everything() -> None:
    cache, keys = KeyCache(LATE), refs(3)
    cache.put(keys, NOW)
    cache.allow_reuse(keys)
    cache.clear()
    assert len(cache) == 0
    assert cache.reusable([ref[:3] for ref in keys], NOW) == {}


def test_it_shows_nothing_and_is_not_copied() -> None:
    cache = KeyCache(LATE)
    cache.put(refs(1), NOW)
    assert repr(cache) == "<KeyCache>"
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            act(cache)

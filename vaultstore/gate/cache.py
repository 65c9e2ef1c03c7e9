"""Data keys that a grant has open: bounded, and forgotten when their time is over."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.gate.protocol import KeyNeed, KeyRef
from vaultstore.gate.reaper import expire_after
from vaultstore.keys.handle import SecretHandle

__all__ = ["LIFETIME", "KeyCache"]

LIFETIME = timedelta(seconds=300)
"""How long a data key stays open, at most."""

_LIMIT = 1 << 16


class KeyCache(SecretHandle):
    """Open data keys of one grant, and which of them it may seal under. Safe to use from several threads.

    Keys come in groups that end together, at the latest at `ends`; a group is dropped whole, so a look-up needs no
    look at a clock for each key. A cache that nobody uses forgets them too, by elapsed time. Beyond `limit` keys the
    oldest group goes first.
    """

    __slots__ = ("__weakref__", "_closed", "_ends", "_groups", "_keys", "_limit", "_lock", "_reusable", "_watched")

    def __init__(self, ends: datetime, limit: int = _LIMIT) -> None:
        self._ends, self._limit = ends, limit
        self._lock = threading.Lock()
        self._closed = False
        self._watched = 0
        self._keys: dict[KeyRef, AESGCM] = {}
        self._groups: deque[tuple[datetime, float, list[KeyRef]]] = deque()
        self._reusable: dict[KeyNeed, KeyRef] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, refs: Sequence[KeyRef], now: datetime) -> tuple[dict[KeyRef, AESGCM], list[KeyRef]]:
        """Those of `refs` that are open, and the rest."""
        with self._lock:
            self._purge(now)
            keys = self._keys
            try:
                return {ref: keys[ref] for ref in refs}, []
            except KeyError:
                found = {ref: keys[ref] for ref in refs if ref in keys}
                return found, [ref for ref in dict.fromkeys(refs) if ref not in found]

    def reusable(self, needs: Iterable[KeyNeed], now: datetime) -> dict[KeyNeed, tuple[int, AESGCM]]:
        """For those of `needs` that have one, the key that this grant may seal under: (key id, key)."""
        with self._lock:
            self._purge(now)
            found: dict[KeyNeed, tuple[int, AESGCM]] = {}
            for need in needs:
                ref = self._reusable.get(need)
                if ref is not None and ref in self._keys:
                    found[need] = (ref[3], self._keys[ref])
            return found

    def put(self, keys: Mapping[KeyRef, AESGCM], now: datetime) -> None:
        """Keep `keys` open for a while."""
        with self._lock:
            self._purge(now)
            new = [ref for ref in keys if ref not in self._keys]
            if not new or now >= self._ends or self._closed:
                return
            self._keys.update((ref, keys[ref]) for ref in new)
            ends = min(now + LIFETIME, self._ends)
            after = (ends - now).total_seconds()
            self._groups.append((ends, time.monotonic() + after, new))
            while len(self._keys) > self._limit and len(self._groups) > 1:
                self._drop(self._groups.popleft()[2])
            watched, self._watched = self._watched, os.getpid()  # a forked process has its own to be watched by
        if watched != self._watched:
            expire_after(after, self)

    def expire(self) -> float | None:
        """Forget what is over by elapsed time; seconds until the next keys are, or None where none are left."""
        with self._lock:
            now, groups = time.monotonic(), self._groups
            while groups and groups[0][1] <= now:
                self._drop(groups.popleft()[2])
            self._watched = os.getpid() if groups else 0
            return groups[0][1] - now if groups else None

    def allow_reuse(self, refs: Iterable[KeyRef]) -> None:
        """From now on this grant may seal under `refs`: its purpose minted them, and they are committed."""
        with self._lock:
            self._reusable.update((ref[:3], ref) for ref in refs if ref in self._keys)

    def drop(self, refs: Iterable[KeyRef]) -> None:
        """Forget these keys."""
        with self._lock:
            self._drop(refs)

    def drop_subjects(self, subjects: Collection[bytes]) -> None:
        """Forget every key of these subjects."""
        with self._lock:
            self._drop([ref for ref in self._keys if ref[1] in subjects])

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._keys.clear()
            self._groups.clear()
            self._reusable.clear()

    def close(self) -> None:
        """Forget everything, and keep nothing that is still on its way."""
        with self._lock:
            self._closed = True
        self.clear()

    def _purge(self, now: datetime) -> None:
        groups = self._groups
        while groups and groups[0][0] <= now:
            self._drop(groups.popleft()[2])

    def _drop(self, refs: Iterable[KeyRef]) -> None:
        for ref in refs:
            self._keys.pop(ref, None)
            if self._reusable.get(ref[:3]) == ref:
                del self._reusable[ref[:3]]

"""Forgets open keys when their time is over, also in a process that asks for nothing any more.

One thread for all caches of the process. It goes by elapsed time; the caches' own clock decides whenever they are used.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from typing import Protocol

__all__ = ["Forgetful", "expire_after"]


class Forgetful(Protocol):
    """What forgets by elapsed time."""

    def expire(self) -> float | None:
        """Forget what is over; seconds until there is more to forget, or None."""


class _Reaper:
    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._due: list[tuple[float, int, weakref.ref[Forgetful]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, after: float, what: weakref.ref[Forgetful]) -> None:
        with self._wake:
            heapq.heappush(self._due, (time.monotonic() + after, next(self._numbers), what))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vaultstore-keys", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._wake.wait(self._due[0][0] - time.monotonic() if self._due else None)
                reference = heapq.heappop(self._due)[2]
            what = reference()
            more = None if what is None else what.expire()
            del what  # or this thread would keep the cache alive until the next one is due
            if more is not None:
                self.add(more, reference)


_reaper = _Reaper()


def _in_child() -> None:
    """A forked process has no thread: what it copied of others' caches is scheduled again when it is next used."""
    global _reaper
    _reaper = _Reaper()


os.register_at_fork(after_in_child=_in_child)


def expire_after(seconds: float, what: Forgetful) -> None:
    """Have `what` expire after so many seconds, if it is still there."""
    _reaper.add(seconds, weakref.ref(what))

"""A token bucket for each caller: so many requests a second on average, twice as many at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Rate"]

_MOST = 1024  # callers remembered; more of them than there are services means that they are made up


class Rate:
    """Admits `per_second` requests a second of each caller. Safe to use from several threads."""

    def __init__(self, per_second: int, seconds: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._seconds = per_second, 2.0 * per_second, seconds
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def admits(self, caller: str) -> bool:
        """Whether this request of `caller` may go on; it is counted if so."""
        with self._lock:
            now = self._seconds()
            left, then = self._left.pop(caller, (self._burst, now))
            left = min(self._burst, left + (now - then) * self._per_second)
            admitted = left >= 1
            self._left[caller] = (left - 1 if admitted else left, now)
            if len(self._left) > _MOST:
                self._left.pop(next(iter(self._left)))
            return admitted

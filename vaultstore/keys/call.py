"""The one way to a key service's network: every request that a key service makes passes through `call`.

It is the seam for asynchronous use. An asyncio session will replace what happens here (await the request in a worker
thread, from inside SQLAlchemy's greenlet) without a change in any caller; nothing else in this package blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["call"]

P = ParamSpec("P")
T = TypeVar("T")


def call(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run one request to a key service and return what it returns; its exceptions pass through."""
    return function(*args, **kwargs)

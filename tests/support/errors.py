"""Everything that an exception carries, for tests that search it for what must not be there."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator

__all__ = ["carried", "chain"]


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and its contexts, the suppressed ones too."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]


def carried(error: BaseException) -> bytes:
    """Texts, arguments, attributes and pickles of the whole chain."""
    parts = ["".join(traceback.format_exception(error)).encode()]
    for one in chain(error):
        parts += [str(one).encode(), repr(one.args).encode(), repr(vars(one)).encode(), pickle.dumps(one)]
    return b"\n".join(parts)

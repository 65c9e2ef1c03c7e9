"""New data keys: made at random, and wrapped in one request a category."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from vaultstore.envelope import new_key_id, wrap_context
from vaultstore.gate.ledger import Mint
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.protocol import KeyNeed, KeyRef

__all__ = ["by_category", "new_keys", "wrapped"]

T = TypeVar("T")
_SIZE = 32


def new_keys(needs: Iterable[KeyNeed]) -> dict[KeyRef, bytes]:
    """A new data key of 256 bits, under a new key id, for each of `needs`."""
    wanted = list(needs)
    pool = os.urandom(_SIZE * len(wanted))  # one call for all: the system call costs more than the bytes
    return {
        (*need, new_key_id()): pool[at : at + _SIZE]
        for need, at in zip(wanted, range(0, len(pool), _SIZE), strict=True)
    }


def wrapped(opened: OpenGrant, keys: Mapping[KeyRef, bytes]) -> list[Mint]:
    """Wrap `keys`, each bound to its subject, category and scope."""
    mints: list[Mint] = []
    for category, refs in by_category(keys, lambda ref: ref):
        items = [(wrap_context(ref[1], category, ref[2]), keys[ref]) for ref in refs]
        wraps = opened.ask(lambda service: service.wrap(category, items))  # noqa: B023 - called at once
        mints += [Mint(ref, wrap) for ref, wrap in zip(refs, wraps, strict=True)]
    return mints


def by_category(items: Iterable[T], ref: Callable[[T], KeyRef]) -> list[tuple[str, list[T]]]:
    """`items` in groups of one category each, in the order of their first one."""
    groups: dict[str, list[T]] = defaultdict(list)
    for item in items:
        groups[ref(item)[0]].append(item)
    return list(groups.items())

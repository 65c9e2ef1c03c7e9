"""Which keys with a scope a request names: distinct (subject, scope) pairs, kept beside its entry.

A pair is 33 bytes: subject (16), 1 where a scope follows or 0 where the key has none (1), scope (16, or zeros). A
request whose keys have no scope keeps no pairs; one that names a scope keeps every pair, also those without a scope.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from vaultstore.errors import UnsupportedOperation
from vaultstore.gate.protocol import KeyRef

__all__ = ["Admitted", "ScopePair", "pack_pairs", "pairs_of", "unpack_pairs"]

ScopePair = tuple[bytes, bytes]
"""(subject of 16 bytes, scope: empty or 16 bytes)."""

_SIZE = 33
_NO_SCOPE, _SCOPE = bytes(17), b"\x01"

_scope_of = itemgetter(2)


@dataclass(frozen=True, slots=True)
class Admitted:
    """What an entry admitted."""

    categories: Collection[str]
    subjects: Collection[bytes]
    pairs: Collection[ScopePair] | None
    """None: keys without a scope only."""

    def covers(self, ref: KeyRef) -> bool:
        """Whether this very key was asked for and admitted, but for its id."""
        category, subject, scope, _ = ref
        if category not in self.categories or subject not in self.subjects:
            return False
        return not scope if self.pairs is None else (subject, scope) in self.pairs


def pairs_of(refs: Sequence[KeyRef]) -> Sequence[ScopePair]:
    """Distinct pairs of `refs`; none where no key has a scope. Raises UnsupportedOperation for a malformed scope."""
    if not any(map(_scope_of, refs)):  # the ordinary page
        return ()
    pairs = list(dict.fromkeys((subject, scope) for _, subject, scope, _ in refs))
    if any(len(scope) not in (0, 16) for _, scope in pairs):
        raise UnsupportedOperation("a scope is empty, or 16 bytes: the bytes of a UUID")
    return pairs


def pack_pairs(pairs: Iterable[ScopePair]) -> bytes:
    """The pairs' bytes, one after the other."""
    return b"".join([subject + (_SCOPE + scope if scope else _NO_SCOPE) for subject, scope in pairs])


def unpack_pairs(packed: bytes) -> frozenset[ScopePair]:
    """The pairs that `pack_pairs` packed."""
    pieces = [packed[at : at + _SIZE] for at in range(0, len(packed), _SIZE)]
    return frozenset((piece[:16], piece[17:] if piece[16] else b"") for piece in pieces)

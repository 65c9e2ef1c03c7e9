"""Merkle trees as RFC 6962 section 2.1 defines them, over SHA-256: roots, proofs, and their verification.

A tree is described by its perfect nodes: node (level, index) covers the leaves ``[index << level, (index+1) << level)``
and never changes once its last leaf is there. Every proof is made of O(log n) of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeGuard

from vaultstore.errors import ProofError

__all__ = [
    "HASH_SIZE",
    "MAX_SIZE",
    "Node",
    "consistency_nodes",
    "consistency_proof",
    "inclusion_nodes",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "peaks",
    "root",
    "root_of_peaks",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE = 32
"""Length of every hash here, in bytes."""

MAX_SIZE = 2**63 - 1
"""Leaves of the largest tree: what a signed 64-bit integer counts."""

Node = tuple[int, int]
"""(level, index) of a perfect node."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(00 || data), 32 bytes."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(01 || left || right), 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of leaves already hashed by `leaf_hash`; SHA-256 of nothing for an empty tree.

    Level by level, left to right, an odd last hash moving up as it is: the same tree as RFC 6962's split at the
    largest power of two below the count.

    Raises ValueError where a leaf hash is not 32 bytes long.
    """
    level = list(leaf_hashes)
    if any(len(item) != HASH_SIZE for item in level):
        raise ValueError(f"a leaf hash has {HASH_SIZE} bytes")
    if not level:
        return sha256().digest()
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = iter(level)
        level = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)] + odd
    return level[0]


# ------------------------------------------------------------------------------------------------------ proving


def peaks(size: int) -> list[Node]:
    """The perfect nodes that a tree of `size` leaves falls into, left to right."""
    return list(_perfect(0, size))


def root_of_peaks(hashes: Sequence[bytes]) -> bytes:
    """The root of a tree from the hashes of its `peaks`, left to right."""
    if not hashes:
        return sha256().digest()
    *left, folded = hashes
    for item in reversed(left):
        folded = node_hash(item, folded)
    return folded


def inclusion_nodes(index: int, size: int) -> list[list[Node]]:
    """What `inclusion_proof` needs: for each hash of the proof, the perfect nodes that it is folded from.

    Raises ProofError unless ``0 <= index < size``.
    """
    _check_position(index, size)
    return [list(_perfect(start, end)) for start, end in _path(index, 0, size)]


def inclusion_proof(index: int, size: int, nodes: Mapping[Node, bytes]) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 section 2.1.1), from the leaf upwards.

    `nodes` holds at least those of `inclusion_nodes`. Raises ProofError unless ``0 <= index < size``.
    """
    return [root_of_peaks([nodes[node] for node in part]) for part in inclusion_nodes(index, size)]


def consistency_nodes(size1: int, size2: int) -> list[list[Node]]:
    """What `consistency_proof` needs, as `inclusion_nodes`. Raises ProofError unless ``0 <= size1 <= size2``."""
    _check_sizes(size1, size2)
    if size1 in (0, size2):
        return []
    return [list(_perfect(start, end)) for start, end in _subproof(size1, 0, size2, whole=True)]


def consistency_proof(size1: int, size2: int, nodes: Mapping[Node, bytes]) -> list[bytes]:
    """The proof that the tree of `size2` leaves begins with that of `size1` (RFC 6962 section 2.1.2).

    `nodes` holds at least those of `consistency_nodes`. Raises ProofError unless ``0 <= size1 <= size2``.
    """
    return [root_of_peaks([nodes[node] for node in part]) for part in consistency_nodes(size1, size2)]


def _perfect(start: int, end: int) -> Iterator[Node]:
    """The perfect nodes of the range, left to right. It begins where a subtree of its size may begin."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _split(size: int) -> int:
    """The largest power of two below `size` (RFC 6962's k)."""
    return 1 << (size - 1).bit_length() - 1


def _path(index: int, start: int, end: int) -> list[tuple[int, int]]:
    """The ranges beside the way from the leaf up to the root of the range, lowest first."""
    ranges = []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def _subproof(size1: int, start: int, end: int, whole: bool) -> list[tuple[int, int]]:
    """RFC 6962's SUBPROOF(m, D[n], b) as ranges; `size1` counts from the tree's beginning."""
    ranges = []
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    return ([] if whole else [(start, end)]) + ranges[::-1]


# ---------------------------------------------------------------------------------------------------- verifying


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the tree of `size` leaves with this `root` has this leaf at `index` (RFC 9162 section 2.1.3.2).

    Which side each hash of `proof` stands on, and how many there must be, follows from `index` and `size` alone.
    Raises ProofError, whatever the input.
    """
    _check_position(index, size)
    _check_hashes((leaf_hash, root), proof)
    inner, border = _lengths(index, size)
    if len(proof) != inner + border:
        raise ProofError(f"a proof for leaf {index} of {size} has {inner + border} hashes, this one {len(proof)}")
    folded = leaf_hash
    for level, item in enumerate(proof):
        right = level >= inner or index >> level & 1
        folded = node_hash(item, folded) if right else node_hash(folded, item)
    if folded != root:
        raise ProofError(f"the proof does not lead from this leaf at {index} to the root of the tree of {size}")


def verify_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> None:
    """Check that the tree of `size2` leaves begins with that of `size1` (RFC 9162 section 2.1.4.2).

    An empty tree, whose root is SHA-256 of nothing, begins every tree. Raises ProofError, whatever the input.
    """
    _check_sizes(size1, size2)
    _check_hashes((root1, root2), proof)
    if size1 == 0 and root1 != sha256().digest():
        raise ProofError("the root of a tree without leaves is SHA-256 of nothing")
    if size1 == size2 and root1 != root2:
        raise ProofError(f"two trees of {size1} leaves have different roots: one history was replaced by another")
    wanted = _consistency_length(size1, size2)
    if len(proof) != wanted:
        raise ProofError(f"a proof from {size1} to {size2} leaves has {wanted} hashes, this one {len(proof)}")
    if size1 in (0, size2):
        return
    # The rightmost perfect node of the old tree: all of the old tree where its size is a power of two.
    shift = (size1 & -size1).bit_length() - 1
    rest = iter(proof)
    old = new = root1 if size1 == 1 << shift else next(rest)
    index = (size1 - 1) >> shift
    inner, _ = _lengths(index, (size2 - 1 >> shift) + 1)
    for level, item in enumerate(rest):
        if level >= inner or index >> level & 1:
            old, new = node_hash(item, old), node_hash(item, new)
        else:
            new = node_hash(new, item)
    if old != root1 or new != root2:
        raise ProofError(f"the tree of {size2} leaves does not begin with that of {size1}: its past was changed")


def _lengths(index: int, size: int) -> tuple[int, int]:
    """How many hashes of a leaf's path stand below the right border of the tree, and how many beside it."""
    inner = (index ^ (size - 1)).bit_length()
    return inner, (index >> inner).bit_count()


def _consistency_length(size1: int, size2: int) -> int:
    if size1 in (0, size2):
        return 0
    shift = (size1 & -size1).bit_length() - 1
    inner, border = _lengths((size1 - 1) >> shift, (size2 - 1 >> shift) + 1)
    return inner + border + (size1 != 1 << shift)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_SIZE


def _check_position(index: int, size: int) -> None:
    if not _is_count(size) or not _is_count(index) or index >= size:
        raise ProofError("a leaf's index is a whole number from 0, below the tree's size")


def _check_sizes(size1: int, size2: int) -> None:
    if not _is_count(size1) or not _is_count(size2) or size1 > size2:
        raise ProofError("tree sizes are whole numbers from 0, the second at least the first")


def _check_hashes(single: Sequence[bytes], proof: Sequence[bytes]) -> None:
    if not isinstance(proof, list | tuple) or not all(map(_is_hash, (*single, *proof))):
        raise ProofError(f"hashes are bytes, {HASH_SIZE} each, and a proof is a list of them")


def _is_hash(value: object) -> bool:
    return type(value) is bytes and len(value) == HASH_SIZE

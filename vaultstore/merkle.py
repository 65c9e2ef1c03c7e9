"""Merkle trees as RFC 6962 section 2.1 defines them, over SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

__all__ = ["HASH_SIZE", "leaf_hash", "node_hash", "root"]

HASH_SIZE = 32
"""Length of every hash here, in bytes."""


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

"""What goes into the gate and what comes out: the three verbs' requests and answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.records.index_versions import FIRST, Versions

__all__ = ["Disclosed", "KeyNeed", "KeyRef", "Sealed", "Searched", "subject_ids"]

KeyRef = tuple[str, bytes, bytes, int]
"""One data key: (category, subject of 16 bytes, scope, key id)."""

KeyNeed = tuple[str, bytes, bytes]
"""What a writer needs a data key for: (category, subject of 16 bytes, scope)."""


@dataclass(frozen=True, slots=True)
class Disclosed:
    """Answer of `disclose`: a key or a typed refusal, subject by subject.

    A reference that is in neither did not unwrap: the cell raises DecryptionError.
    """

    entry: str | None
    """Id of the committed audit entry; None where nothing was asked."""
    keys: Mapping[KeyRef, AESGCM] = field(repr=False)
    refused: Mapping[bytes, AccessDenied]
    """Subject -> the refusal to raise."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """Answer of `seal`: a key for every need, and a digest for every value to index."""

    keys: Mapping[KeyNeed, tuple[int, AESGCM]] = field(repr=False)
    digests: Mapping[str, Sequence[bytes]] = field(repr=False)
    """Index name -> digests (32 bytes) in the order of the values given."""
    minted: Sequence[KeyRef] = ()
    """Keys made by this call: hand them to `OpenGrant.committed` or `OpenGrant.rolled_back`."""
    entry: str = ""
    """Id of the committed audit entry."""
    former: Mapping[str, Sequence[bytes]] = field(default_factory=dict, repr=False)
    """Unique index whose key is being rotated -> digests of the same values under the version on its way out.

    Rows may still have those, so a value is free only where `Gate.check_free` says so.
    """


@dataclass(frozen=True, slots=True)
class Searched:
    """Answer of `search`: the digests of the needles, and the entry that was charged for them."""

    entry: str
    digests: Sequence[bytes] = field(repr=False)
    """Under the version that rows are written with."""
    former: Sequence[bytes] = field(default=(), repr=False)
    """While the index's key is being rotated: digests of the same needles under the version on its way out."""
    versions: Versions = FIRST
    """What both are of: hits are believed where `Gate.found` still answers the same."""


def subject_ids(subjects: Iterable[bytes]) -> list[bytes]:
    """Distinct subjects in their order. Ids of other lengths, joined, could pass for other subjects'."""
    ids = list(dict.fromkeys(subjects))
    if any(len(subject) != 16 for subject in ids):
        raise UnsupportedOperation("a subject is the 16 bytes of a UUID")
    return ids

"""One sealed value: AES-256-GCM in Tink's wire format, bound by its AAD to the one cell it was sealed for.

docs/formats/ciphertext.md, aad.md and wrap-context.md give the tables. Everything here is deterministic: randomness
comes in as an argument, from `new_key_id`, `new_data_key` and `new_nonces`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.canonical import pae
from vaultstore.errors import DecryptionError, UnsupportedOperation

__all__ = [
    "CIPHERTEXT_MINIMUM",
    "CIPHERTEXT_VERSION",
    "AadTemplate",
    "key_id_of",
    "new_data_key",
    "new_key_id",
    "new_nonces",
    "open_sealed",
    "seal",
    "wrap_context",
]

CIPHERTEXT_VERSION: Final = b"\x01"
"""First byte of every ciphertext."""
CIPHERTEXT_MINIMUM: Final = 33
"""Least length of a ciphertext in bytes: version 1, key id 4, nonce 12, tag 16."""

_AAD_LABEL, _WRAP_LABEL = b"vaultstore/v1", b"vaultstore/wrap/v1"
_NONCE, _DATA_KEY, _ID = 12, 32, 16
_LENGTH_OF_ID = _ID.to_bytes(8, "little")
_header: Callable[[bytes], tuple[int, int]] = Struct(">BI").unpack_from


@dataclass(frozen=True, slots=True)
class AadTemplate:
    """The AAD of one column's cells, with all that does not change from cell to cell prepared.

    AAD = PAE("vaultstore/v1", context name, row key, subject, category, scope). `of` builds it whole; an inner loop
    joins ``template.head + middle + tail``, where `middle` is made once a row and `tail` once a scope.
    """

    context_name: str
    """`table.column`, or the name the field was pinned to."""
    category: str
    """The category whose data key seals the cell; of a projection column, the projection."""
    head: bytes = field(init=False, repr=False, compare=False)
    """The bytes before the row key's length."""
    _category: bytes = field(init=False, repr=False, compare=False)
    _unscoped: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = pae(_AAD_LABEL, self.context_name.encode())[8:]
        category = pae(self.category.encode())[8:]
        object.__setattr__(self, "head", (6).to_bytes(8, "little") + parts)
        object.__setattr__(self, "_category", category)
        object.__setattr__(self, "_unscoped", category + bytes(8))

    @staticmethod
    def middle(row: bytes, subject: bytes) -> bytes:
        """The part that all cells of one row share; `row` and `subject` are 16 bytes each (UUID.bytes)."""
        if len(row) != _ID or len(subject) != _ID:
            raise UnsupportedOperation("row key and subject are 16 bytes each: the bytes of a UUID")
        return _LENGTH_OF_ID + row + _LENGTH_OF_ID + subject

    def tail(self, scope: bytes) -> bytes:
        """The part after the subject; `scope` is empty, or 16 bytes (UUID.bytes)."""
        if not scope:
            return self._unscoped
        if len(scope) != _ID:
            raise UnsupportedOperation("a scope is empty, or 16 bytes: the bytes of a UUID")
        return self._category + _LENGTH_OF_ID + scope

    def of(self, row: bytes, subject: bytes, scope: bytes = b"") -> bytes:
        """The AAD of the cell in this column of `row`. Raises UnsupportedOperation for an id of another length."""
        return self.head + self.middle(row, subject) + self.tail(scope)


def wrap_context(subject: bytes, category: str, scope: bytes = b"") -> bytes:
    """What a wrapped data key is bound to: PAE("vaultstore/wrap/v1", subject, category, scope).

    `subject` is 16 bytes, `scope` empty or 16 bytes. The Vault client sends it in base64 as Transit's `context`.
    """
    if len(subject) != _ID or (scope and len(scope) != _ID):
        raise UnsupportedOperation("a subject is 16 bytes, a scope empty or 16 bytes: the bytes of a UUID")
    head, tail = _wrap_frame(category, len(scope))
    return head + subject + tail + scope


@lru_cache(maxsize=256)
def _wrap_frame(category: str, scope_length: int) -> tuple[bytes, bytes]:
    """What stands before the subject, and between subject and scope: the same for every data key of a category."""
    context = pae(_WRAP_LABEL, bytes(_ID), category.encode(), bytes(scope_length))
    at = len(pae(_WRAP_LABEL, b"", b"", b"")) - 16
    return context[:at], context[at + _ID : len(context) - scope_length]


def new_key_id(random: Callable[[int], bytes] = os.urandom) -> int:
    """A random key id: a uint32 other than 0."""
    while not (key_id := int.from_bytes(random(4), "big")):
        pass
    return key_id


def new_data_key(random: Callable[[int], bytes] = os.urandom) -> bytes:
    """A random data key of 256 bits."""
    return random(_DATA_KEY)


def new_nonces(count: int, random: Callable[[int], bytes] = os.urandom) -> list[bytes]:
    """`count` random nonces of 96 bits, in one call for randomness.

    NIST SP 800-38D section 8.3 allows 2^32 random nonces a key; a data key belongs to one subject and category.
    """
    pool = random(_NONCE * count)
    return [pool[start : start + _NONCE] for start in range(0, _NONCE * count, _NONCE)]


def seal(aead: AESGCM, key_id: int, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """``01 || key_id (4, big-endian) || nonce (12) || AES-256-GCM ciphertext || tag (16)``.

    The form of Tink's AEAD with prefix TINK; the cipher is RFC 5116's AEAD_AES_256_GCM. `nonce` must be new for
    every call: take it from `new_nonces`.
    """
    if len(nonce) != _NONCE or not 0 < key_id < 0x1_0000_0000:
        raise UnsupportedOperation("a nonce is 12 bytes and a key id a uint32 other than 0")
    return b"\x01" + key_id.to_bytes(4, "big") + nonce + aead.encrypt(nonce, plaintext, aad)


def open_sealed(aead: AESGCM, ciphertext: bytes, aad: bytes) -> bytes:
    """The plaintext of `ciphertext`, where key and AAD are the ones it was sealed with.

    Raises DecryptionError for anything else: another version, too short, tampered with, moved, another key. The key
    id is no part of what the tag covers: it says which key to try, so `aead` is the key of `key_id_of(ciphertext)`.
    """
    key_id_of(ciphertext)
    try:
        return aead.decrypt(ciphertext[5:17], ciphertext[17:], aad)
    except InvalidTag:
        pass
    raise DecryptionError(
        "the ciphertext does not open: tampered with, moved to another cell, or sealed under another data key"
    )


def key_id_of(ciphertext: bytes) -> int:
    """The id of the data key that opens `ciphertext`. Raises DecryptionError where its header is not ours."""
    if type(ciphertext) is bytes and len(ciphertext) >= CIPHERTEXT_MINIMUM:
        version, key_id = _header(ciphertext)
        if version == 1 and key_id:
            return key_id
    raise _not_ours(ciphertext)


def _not_ours(ciphertext: object) -> DecryptionError:
    # Says how the header is wrong and repeats no byte of it: what is not a ciphertext may be somebody's plaintext.
    if type(ciphertext) is not bytes:
        reason = f"{type(ciphertext).__name__}, not bytes"
    elif len(ciphertext) < CIPHERTEXT_MINIMUM:
        reason = f"{len(ciphertext)} bytes long, at least {CIPHERTEXT_MINIMUM} needed"
    elif ciphertext[:1] != CIPHERTEXT_VERSION:
        reason = "unknown version byte"
    else:
        reason = "key id 0"
    return DecryptionError(f"not a ciphertext of this version: {reason}")

"""The lines beside an audit entry: one subject each, provable alone, erasable alone.

A line is 57 bytes: subject (16) ‖ salt (32) ‖ number (8, little-endian) ‖ outcome (1: an index into the entry's
outcomes). The entry's leaf carries only `subjects_root`, an RFC 6962 tree over the lines' sub-leaves
``PAE(salt, subject, LE64 number, categories, outcome)``. The salt hides the subject from whoever sees another line's
proof; once the line is erased nothing but its hash is left, and the root still holds. docs/formats/audit-leaf.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vaultstore import merkle
from vaultstore.errors import AuditError

__all__ = [
    "ERASED",
    "LINE_SIZE",
    "SALT_SIZE",
    "Line",
    "StoredLine",
    "erase_line",
    "pack_lines",
    "parse_lines",
    "subjects_root",
]

SALT_SIZE = 32
"""Bytes of random salt a line takes."""

ERASED = 255
"""Outcome byte of an erased line: its salt's place holds the sub-leaf's hash, subject and number are zero."""

_LINE = struct.Struct("<16s32s8sB")
LINE_SIZE = _LINE.size
"""Bytes of one line."""

_NO_SUBJECT, _NO_NUMBER = bytes(16), bytes(8)
_MAX_NUMBER = 2**63 - 1


def _le64(number: int) -> bytes:
    return number.to_bytes(8, "little")


# PAE of five parts, taken apart: what comes before the salt, the subject and the number is the same in every line.
_BEFORE_SALT = _le64(5) + _le64(SALT_SIZE)
_BEFORE_SUBJECT = _le64(16)
_BEFORE_NUMBER = _le64(8)


class Line(NamedTuple):
    """What happened to one subject in one entry."""

    subject: bytes
    """16 bytes."""
    number: int
    """Running number of this subject's lines; 0 for a subject that is not registered."""
    outcome: str
    """``disclosed``, or a refusal's code such as ``subject.restricted``."""


class StoredLine(NamedTuple):
    """A line as it was read back; of an erased one only the hash is left."""

    line: Line | None
    """None where the line was erased."""
    salt: bytes
    """32 bytes of salt, or the sub-leaf's hash where the line was erased."""


def pack_lines(lines: Sequence[Line], salts: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Pack `lines` with 32 bytes of `salts` each; give back the bytes and the outcomes they point into.

    Outcomes stand in the order of their first line. Raises AuditError for a subject that is not 16 bytes, a number
    outside 0 to 2⁶³-1, salts of the wrong size, or more than 255 different outcomes.
    """
    if len(salts) != SALT_SIZE * len(lines):
        raise AuditError(f"{len(lines)} lines need {SALT_SIZE * len(lines)} bytes of salt, got {len(salts)}")
    indexes: dict[str, int] = {}
    packed: list[bytes] = []
    pack, start = _LINE.pack, 0
    for subject, number, outcome in lines:
        if len(subject) != 16:
            raise AuditError(f"line {len(packed) + 1}: a subject has 16 bytes, this one {len(subject)}")
        if not 0 <= number <= _MAX_NUMBER:
            raise AuditError(f"line {len(packed) + 1}: number {number} is outside 0 to 2**63-1")
        index = indexes.setdefault(outcome, len(indexes))
        if index >= ERASED:
            raise AuditError(f"line {len(packed) + 1}: an entry has at most {ERASED} different outcomes")
        packed.append(pack(subject, salts[start : start + SALT_SIZE], number.to_bytes(8, "little"), index))
        start += SALT_SIZE
    return b"".join(packed), tuple(indexes)


def parse_lines(lines: bytes, outcomes: Sequence[str]) -> tuple[StoredLine, ...]:
    """Read packed lines back. Raises AuditError naming the first line that is malformed."""
    return tuple(
        StoredLine(None if index == ERASED else Line(subject, int.from_bytes(number, "little"), outcomes[index]), salt)
        for subject, salt, number, index in _checked(lines, len(outcomes))
    )


def subjects_root(lines: bytes, outcomes: Sequence[str], categories: Iterable[str]) -> bytes:
    """RFC 6962 root (32 bytes) over the sub-leaves of packed `lines`, in their order.

    `categories` are those of the whole entry. Raises AuditError naming the first line that is malformed.
    """
    tails = _tails(outcomes, categories)
    leaf_hash, join = merkle.leaf_hash, b"".join
    return merkle.root(
        [
            salt
            if index == ERASED
            else leaf_hash(join((_BEFORE_SALT, salt, _BEFORE_SUBJECT, subject, _BEFORE_NUMBER, number, tails[index])))
            for subject, salt, number, index in _checked(lines, len(outcomes))
        ]
    )


def erase_line(lines: bytes, outcomes: Sequence[str], categories: Iterable[str], subject: bytes) -> bytes:
    """`lines` with every line of `subject` reduced to its hash: id and salt are gone, the root is the same.

    Raises AuditError naming the first line that is malformed.
    """
    tails = _tails(outcomes, categories)
    kept: list[bytes] = []
    for who, salt, number, index in _checked(lines, len(outcomes)):
        if who == subject and index != ERASED:
            data = (_BEFORE_SALT, salt, _BEFORE_SUBJECT, who, _BEFORE_NUMBER, number, tails[index])
            kept.append(_LINE.pack(_NO_SUBJECT, merkle.leaf_hash(b"".join(data)), _NO_NUMBER, ERASED))
        else:
            kept.append(_LINE.pack(who, salt, number, index))
    return b"".join(kept)


def _tails(outcomes: Sequence[str], categories: Iterable[str]) -> list[bytes]:
    """For each outcome, the end of its lines' PAE: categories and outcome."""
    joined = ",".join(sorted(categories)).encode()
    head = _le64(len(joined)) + joined
    return [head + _le64(len(encoded)) + encoded for encoded in (outcome.encode() for outcome in outcomes)]


def _checked(lines: bytes, outcomes: int) -> list[tuple[bytes, bytes, bytes, int]]:
    if len(lines) % LINE_SIZE:
        raise AuditError(f"line {len(lines) // LINE_SIZE + 1} is cut short: {len(lines) % LINE_SIZE} bytes")
    if outcomes > ERASED:
        raise AuditError(f"an entry has at most {ERASED} different outcomes, this one {outcomes}")
    read = list(_LINE.iter_unpack(lines))
    for at, (subject, _, number, index) in enumerate(read, 1):
        if index >= outcomes:
            if index != ERASED:
                raise AuditError(f"line {at}: outcome {index} is not among the entry's {outcomes}")
            if subject != _NO_SUBJECT or number != _NO_NUMBER:
                raise AuditError(f"line {at} is marked as erased but still names a subject")
    return read

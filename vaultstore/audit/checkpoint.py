"""Checkpoints of the audit log: its size and root, signed (c2sp.org/tlog-checkpoint), and proofs that lead to one.

A checkpoint that lies somewhere else is what a log can be held to: whoever has one can tell that the log was cut,
rolled back or replaced since. docs/formats/notes.md.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vaultstore import merkle
from vaultstore.errors import ProofError
from vaultstore.signed_note import Note, NoteKey, Signed

__all__ = ["Checkpoint", "LeafProof", "read_checkpoint"]

_HEADER = "c2sp.org/tlog-proof@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_PROOF = 63


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its name (`origin`), how many entries it has, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of its note."""
        return f"{self.origin}\n{self.size}\n{encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a note's text; extension lines are ignored. Raises ProofError."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise ProofError("a checkpoint has at least three lines: the log's origin, its size, its root")
        return cls(lines[0], number(lines[1], "the size of a checkpoint"), decode(lines[2], "the root of a checkpoint"))


def read_checkpoint(note: Note, origin: str, keys: Iterable[NoteKey]) -> tuple[Checkpoint, list[Signed]]:
    """The checkpoint of a note by one of `keys`, and who signed it.

    Raises ProofError where the note does not hold, is another log's, or the log itself has not signed it.
    """
    signed = note.verify(keys)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != origin:
        raise ProofError(f"the checkpoint is of another log than {origin}")
    if not any(one.time is None for one in signed):
        raise ProofError("the checkpoint is signed by witnesses only, not by the log")
    return checkpoint, signed


@dataclass(frozen=True, slots=True)
class LeafProof:
    """That a leaf is in the log at `index`: hashes from the leaf upwards, and the checkpoint that they lead to."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Note

    def __str__(self) -> str:
        """The form of c2sp.org/tlog-proof."""
        lines = [_HEADER, f"index {self.index}", *map(encode, self.hashes)]
        return "\n".join(lines) + f"\n\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> LeafProof:
        """Read the text form; a line of extra data is ignored. Raises ProofError."""
        head, blank, note = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != _HEADER:
            raise ProofError(f"a proof begins with {_HEADER} and has an empty line before its checkpoint")
        if lines and lines[0].startswith("extra "):
            del lines[0]
        if not lines or not lines[0].startswith("index ") or len(lines) - 1 > _MAX_PROOF:
            raise ProofError(f"a proof names the index of its leaf, and then at most {_MAX_PROOF} hashes")
        index = number(lines[0].removeprefix("index "), "the index of a proof")
        return cls(index, tuple(decode(line, "a hash of a proof") for line in lines[1:]), Note.parse(note))

    def verify(self, leaf: bytes, origin: str, keys: Sequence[NoteKey]) -> Checkpoint:
        """Check that the log `origin`, whose keys and witnesses are `keys`, holds the leaf; the checkpoint it is in.

        `leaf` is the leaf itself, not its hash. Raises ProofError.
        """
        checkpoint, _ = read_checkpoint(self.checkpoint, origin, keys)
        merkle.verify_inclusion(merkle.leaf_hash(leaf), self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def encode(value: bytes) -> str:
    """A hash as a line of a note or a proof."""
    return base64.b64encode(value).decode()


def decode(text: str, what: str) -> bytes:
    """A hash from such a line. Raises ProofError saying what it is."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != merkle.HASH_SIZE or encode(value) != text:
        raise ProofError(f"{what} is not {merkle.HASH_SIZE} bytes in base64")
    return value


def number(text: str, what: str) -> int:
    """A count from its text. Raises ProofError saying what it is."""
    if not _NUMBER.fullmatch(text) or int(text) > merkle.MAX_SIZE:
        raise ProofError(f"{what} is not a whole number without leading zeros")
    return int(text)

"""Signed notes: text that one or more Ed25519 keys have signed, as c2sp.org/signed-note defines them.

Also the timestamped cosignatures of witnesses (c2sp.org/tlog-cosignature), which are signatures of another type over
the same text. docs/formats/notes.md.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from vaultstore.errors import ProofError

__all__ = ["COSIGNATURE", "ED25519", "MAX_NOTE", "Note", "NoteKey", "NoteSignature", "Signed", "cosign", "sign_note"]

ED25519 = 1
"""Signature type of a log's own Ed25519 signature."""
COSIGNATURE = 4
"""Signature type of a witness's timestamped Ed25519 cosignature."""

MAX_NOTE = 1024 * 1024
"""Bytes of the longest note that is read."""
_MAX_SIGNATURES = 100
_DASH = "\N{EM DASH} "
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_LATEST = 2**63 - 1

Sign = Callable[[bytes], bytes]
"""Message -> Ed25519 signature (64 bytes)."""


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that may sign notes: its name, its raw public key (32 bytes) and the type of its signatures.

    Raises ProofError for a name that is empty or holds a space or a plus, and for a key that is not one.
    """

    name: str
    public: bytes
    kind: int = ED25519

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise ProofError(
                "the name of a note's key is not empty and has no spaces, no plus and no control character"
            )
        if self.kind not in (ED25519, COSIGNATURE) or len(self.public) != _KEY_BYTES:
            raise ProofError(f"the note key {self.name} is no Ed25519 key of a type that is known here")

    @property
    def id(self) -> int:
        """The first four bytes of SHA-256(name || 0A || type || public key), big-endian."""
        digest = sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()
        return int.from_bytes(digest[:4], "big")

    def __str__(self) -> str:
        """The key as text, ``name+id in hex+base64(type || public key)``: what verifiers are configured with."""
        encoded = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.id:08x}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a key from its text form. Raises ProofError."""
        name, _, rest = text.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = _base64(encoded, "a note's key")
        key = cls(name, raw[1:], raw[0] if raw else 0)
        if f"{key.id:08x}" != key_id:
            raise ProofError(f"the id of the note key {name} does not belong to its name and key")
        return key


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: who says to have signed, and what."""

    name: str
    id: int
    value: bytes

    def __str__(self) -> str:
        encoded = base64.b64encode(struct.pack(">I", self.id) + self.value).decode()
        return f"{_DASH}{self.name} {encoded}\n"

    @classmethod
    def parse(cls, line: str) -> NoteSignature:
        """Read a signature line, without its newline. Raises ProofError."""
        if not line.startswith(_DASH):
            raise ProofError("a signature line of a note begins with an em dash and a space")
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        raw = _base64(encoded, "a signature line of a note")
        if not _is_name(name) or len(raw) < 5:
            raise ProofError("a signature line of a note names a key and holds a signature")
        return cls(name, int.from_bytes(raw[:4], "big"), raw[4:])


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was verified. `time` is POSIX seconds, of a cosignature only."""

    key: NoteKey
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A text (it ends in a newline) and the lines that sign it. Nothing of it counts before `verify`."""

    text: str
    signatures: tuple[NoteSignature, ...] = ()

    def __post_init__(self) -> None:
        if not self.text.endswith("\n") or any(c < " " and c != "\n" for c in self.text):
            raise ProofError("the text of a note ends in a newline and has no other control character")
        try:
            self.text.encode()
        except UnicodeEncodeError:
            raise ProofError("the text of a note is not Unicode text") from None

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    @classmethod
    def parse(cls, note: str | bytes) -> Note:
        """Read a note. The last empty line parts its text from its signatures. Raises ProofError."""
        if len(note) > MAX_NOTE:
            raise ProofError(f"a note has at most {MAX_NOTE} bytes")
        try:
            content = note.decode() if isinstance(note, bytes) else note
        except UnicodeDecodeError:
            raise ProofError("a note is UTF-8 text") from None
        text, blank, rest = content.rpartition("\n\n")
        lines = rest.split("\n")
        if not blank or not rest.endswith("\n") or len(lines) < 2:
            raise ProofError("a note is text, an empty line and at least one signature line, each ended by a newline")
        if len(lines) - 1 > _MAX_SIGNATURES:
            raise ProofError(f"a note has at most {_MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(map(NoteSignature.parse, lines[:-1])))

    def verify(self, keys: Iterable[NoteKey]) -> list[Signed]:
        """The signatures that hold, of those by `keys`; lines of other keys are ignored.

        Raises ProofError where no known key signed, or a signature that claims to be of a known key does not hold.
        """
        known = {(key.name, key.id): key for key in keys}
        held = [
            _verified(self.text, known[signature.name, signature.id], signature.value)
            for signature in self.signatures
            if (signature.name, signature.id) in known
        ]
        if not held:
            raise ProofError("no key that is trusted here has signed this note")
        return held

    def with_signatures(self, more: Iterable[NoteSignature]) -> Note:
        """The same note with further signatures; one of a (name, key) that signed already takes its place."""
        lines = {(signature.name, signature.id): signature for signature in (*self.signatures, *more)}
        return Note(self.text, tuple(lines.values()))


def sign_note(text: str, keys: Sequence[tuple[NoteKey, Sign]]) -> Note:
    """A note of `text` (it ends in a newline), signed by each key."""
    return Note(text, tuple(NoteSignature(key.name, key.id, sign(text.encode())) for key, sign in keys))


def cosign(text: str, key: NoteKey, sign: Sign, time: int) -> NoteSignature:
    """A witness's cosignature over the text of a checkpoint at `time` (POSIX seconds)."""
    return NoteSignature(key.name, key.id, struct.pack(">Q", time) + sign(_cosigned(text, time)))


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _verified(text: str, key: NoteKey, value: bytes) -> Signed:
    time, message = None, text.encode()
    if key.kind == COSIGNATURE and len(value) == 8 + _SIGNATURE_BYTES:
        time, value = int.from_bytes(value[:8], "big"), value[8:]
        message = _cosigned(text, time)
    try:
        if len(value) != _SIGNATURE_BYTES or (time is not None and time > _LATEST):
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(key.public).verify(value, message)
    except (InvalidSignature, ValueError):
        raise ProofError(f"the signature of {key.name} on this note does not hold: the note was altered") from None
    return Signed(key, time)


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " or "\ud800" <= c < "\ue000" for c in name)


def _base64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofError(f"{what} holds what is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise ProofError(f"{what} holds base64 that is not in its one form")
    return raw

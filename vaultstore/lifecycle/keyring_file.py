"""A dump of the keyring as a file: a wrapped key a line, and marks to go on from. docs/formats/keyring.md."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from vaultstore.canonical import canonical_json
from vaultstore.errors import ProofError, SettingsError, UnsupportedOperation
from vaultstore.records.base import rfc3339
from vaultstore.records.keyring_dump import DumpRow
from vaultstore.signed_note import Note, NoteKey

__all__ = ["DumpWriter", "Header", "Reader", "note_text"]

_FORMAT, _VERSION = "vaultstore-keyring", 1
_LONGEST = 16 * 1024
_MOST = 100_000
"""Keys between two marks, which are held in memory together; a writer puts a mark behind 2,000."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a dump begins with."""

    store: str
    made_at: datetime
    count: int
    """Keys there were when it was begun: a measure for a bar, no promise."""


def note_text(store: str, count: int, digest: bytes) -> str:
    """What is signed of a dump: it is no checkpoint of any log, since its second line is no number."""
    return f"{_FORMAT}\nof {store}\n{count}\n{digest.hex()}\n"


class Reader:
    """Reads a dump line by line and checks it as it goes. Memory does not grow with the file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._hash = sha256()
        self._number = 0
        self.count = 0
        self.last: DumpRow | None = None
        self.marked: tuple[int, int, DumpRow | None] = (0, 0, None)
        """Where the last mark that holds ends: byte, keys, the last of them."""
        self.note: Note | None = None
        """The signed end; None where there is none."""
        self.end_digest = b""
        self.header = self._header()

    def rows(self) -> Iterator[list[DumpRow]]:
        """The keys, those between two marks together: all of them are as they were written, and in order.

        Raises ProofError that names the line.
        """
        rows: list[DumpRow] = []
        while self.note is None and (raw := self._file.readline(_LONGEST + 1)):
            self._number += 1
            if raw[-1:] != b"\n":
                raise ProofError(f"{self._place}: the file ends in the middle of this line")
            content = self._content(raw[:-1])
            if isinstance(content, list):
                rows.append(self._row(content))
                if len(rows) > _MOST:
                    raise ProofError(f"{self._place}: there is no mark in {_MOST:,} keys: this is no dump of ours")
            else:
                self._mark(content)
                yield rows
                rows = []
            self._hash.update(raw)
            if not isinstance(content, list):
                self.marked = (self._file.tell(), self.count, self.last)
        if self.note is None:
            raise ProofError(f"{self._path}: the file has no end: its export was broken off; run it again to finish it")
        if self._file.read(1):
            raise ProofError(f"{self._place}: there is something behind the end of the dump")

    def verify(self, keys: Sequence[NoteKey]) -> None:
        """Check, after all rows, that the store signed this. Raises ProofError."""
        assert self.note is not None
        self.note.verify(keys)
        if self.note.text != note_text(self.header.store, self.count, self.end_digest):
            raise ProofError(f"{self._path}: its signature is of another dump")

    @property
    def _place(self) -> str:
        return f"{self._path}:{self._number}"

    def _header(self) -> Header:
        raw = self._file.readline(_LONGEST + 1)
        self._number = 1
        content = self._content(raw[:-1]) if raw[-1:] == b"\n" else None
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ProofError(f"{self._path} is not a dump of a keyring")
        if content.get("version") != _VERSION:
            raise ProofError(f"{self._path} is a dump of another version than {_VERSION}")
        self._hash.update(raw)
        try:
            header = Header(str(content["store"]), datetime.fromisoformat(content["made_at"]), int(content["count"]))
        except (KeyError, ValueError, TypeError):
            raise ProofError(f"{self._place}: this is not how a dump begins") from None
        self.marked = (self._file.tell(), 0, None)
        return header

    def _content(self, text: bytes) -> Any:
        try:
            content = json.loads(text)
            if isinstance(content, dict | list) and canonical_json(content) == text:
                return content
        except (UnsupportedOperation, ValueError, RecursionError):
            pass
        raise ProofError(f"{self._place}: this is not a line of a dump")

    def _row(self, content: list[Any]) -> DumpRow:
        try:
            subject, category, scope, key_id, wrapped, minted_by, minted_at = content
            row = DumpRow(
                uuid.UUID(subject).bytes,
                str(category),
                bytes.fromhex(scope),
                int(key_id),
                str(wrapped),
                str(minted_by),
                datetime.fromisoformat(minted_at),
            )
        except (ValueError, TypeError, AttributeError):
            raise ProofError(f"{self._place}: this is not a key of a dump") from None
        if self.last is not None and row.subject < self.last.subject:
            raise ProofError(f"{self._place}: this key does not come after the one before")
        self.last, self.count = row, self.count + 1
        return row

    def _mark(self, content: dict[str, Any]) -> None:
        digest = self._hash.digest()
        if content.get("count") != self.count or content.get("digest") != digest.hex():
            raise ProofError(f"{self._place}: a line above this mark was changed, put in or taken out")
        if "note" in content:
            self.note, self.end_digest = Note.parse(str(content["note"])), digest


class DumpWriter:
    """Writes a dump, or goes on with one that was broken off. Each page is on disk when `page` returns."""

    def __init__(self, path: Path, header: Header) -> None:
        """Begin the file, mode 0600, or go on with it. Raises SettingsError where it is finished or not ours."""
        self.path = path
        self.count, self.last, self._hash = 0, None, sha256()  # type: tuple[int, DumpRow | None, Any]
        new = not path.exists() or not path.stat().st_size
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._file = open(descriptor, "r+b")  # noqa: PTH123, SIM115 - opened above for its mode; closed by close()
        try:
            os.fchmod(descriptor, 0o600)
            if new:
                made = {"count": header.count, "made_at": rfc3339(header.made_at), "store": header.store}
                self._line({"format": _FORMAT, "version": _VERSION, **made})
                self._sync()
            else:
                self._go_on(header)
        except BaseException:
            self.close()
            raise

    def page(self, rows: Sequence[DumpRow]) -> None:
        """Write keys, and a mark behind them."""
        for row in rows:
            subject, scope, key_id = str(uuid.UUID(bytes=row.subject)), row.scope.hex(), str(row.key_id)
            self._line([subject, row.category, scope, key_id, row.wrapped, row.minted_by, rfc3339(row.minted_at)])
        self.count += len(rows)
        self.last = rows[-1]
        self._line({"count": self.count, "digest": self._hash.hexdigest()})
        self._sync()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the file so far."""
        digest: bytes = self._hash.digest()
        return digest

    def end(self, note: Note) -> None:
        """Finish the file. `note` is signed over `note_text` of the count and digest so far."""
        self._line({"count": self.count, "digest": self._hash.hexdigest(), "note": str(note)})
        self._sync()

    def close(self) -> None:
        """Close the file; where it is not finished, the next writer goes on with it."""
        self._file.close()

    def _go_on(self, header: Header) -> None:
        reader = Reader(self._file, self.path)
        if reader.header.store != header.store:
            raise SettingsError(f"{self.path} is the dump of another store, {reader.header.store}")
        try:
            for _ in reader.rows():
                pass
        except ProofError:
            if reader.note is not None:
                raise
        else:
            raise SettingsError(f"{self.path} is there already, and whole: name another file")
        ends, self.count, self.last = reader.marked
        self._file.truncate(ends)
        self._file.seek(0)
        while piece := self._file.read(1 << 16):
            self._hash.update(piece)

    def _line(self, content: Any) -> None:
        raw = canonical_json(content) + b"\n"
        self._file.write(raw)
        self._hash.update(raw)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

"""The journal's file: JSON lines, each with the hash of the one before. docs/formats/journal.md has the form.

The chain shows a line that was changed, put in or taken out. That the end was cut off shows against how far the
database says the journal had come.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from vaultstore.canonical import canonical_json
from vaultstore.errors import ProofError, SettingsError, UnsupportedOperation
from vaultstore.records.base import rfc3339
from vaultstore.records.journal import Position

__all__ = ["BEGIN", "VOID", "Head", "JournalFile", "Line", "unsettled"]

BEGIN, VOID = "begin", "void"
_FORMAT, _VERSION = "vaultstore-journal", "1"
_LONGEST = 4096
_FIRST = bytes(32)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MEMBERS = {"at", "facts", "kind", "n", "prev"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a journal."""

    number: int
    """From 0, which is the line that the journal begins with."""
    at: datetime
    kind: str
    facts: Mapping[str, str]
    hash: bytes
    """SHA-256 of the line without its end."""
    ends: int
    """Bytes from the beginning of the file to the end of the line."""

    @property
    def position(self) -> Position:
        """Where a store is that has applied this line."""
        return Position(self.number, self.hash, self.ends)


@dataclass(frozen=True, slots=True)
class Head:
    """What the first line says: which journal this is, of which store, and which database login writes it."""

    journal: str
    store: str
    keeper: str | None
    line: Line


class JournalFile:
    """A journal on disk. Appending locks the file against other processes; the file may be read meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"<JournalFile {self.path}>"

    def head(self) -> Head | None:
        """What the file begins with; None where there is no file. Raises ProofError, SettingsError."""
        with self._open(exclusive=False) as file:
            return None if file is None else self._head(file)

    def begin(self, store: str, keeper: str | None, now: datetime) -> Head:
        """The head of the file, which is begun where there is none yet. Raises ProofError, SettingsError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with self._open(exclusive=True) as file:
            if file is None:
                raise SettingsError(f"the journal {self.path} can't be made")
            if not file.seek(0, os.SEEK_END):
                facts = {"format": _FORMAT, "version": _VERSION, "journal": str(uuid.uuid4()), "store": store}
                self._write(file, Position(-1, _FIRST, 0), BEGIN, now, facts | ({"keeper": keeper} if keeper else {}))
                _sync_folder(self.path.parent)
            return self._head(file)

    def lines(self, after: Position | None = None) -> Iterator[Line]:
        """Every line after a position (None: from the beginning), each checked against the one before.

        Raises ProofError that names the line where the chain does not hold, or where what was at that position is
        another line now, or none.
        """
        with self._open(exclusive=False) as file:
            if file is not None:
                yield from self._lines(file, after)
            elif after is not None:
                raise ProofError(f"the journal {self.path} is gone")

    def append(self, after: Position, kind: str, at: datetime, facts: Mapping[str, str]) -> Line:
        """Write a line behind the one at `after`, and have it on disk when this returns.

        Raises ProofError where lines are there already that do not cancel out; OSError where it can't be written, and
        then nothing was.
        """
        with self._open(exclusive=True) as file:
            if file is None:
                raise ProofError(f"the journal {self.path} is gone")
            tail = list(self._lines(file, after))
            left = unsettled(tail)
            if left:
                raise ProofError(
                    f"{self.path}:{left[0].number + 1}: the store has not applied this line of its journal: run"
                    " `vaultstore journal replay`"
                )
            return self._write(file, tail[-1].position if tail else after, kind, at, facts)

    def void(self, first: int, last: Position, at: datetime) -> None:
        """Say that the lines from `first` to the one at `last` came to nothing: their transaction was undone."""
        with self._open(exclusive=True) as file:
            if file is not None and not list(self._lines(file, last)):
                self._write(file, last, VOID, at, {"from": str(first)})

    def cut_torn_end(self) -> bool:
        """Take away the beginning of a last line that the power failed in; whether there was one."""
        with self._open(exclusive=True) as file:
            if file is None:
                return False
            whole = _end_of_last_line(file)
            if whole == file.seek(0, os.SEEK_END):
                return False
            file.truncate(whole)
            os.fsync(file.fileno())
            return True

    # ---------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self, *, exclusive: bool) -> Iterator[BinaryIO | None]:
        try:
            file = self.path.open("r+b" if exclusive else "rb")
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise SettingsError(f"the journal {self.path} can't be opened: {error.strerror}") from None
        with file:
            with contextlib.suppress(ImportError):  # Windows has no flock
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield file

    def _head(self, file: BinaryIO) -> Head:
        file.seek(0)
        line = self._line(file.readline(_LONGEST + 1), 0, _FIRST, 0)
        facts = line.facts
        if line.kind != BEGIN or facts.get("format") != _FORMAT or not {"journal", "store"} <= facts.keys():
            raise SettingsError(f"{self.path} is not a journal")
        if facts.get("version") != _VERSION:
            raise SettingsError(f"{self.path} is a journal of version {facts.get('version')}; this reads {_VERSION}")
        return Head(facts["journal"], facts["store"], facts.get("keeper"), line)

    def _lines(self, file: BinaryIO, after: Position | None) -> Iterator[Line]:
        number, before, ends = (0, _FIRST, 0) if after is None else (after.number + 1, after.hash, after.ends)
        if after is not None:
            self._check_position(file, after)
        file.seek(ends)
        while raw := file.readline(_LONGEST + 1):
            line = self._line(raw, number, before, ends)
            yield line
            number, before, ends = number + 1, line.hash, line.ends

    def _check_position(self, file: BinaryIO, at: Position) -> None:
        begin = max(0, at.ends - _LONGEST - 1)
        file.seek(begin)
        read = file.read(at.ends - begin)
        line = read[:-1].rpartition(b"\n")[2]
        if len(read) < at.ends - begin:
            raise ProofError(
                f"{self.path}:{at.number + 1}: the store has applied this line, and the journal ends before it: its"
                " end was cut off, or an older copy was put in its place"
            )
        if read[-1:] != b"\n" or sha256(line).digest() != at.hash:
            raise ProofError(
                f"{self.path}:{at.number + 1}: this is not the line that the store has applied: the journal was"
                " changed, here or before; `vaultstore journal verify` says where"
            )

    def _line(self, raw: bytes, number: int, before: bytes, starts: int) -> Line:
        place = f"{self.path}:{number + 1}"
        if raw[-1:] != b"\n":
            why = "is too long" if len(raw) > _LONGEST else "ends in the middle: its writing was cut short"
            raise ProofError(f"{place}: this line of the journal {why}")
        text = raw[:-1]
        content = _parsed(text)
        if content is None:
            raise ProofError(f"{place}: this is not a line of a journal")
        if content["prev"] != before.hex():
            raise ProofError(
                f"{place}: this line does not follow the one before: a line was changed, put in or taken out"
            )
        if content["n"] != number:
            raise ProofError(f"{place}: this line says that it is number {content['n']}, and it is number {number}")
        at = datetime.fromisoformat(content["at"])
        return Line(number, at, content["kind"], content["facts"], sha256(text).digest(), starts + len(raw))

    def _write(self, file: BinaryIO, after: Position, kind: str, at: datetime, facts: Mapping[str, str]) -> Line:
        number = after.number + 1
        content = {"at": rfc3339(at), "facts": dict(facts), "kind": kind, "n": number, "prev": after.hash.hex()}
        text = canonical_json(content)
        if len(text) >= _LONGEST:
            raise UnsupportedOperation(f"a line of the journal has at most {_LONGEST} bytes")
        file.seek(after.ends)
        try:
            file.write(text + b"\n")
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(file.fileno(), after.ends)
            raise
        return Line(number, at, kind, facts, sha256(text).digest(), after.ends + len(text) + 1)


def unsettled(lines: Iterable[Line]) -> list[Line]:
    """Those of `lines` that ask for something: not the first one, not voids nor what they take back."""
    left: list[Line] = []
    for line in lines:
        if line.kind == VOID:
            first = line.facts.get("from", "")
            left = [one for one in left if not (first.isascii() and first.isdigit() and one.number >= int(first))]
        elif line.kind != BEGIN:
            left.append(line)
    return left


def _parsed(text: bytes) -> Any:
    """The content of a line, or None where it is none. Members and their types are checked, and the form's bytes."""
    try:
        content = json.loads(text)
        good = (
            isinstance(content, dict)
            and content.keys() == _MEMBERS
            and canonical_json(content) == text
            and type(content["n"]) is int
            and isinstance(content["kind"], str)
            and isinstance(content["facts"], dict)
            and all(isinstance(fact, str) for fact in content["facts"].values())
            and isinstance(content["prev"], str)
            and _HASH.fullmatch(content["prev"]) is not None
            and datetime.fromisoformat(content["at"]).tzinfo is not None
        )
    except (UnsupportedOperation, ValueError, TypeError, RecursionError):
        return None
    return content if good else None


def _end_of_last_line(file: BinaryIO) -> int:
    end = file.seek(0, os.SEEK_END)
    begin = max(0, end - 2 * _LONGEST)
    file.seek(begin)
    found = file.read().rfind(b"\n")
    return begin + found + 1


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

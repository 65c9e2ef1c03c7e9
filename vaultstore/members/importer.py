"""Importing a file: read, clean, write chunk by chunk; run it again, or after a kill, and nothing doubles."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from sqlalchemy.exc import IntegrityError

from vaultstore import Store
from vaultstore.errors import AccessDenied
from vaultstore.members.csvfile import Record, records
from vaultstore.members.kinds import Header, Row, WrongFile, kinds, match
from vaultstore.members.report import ImportReport, Refusal
from vaultstore.members.writers import Passes, Writer, writer_for

__all__ = ["Importer", "Progress"]

Progress = Callable[[int, ImportReport], None]
"""Called after each chunk with the bytes of the file that are behind, and the report so far."""

_ATTEMPTS = 5


class Importer:
    """Imports files of members, chats and views into a store.

    `chunk` rows make one transaction. `actor` is who the audit entries name; `notice` is the version of the consent
    notice that the file's consent dates stand for.
    """

    def __init__(
        self,
        store: Store,
        *,
        chunk: int = 500,
        actor: str = "members-import",
        notice: str = "imported",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not 1 <= chunk <= 5_000:
            raise ValueError("a chunk has 1 to 5,000 rows")
        self._store, self._chunk, self._notice, self._clock = store, chunk, notice, clock
        self._passes = Passes(store, actor, clock)

    def file(self, path: Path, kind: str | None = None, progress: Progress | None = None) -> ImportReport:
        """Import the file at `path`. Raises WrongFile where it can't be read or is not such a file."""
        try:
            with path.open("rb") as stream:
                return self.stream(stream, path.name, kind, progress)
        except OSError as error:
            raise WrongFile(f"{path} can't be read: {error.strerror}") from None

    def stream(
        self, stream: BinaryIO, name: str, kind: str | None = None, progress: Progress | None = None
    ) -> ImportReport:
        """Import an open binary file that `name` stands for in the report.

        `kind` is ``members``, ``chats`` or ``views``; without it the header tells. Raises WrongFile where the header
        fits none; errors of the store (KeyServiceUnavailable, AuditError, ...) end the import: what was committed
        stays, and a second run goes on from there.
        """
        started = time.monotonic()
        found = records(stream)
        header = _header(found, kind, self._clock().date())
        report = ImportReport(
            header.kind.name, name, tuple(n for n in header.ignored if n and n not in header.kind.dropped)
        )
        writer = writer_for(header.kind.name, self._store, self._passes, notice=self._notice)
        rows = _rows(found, header, report)
        while chunk := list(islice(rows, self._chunk)):
            self._write(writer, chunk, report)
            report.seconds = time.monotonic() - started
            if progress is not None:
                progress(stream.tell(), report)
        report.seconds = time.monotonic() - started
        return report

    def _write(self, writer: Writer, rows: Sequence[Row], report: ImportReport) -> None:
        """Write one chunk in one transaction; without the rows whose subject the gate refuses, if there are such."""
        rest, attempts = list(rows), _ATTEMPTS
        while rest:
            try:
                with self._passes.session(writer.purpose) as session:
                    sifted = writer.sift(session, rest)
                    suppressed = writer.add(session, sifted.new)
                    session.commit()
            except AccessDenied as denied:
                subject = writer.columns[1]
                out = [row for row in rest if denied.subject in (row.values[subject], row.values[subject].bytes)]
                if not out:
                    raise
                report.refuse(Refusal(row.line, subject, f"was refused: {denied.reason}") for row in out)
                rest = [row for row in rest if row not in out]
            except IntegrityError:
                # Somebody else wrote one of these rows since we looked. Look again.
                attempts -= 1
                if not attempts:
                    raise
            else:
                report.refuse(sifted.refused)
                report.written += len(sifted.new)
                report.already += len(sifted.already)
                report.suppressed += suppressed
                report.consents += writer.after([*sifted.new, *sifted.already], report.file)
                return


def _header(found: Iterator[Record | Refusal], kind: str | None, today: date) -> Header:
    choices = kinds(today)
    if kind is not None and kind not in choices:
        raise WrongFile(f"{kind!r} is not a kind of file: {', '.join(choices)}")
    first = next(found, None)
    if first is None:
        raise WrongFile("the file is empty")
    if isinstance(first, Refusal):
        raise WrongFile(f"line {first.line}, where the header should be: {first.reason}")
    return match(first, [choices[kind]] if kind is not None else choices.values())


def _rows(found: Iterator[Record | Refusal], header: Header, report: ImportReport) -> Iterator[Row]:
    """Cleaned rows that are the first of their key in the file; all else goes to the report."""
    seen: set[bytes] = set()
    for item in found:
        report.read += 1
        row = header.row(item) if isinstance(item, Record) else item
        if isinstance(row, Refusal):
            report.refuse([row])
            continue
        # Sixteen bytes a row, whatever the key: a file may have millions.
        digest = hashlib.blake2b(row.key, digest_size=16).digest()
        if digest in seen:
            report.refuse([Refusal(row.line, "", "repeats an earlier line of this file")])
            continue
        seen.add(digest)
        yield row

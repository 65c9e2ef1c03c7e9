"""Records of a CSV file (RFC 4180, UTF-8) as it comes from real life: one bad line costs one line."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from vaultstore.members.report import Refusal

__all__ = ["MAX_LINE", "MAX_LINES_A_RECORD", "Record", "records"]

MAX_LINE = 64 * 1024
"""Longest physical line that is read, in bytes."""

MAX_LINES_A_RECORD = 64
"""Most physical lines that one record may span (line breaks inside quotes)."""

_BOM = "\ufeff"
_CLOSED, _OPEN, _BROKEN = range(3)


@dataclass(frozen=True, slots=True)
class Record:
    """One record: the number of its first line (from 1), and its cells, which no repr shows.

    Bytes that are not UTF-8 come as lone surrogates (PEP 383), so that the cell at fault can be named.
    """

    line: int
    cells: tuple[str, ...] = field(repr=False)


def records(stream: BinaryIO) -> Iterator[Record | Refusal]:
    """Read `stream` to its end: a record or a refusal for each record, in order.

    Lines end in LF or CRLF; a byte-order mark at the start of a line is dropped (files are glued together); blank
    lines are passed over. A quote that is opened and never closed properly costs its own line only.
    """
    lines = _Lines(stream)
    while (first := lines.next()) is not None:
        number, text = first
        if text is None:
            yield Refusal(number, "", f"the line is longer than {MAX_LINE} bytes")
            continue
        text = text.removeprefix(_BOM)
        if not text.strip(", \t"):
            continue
        yield _record(number, text, lines)


def _record(number: int, text: str, lines: _Lines) -> Record | Refusal:
    state, taken = _scan(text, inside=False), [text]
    borrowed: list[tuple[int, str | None]] = []
    while state == _OPEN and len(taken) < MAX_LINES_A_RECORD and (more := lines.next()) is not None:
        borrowed.append(more)
        if more[1] is None:
            break
        taken.append(more[1])
        state = _scan(more[1], inside=True)
    if state != _CLOSED:
        lines.give_back(borrowed)
        return Refusal(number, "", "a quoted field is not closed properly")
    try:
        cells = next(csv.reader(["\n".join(taken)], strict=True))
    except csv.Error:
        # Its text may quote the line. What is left by now: a bare carriage return, or a field past csv's limit.
        return Refusal(number, "", "the line is not CSV: a bare carriage return, or a field that is too long")
    return Record(number, tuple(cells))


def _scan(text: str, *, inside: bool) -> int:
    """Whether a line that starts inside or outside of a quoted field ends outside, inside, or breaks the form."""
    if not inside and '"' not in text:
        return _CLOSED
    at, end = 0, len(text)
    while at < end or inside:
        if not inside:  # at the start of a field
            if text[at] == '"':
                inside, at = True, at + 1
            elif (comma := text.find(",", at)) < 0:
                return _CLOSED
            else:
                at = comma + 1
            continue
        quote = text.find('"', at)
        if quote < 0:
            return _OPEN
        after = text[quote + 1 : quote + 2]
        if after == '"':
            at = quote + 2
        elif after in ("", ","):
            inside, at = False, quote + 2
        else:
            return _BROKEN
    return _CLOSED


class _Lines:
    """Numbered physical lines without their ends, of bounded length, with a place to give lines back."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._number = stream, 0
        self._back: deque[tuple[int, str | None]] = deque()

    def give_back(self, lines: list[tuple[int, str | None]]) -> None:
        self._back.extendleft(reversed(lines))

    def next(self) -> tuple[int, str | None] | None:
        """The next (number, text), text None where the line is too long; None at the end."""
        if self._back:
            return self._back.popleft()
        raw = self._stream.readline(MAX_LINE + 2)
        if not raw:
            return None
        self._number += 1
        whole = raw.endswith(b"\n")
        ended = raw.removesuffix(b"\n").removesuffix(b"\r")
        if len(ended) > MAX_LINE:
            while raw and not whole:
                raw = self._stream.readline(MAX_LINE)
                whole = raw.endswith(b"\n")
            return self._number, None
        return self._number, ended.decode("utf-8", "surrogateescape")

"""Reads a leaked list as it was found: numbers are picked out of it, whatever stands around them.

Nothing of a line is kept but its numbers, and what can't be read is named by its line: a leak is personal data.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vaultstore import normalize
from vaultstore.errors import UnsupportedOperation
from vaultstore.normalize import NotNormalizable

__all__ = ["Leak", "read_leak"]

_LARGEST = 256 * 1024 * 1024
_GAP = r"[ \-.()·]{0,2}"
_ID = re.compile(rf"(?<![0-9A-Za-z])(?:\d{_GAP}){{17}}[\dXx](?![0-9A-Za-z])|(?<![0-9A-Za-z])\d{{15}}(?![0-9A-Za-z])")
_PHONE = re.compile(rf"(?<!\d)(?:(?:\+|00)?86[ \-)]{{0,2}})?1[3-9]{_GAP}(?:\d{_GAP}){{8}}\d(?!\d)")
_LANDLINE = re.compile(rf"(?<!\d)(?:(?:\+|00)86[ \-]?)?\(?0\d{{2,3}}\)?{_GAP}\d{{7,8}}(?!\d)")
_ABROAD = re.compile(r"(?<!\d)(?:\+|00)[1-9](?:[ \-()]{0,2}\d){6,14}(?!\d)")
_DIGIT = re.compile(r"\d")
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Leak:
    """What a leaked list holds. The numbers are not shown by its repr."""

    phones: frozenset[str] = field(repr=False)
    """In E.164."""
    ids: frozenset[str] = field(repr=False)
    """Resident ID numbers, 18 characters."""
    lines: int
    """With a number in them."""
    unreadable: tuple[int, ...]
    """Lines, from 1, in which no number could be read. Empty lines and a header are not among them."""
    encoding: str


def read_leak(raw: bytes) -> Leak:
    """Pick the phone numbers and resident ID numbers out of a leaked list: CSV of any kind, or a number a line.

    UTF-8 and UTF-16 with or without a byte order mark, else GB 18030 (which holds GBK); full-width digits, spaces,
    dashes, +86 and separators are read past. Raises UnsupportedOperation where it is no text, or over 256 MiB.
    """
    if len(raw) > _LARGEST:
        raise UnsupportedOperation(f"a leaked list has at most {_LARGEST >> 20} MiB: split it")
    text, encoding = _decoded(raw)
    phone, resident = normalize.phone_e164(region="CN"), normalize.resident_id()
    phones: set[str] = set()
    ids: set[str] = set()
    good, bad = 0, []
    first = True
    for number, line in enumerate(_LINE_END.split(text), 1):
        plain = _plain(line)
        if not plain.strip(" ,;|\t\"'"):
            continue
        rest, found = _taken(_ID, plain, resident)
        ids.update(found)
        some = len(found)
        for pattern in (_PHONE, _LANDLINE, _ABROAD):
            rest, found = _taken(pattern, rest, phone)
            phones.update(found)
            some += len(found)
        if some:
            good += 1
        elif not (first and not _DIGIT.search(plain)):
            bad.append(number)
        first = False
    return Leak(frozenset(phones), frozenset(ids), good, tuple(bad), encoding)


def _plain(line: str) -> str:
    """ASCII digits, dashes and spaces for those of any script, and no invisible characters."""
    if line.isascii():
        return line.strip()
    out = []
    for char in unicodedata.normalize("NFKC", line):
        category = unicodedata.category(char)
        digit = unicodedata.decimal(char, None)
        if category != "Cf":
            out.append(str(digit) if digit is not None else "-" if category == "Pd" or char == "−" else char)
    return "".join(out).strip()


def _taken(pattern: re.Pattern[str], text: str, normal: Callable[[str], str]) -> tuple[str, list[str]]:
    """(text without them, normal forms) of what looks like a number and is one."""
    found: list[str] = []

    def take(match: re.Match[str]) -> str:
        try:
            found.append(normal(match[0]))
        except NotNormalizable:
            return match[0]
        return "\x00"

    return pattern.sub(take, text), found


def _decoded(raw: bytes) -> tuple[str, str]:
    for encoding in _encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text, encoding
    raise UnsupportedOperation("this is no text: save it as CSV, in UTF-8 or GBK")


def _encodings(raw: bytes) -> Iterator[str]:
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        yield "utf-16"
    yield "utf-8-sig"
    yield "gb18030"

"""The three files that can be imported: their columns, and how a record becomes a row of cleaned values."""

from __future__ import annotations

import difflib
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

from vaultstore.errors import VaultstoreError
from vaultstore.members import clean
from vaultstore.members.csvfile import Record
from vaultstore.members.ids import view_event
from vaultstore.members.report import Refusal

__all__ = ["Column", "Header", "Kind", "Row", "WrongFile", "kinds", "match"]

EDUCATION = ("高中", "大专", "本科", "硕士", "博士")
MARITAL = ("未婚", "离异", "丧偶")


class WrongFile(VaultstoreError):
    """The file is not one that can be imported; the message names the missing columns and the nearest names."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the file, how a cell is cleaned (None or '' stand for empty), whether it may be empty."""

    name: str
    clean: Callable[[str], Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A cleaned row: its line, what tells it from others, and values by column name, which no repr shows."""

    line: int
    key: bytes = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file."""

    name: str
    columns: tuple[Column, ...]
    key: Callable[[Mapping[str, Any]], bytes]
    dropped: frozenset[str] = frozenset()
    """Columns that the file may have and that are not stored."""


@dataclass(frozen=True, slots=True)
class Header:
    """A file's header, matched with a kind."""

    kind: Kind
    width: int
    places: tuple[int, ...]
    """Position in the file of each of the kind's columns."""
    ignored: tuple[str, ...]
    names: tuple[str, ...]

    def row(self, record: Record) -> Row | Refusal:
        """Clean one record; the first cell at fault refuses it."""
        if len(record.cells) != self.width:
            return Refusal(record.line, "", f"has {len(record.cells)} fields where the header has {self.width}")
        if tuple(map(_plain, record.cells)) == self.names:
            return Refusal(record.line, "", "is the header once more")
        values: dict[str, Any] = {}
        for column, place in zip(self.kind.columns, self.places, strict=True):
            try:
                value = column.clean(record.cells[place])
            except clean.Unclean as unclean:
                return Refusal(record.line, column.name, unclean.reason)
            if value is None or value == "":
                if column.required:
                    return Refusal(record.line, column.name, "is empty")
                value = None
            values[column.name] = value
        return Row(record.line, self.kind.key(values), values)


def kinds(today: date) -> dict[str, Kind]:
    """The kinds of files, by name. `today` is the latest day that a date may be."""
    day = partial(clean.day, latest=today)
    yes_no = clean.one_of("有", "无")
    line = partial(clean.text, longest=100)
    members = Kind(
        "members",
        (
            Column("member_id", clean.identifier, required=True),
            Column("nickname", line, required=True),
            Column("gender", clean.one_of("M", "F", 男="M", 女="F"), required=True),
            Column("city", line, required=True),
            Column("store", clean.word, required=True),
            Column("real_name", clean.name, required=True),
            Column("id_number", clean.resident_id),
            Column("phone", clean.phone, required=True),
            Column("wechat", clean.word),
            Column("email", clean.email),
            Column("address", clean.prose(300)),
            Column("birth_date", day),
            Column("height_cm", clean.integer(50, 250, unit="cm")),
            Column("education", clean.one_of(*EDUCATION)),
            Column("marital", clean.one_of(*MARITAL)),
            Column("monthly_income", clean.decimal),
            Column("house", yes_no),
            Column("car", yes_no),
            Column("wants", clean.prose(1000)),
            Column("consent_matchmaking", day),
            Column("grade", clean.one_of("A", "B", "C", "D"), required=True),
            Column("last_login", day),
        ),
        key=lambda row: _bytes(row["member_id"]),
    )
    chats = Kind(
        "chats",
        (
            Column("message_id", clean.identifier, required=True),
            Column("sender_id", clean.identifier, required=True),
            Column("recipient_id", clean.identifier, required=True),
            Column("sent_at", clean.moment, required=True),
            Column("body", clean.prose(4000), required=True),
        ),
        key=lambda row: _bytes(row["message_id"]),
        dropped=frozenset({"is_scam"}),
    )
    views = Kind(
        "views",
        (
            Column("viewer_id", clean.identifier, required=True),
            Column("viewed_id", clean.identifier, required=True),
            Column("viewed_at", clean.moment, required=True),
        ),
        key=lambda row: view_event(row["viewer_id"], row["viewed_id"], row["viewed_at"]).encode(),
    )
    return {kind.name: kind for kind in (members, chats, views)}


def match(header: Record, choices: Iterable[Kind]) -> Header:
    """Find the kind that a header belongs to, whatever the order of its columns.

    Every column of the kind must be there: one that is misspelt would otherwise be lost without a word. Raises
    WrongFile naming the columns that are missing from the kind that fits best.
    """
    names = tuple(map(_plain, header.cells))
    present = set(names)
    ranked = sorted(choices, key=lambda k: len({c.name for c in k.columns} - present) / len(k.columns))
    kind = ranked[0]
    missing = [c.name for c in kind.columns if c.name not in present]
    if missing:
        raise WrongFile(_wrong(kind, missing, names))
    wanted = {c.name for c in kind.columns}
    if twice := sorted({n for n in names if n in wanted and names.count(n) > 1}):
        raise WrongFile(f"the header has {', '.join(twice)} twice")
    places = tuple(names.index(c.name) for c in kind.columns)
    return Header(kind, len(names), places, tuple(n for n in names if n not in wanted), names)


def _wrong(kind: Kind, missing: Sequence[str], names: Sequence[str]) -> str:
    spare = [n for n in names if n not in {c.name for c in kind.columns}]
    parts = []
    for name in missing:
        near = difflib.get_close_matches(name, spare, n=1)
        parts.append(f"{name} (the nearest there is {near[0]!r})" if near else name)
    if len(missing) == len(kind.columns):
        return f"the first line is no header that can be imported; one of {kind.name} would need {', '.join(parts)}"
    return f"taken for a file of {kind.name}, its header lacks {', '.join(parts)}"


def _plain(cell: str) -> str:
    return unicodedata.normalize("NFKC", cell).strip().casefold()


def _bytes(key: uuid.UUID) -> bytes:
    return key.bytes

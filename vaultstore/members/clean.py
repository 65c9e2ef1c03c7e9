"""Cleaning one cell: text in, a value of its Python type out, or a reason that never shows the value."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

from vaultstore import normalize

__all__ = [
    "Unclean",
    "day",
    "decimal",
    "email",
    "identifier",
    "integer",
    "moment",
    "name",
    "one_of",
    "phone",
    "prose",
    "resident_id",
    "text",
    "word",
]

_EDGE = r"[\s\ufeff\u00ad\u200b\u200e\u200f\u2060]+"
_EDGES = re.compile(rf"^{_EDGE}|{_EDGE}$")
_LONE = re.compile(r"[\ud800-\udfff]")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_DAY = re.compile(r"(\d{4})(?:([-/.])(\d{1,2})\2(\d{1,2})|年(\d{1,2})月(\d{1,2})日|(\d{2})(\d{2}))", re.ASCII)
_DECIMAL = re.compile(r"(?:\d{1,12}|\d{1,3}(?:,\d{3}){1,3})(?:\.\d{1,2})?", re.ASCII)
_NATIONAL = re.compile(r"\+86(1\d{10})", re.ASCII)
_OLDEST = date(1900, 1, 1)

_phone = normalize.phone_e164(region="CN")
_resident_id = normalize.resident_id()
_email = normalize.email()


class Unclean(Exception):
    """A cell is not fit to be stored. The reason never shows the value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def text(cell: str, *, longest: int, lines: bool = False) -> str:
    """Tidy text: NFC, without space, byte-order marks and invisible marks at its edges; '' where nothing is left.

    Tabs become spaces. `longest` counts characters; `lines` allows line breaks. Joiners inside stay: an emoji is
    made of them.
    """
    if _LONE.search(cell):
        raise Unclean("holds bytes that are not UTF-8")
    if len(cell) > 4 * longest + 64:
        raise Unclean(f"is longer than {longest} characters")
    tidy = _EDGES.sub("", unicodedata.normalize("NFC", cell)).replace("\t", " ")
    if len(tidy) > longest:
        raise Unclean(f"is longer than {longest} characters")
    allowed = "\n" if lines else ""
    if any(unicodedata.category(c) == "Cc" and c not in allowed for c in tidy):
        raise Unclean("holds a control character")
    return tidy


def word(cell: str) -> str:
    """Text of up to 64 characters in which compatibility forms are folded (NFKC): full-width digits become digits."""
    return unicodedata.normalize("NFKC", text(cell, longest=64))


def prose(longest: int) -> Callable[[str], str]:
    """Text of several lines."""
    return lambda cell: text(cell, longest=longest, lines=True)


def name(cell: str) -> str:
    """A person's name in any script: at least one letter, no digit, single spaces."""
    tidy = " ".join(text(cell, longest=100).split())
    if tidy and (not any(c.isalpha() for c in tidy) or any(c.isdigit() for c in tidy)):
        raise Unclean("is not a name")
    return tidy


def identifier(cell: str) -> uuid.UUID | None:
    """A UUID, hyphens or not; the nil UUID is nobody's."""
    tidy = word(cell)
    if not tidy:
        return None
    if not _UUID.fullmatch(tidy):
        raise Unclean("is not a UUID")
    made = uuid.UUID(tidy)
    if not made.int:
        raise Unclean("is the nil UUID")
    return made


def phone(cell: str) -> str:
    """A phone number: eleven national digits for a Chinese mobile, ``+`` and digits (E.164) for any other."""
    tidy = word(cell)
    if not tidy:
        return ""
    whole = _normal(_phone, tidy, "is not a phone number")
    match = _NATIONAL.fullmatch(whole)
    return match[1] if match else whole


def resident_id(cell: str) -> str:
    """A resident identity number (GB 11643): 18 characters, check character and date hold, ``X`` in upper case."""
    tidy = word(cell)
    return _normal(_resident_id, tidy, "is not a resident identity number") if tidy else ""


def email(cell: str) -> str:
    """An e-mail address, kept as its owner writes it; the blind index folds case."""
    tidy = unicodedata.normalize("NFKC", text(cell, longest=254))
    if tidy:
        _normal(_email, tidy, "is not an e-mail address")
    return tidy


def day(cell: str, *, latest: date) -> date | None:
    """A day from 1900 to `latest`: ``2000-02-29``, ``2000/2/29``, ``2000.2.29``, ``20000229`` or ``2000年2月29日``."""
    tidy = word(cell).replace(" ", "")
    if not tidy:
        return None
    match = _DAY.fullmatch(tidy)
    if match is None:
        raise Unclean("is not a date")
    year, _, *parts = match.groups()
    month, number = (int(part) for part in parts if part is not None)
    try:
        made = date(int(year), month, number)
    except ValueError:
        raise Unclean("is not a day of the calendar") from None
    if made < _OLDEST:
        raise Unclean("is before 1900")
    if made > latest:
        raise Unclean("is in the future")
    return made


def moment(cell: str) -> datetime | None:
    """A time with its UTC offset (ISO 8601), in UTC."""
    tidy = word(cell)
    if not tidy:
        return None
    try:
        made = datetime.fromisoformat(tidy)
        if made.tzinfo is None:
            raise Unclean("has no UTC offset")
        made = made.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Unclean("is not a time") from None
    if made.date() < _OLDEST:
        raise Unclean("is before 1900")
    return made


def integer(least: int, most: int, *, unit: str = "") -> Callable[[str], int | None]:
    """A whole number within bounds, with or without its unit."""

    def clean(cell: str) -> int | None:
        tidy = word(cell)
        if not tidy:
            return None
        digits = tidy.casefold().removesuffix(unit).rstrip() if unit else tidy
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            raise Unclean("is not a whole number")
        if not least <= int(digits) <= most:
            raise Unclean(f"is not within {least} and {most}")
        return int(digits)

    return clean


def decimal(cell: str) -> Decimal | None:
    """An amount of at most two decimals; thousands may be parted by commas. Zero is an amount, empty is none."""
    tidy = word(cell).removeprefix("¥").lstrip()
    if not tidy:
        return None
    if not _DECIMAL.fullmatch(tidy):
        raise Unclean("is not an amount")
    return Decimal(tidy.replace(",", ""))


def one_of(*words: str, **also: str) -> Callable[[str], str]:
    """One of a few words; `also` maps other spellings to them."""

    def clean(cell: str) -> str:
        tidy = word(cell)
        tidy = also.get(tidy, tidy)
        if tidy and tidy not in words:
            raise Unclean(f"is not one of {', '.join(words)}")
        return tidy

    return clean


def _normal(normaliser: Callable[[str], str], tidy: str, reason: str) -> str:
    try:
        return normaliser(tidy)
    except normalize.NotNormalizable as unfit:
        raise Unclean(f"{reason}: {unfit.reason}") from None

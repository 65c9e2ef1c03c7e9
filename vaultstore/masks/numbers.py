"""Masks of numbers and dates: age_band(width), year(), band(edges)."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from math import ceil
from typing import ClassVar

from vaultstore.errors import ModelError
from vaultstore.masks.base import HIDDEN, Mask
from vaultstore.masks.masked import Json

__all__ = ["AgeBand", "Band", "Year", "age_band", "band", "year"]

_FIRST_YEAR, _LAST_YEAR = 1, 9999  # what datetime.date holds
_DAYS = 365  # behind one year
_DIGITS = 30  # of an edge: beyond, its label would be no label


def _year_of(value: date | int) -> int | None:
    """The calendar year (a datetime's in UTC, as it is stored), or None for a number that is no year."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        try:
            return value.astimezone(UTC).year
        except OverflowError:  # within hours of the first or last year: the zone can't matter to a reader
            return value.year
    if isinstance(value, date):
        return value.year
    return int(value) if _FIRST_YEAR <= value <= _LAST_YEAR else None


@dataclass(frozen=True, slots=True)
class Year(Mask):
    """The calendar year; see `year`."""

    name: ClassVar[str] = "year"
    accepts: ClassVar[frozenset[str]] = frozenset({"date", "datetime", "int"})

    @property
    def fingerprint(self) -> str:
        return "year()"

    def residual(self, kind: str) -> int | None:
        return 1 if kind == "int" else _DAYS

    def _apply(self, value: date | int) -> Json:
        found = _year_of(value)
        return HIDDEN if found is None else found


def year() -> Year:
    """Show the calendar year of a date, or a year as it is; a number outside 1 to 9999 shows ``***``."""
    return Year()


@dataclass(frozen=True, slots=True)
class AgeBand(Mask):
    """The band of birth years; see `age_band`."""

    name: ClassVar[str] = "age_band"
    accepts: ClassVar[frozenset[str]] = frozenset({"date", "datetime", "int"})

    width: int

    @property
    def fingerprint(self) -> str:
        return f"age_band(width={self.width})"

    def residual(self, kind: str) -> int | None:
        return self.width if kind == "int" else self.width * _DAYS

    def _apply(self, value: date | int) -> str:
        found = _year_of(value)
        if found is None:
            return HIDDEN
        low = found - found % self.width
        return f"{max(low, _FIRST_YEAR):04d}-{min(low + self.width - 1, _LAST_YEAR):04d}"


def age_band(width: int) -> AgeBand:
    """Show the band of `width` birth years: ``age_band(5)`` of 1987-03-09 is ``1985-1989``.

    Bands begin at multiples of `width`. The band of years is sealed, not an age: an age would need a clock, and a
    sealed age would grow wrong.

    Raises:
        ModelError: `width` is not a whole number from 1 to 100.
    """
    if type(width) is not int or not 1 <= width <= 100:
        raise ModelError("age_band() takes a width of 1 to 100 years")
    return AgeBand(width)


@dataclass(frozen=True, slots=True)
class Band(Mask):
    """The band a number falls in; see `band`."""

    name: ClassVar[str] = "band"
    accepts: ClassVar[frozenset[str]] = frozenset({"int", "decimal"})

    edges: tuple[Decimal, ...]
    labels: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        return f"band({','.join(_plain(edge) for edge in self.edges)})"

    def residual(self, kind: str) -> int | None:
        """Whole numbers in the narrowest band: a Decimal may hide more, and what people state is mostly whole."""
        widths = [ceil(high) - ceil(low) for low, high in pairwise(self.edges)]
        return max(1, min(widths)) if widths else None

    def _apply(self, value: int | Decimal) -> str:
        if isinstance(value, Decimal) and value.is_nan():
            return HIDDEN
        return self.labels[bisect_right(self.edges, value)]


def band(*edges: int | Decimal) -> Band:
    """Show between which edges a number lies, lower edge included: ``band(0, 5000, 10000)`` shows ``<0``, ``0-5000``,
    ``5000-10000`` or ``>=10000``. Not-a-number shows ``***``.

    Raises:
        ModelError: there is no edge, edges don't grow, or one is no finite int or Decimal of up to 30 digits.
    """
    if not edges:
        raise ModelError("band() takes at least one edge")
    numbers: list[Decimal] = []
    for edge in edges:
        if type(edge) not in (int, Decimal) or not (number := Decimal(edge)).is_finite():
            raise ModelError("band() takes edges that are finite ints or Decimals")
        if number and (number.adjusted() >= _DIGITS or -int(number.as_tuple().exponent) >= _DIGITS):
            raise ModelError(f"band() takes edges of up to {_DIGITS} digits")
        if numbers and number <= numbers[-1]:
            raise ModelError("band() takes edges that grow")
        numbers.append(number)
    texts = [_plain(number) for number in numbers]
    between = [f"{low}-{high}" for low, high in pairwise(texts)]
    return Band(tuple(numbers), (f"<{texts[0]}", *between, f">={texts[-1]}"))


def _plain(number: Decimal) -> str:
    """`number` without exponent and trailing zeros: equal numbers read the same."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text

"""keep(first, last): the ends of a text, with a fixed number of stars between."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from vaultstore.errors import ModelError
from vaultstore.masks.base import Mask
from vaultstore.masks.text import clean, graphemes

__all__ = ["Keep", "keep"]

_WIDTH = 11
"""Width of a masked value, where `first` and `last` leave room: that of a mobile number."""
_FEWEST = 4
"""Stars at least, and hidden characters that are enough for any value."""

_DIGITS = 10

_NUMBER = re.compile(r"\+?[\d\s().\-\u2010-\u2015]+")
_SEPARATORS = re.compile(r"[^\d+]")
_CN_MOBILE = re.compile(r"(?:\+?86|0086)(1[3-9]\d{9})")


@dataclass(frozen=True, slots=True)
class Keep(Mask):
    """The first and last characters of a text; see `keep`."""

    name: ClassVar[str] = "keep"
    accepts: ClassVar[frozenset[str]] = frozenset({"str"})

    first: int
    last: int

    @property
    def fingerprint(self) -> str:
        return f"keep(first={self.first},last={self.last})"

    def residual(self, kind: str) -> int | None:
        shown = self.first + self.last
        return _DIGITS ** min(shown, _FEWEST) if shown else None  # so many stay hidden, if only digits

    def _apply(self, value: str) -> str:
        shown = self.first + self.last
        stars = max(_FEWEST, _WIDTH - shown)
        characters = graphemes(_compact(clean(value)))
        if len(characters) - shown < min(shown, _FEWEST):
            return "*" * (stars + shown)
        head, tail = characters[: self.first], characters[len(characters) - self.last :]
        return "".join((*head, "*" * stars, *tail))


def keep(first: int = 0, last: int = 0) -> Keep:
    """Show the first `first` and the last `last` characters (as a person counts them) of a text.

    The value is cleaned first (`text.clean`), and one that is written as a number is read as a number: separators go,
    and so does the country prefix of a Chinese mobile number. As many characters stay hidden as are shown, four being
    enough; a value too short for that shows none at all. The result is always 11 characters wide, or `first` + `last`
    + 4 where that is more, so that it doesn't tell the length: ``keep(last=4)`` of 13812345678 is ``*******5678`` and
    ``keep(first=3, last=4)`` is ``138****5678``.

    Raises:
        ModelError: a number is negative or no whole number.
    """
    for count in (first, last):
        if type(count) is not int or count < 0:
            raise ModelError("keep() takes numbers of characters that are 0 or more")
    return Keep(first, last)


def _compact(text: str) -> str:
    """`text` without separators, if it is written as a number, and without a Chinese mobile number's prefix."""
    if not _NUMBER.fullmatch(text):
        return text
    number = _SEPARATORS.sub("", text)
    mobile = _CN_MOBILE.fullmatch(number)
    return mobile[1] if mobile else number

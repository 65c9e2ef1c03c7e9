"""Masks of names: surname() and initial()."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

from vaultstore.masks.base import HIDDEN, Mask
from vaultstore.masks.lexicon import shipped
from vaultstore.masks.names import surname_of
from vaultstore.masks.text import clean, graphemes

__all__ = ["Initial", "Surname", "initial", "surname"]

_GIVEN = "**"
"""Stands for all other names, however many and long."""


@dataclass(frozen=True, slots=True)
class Surname(Mask):
    """The surname; see `surname`."""

    name: ClassVar[str] = "surname"
    accepts: ClassVar[frozenset[str]] = frozenset({"str"})

    surnames: str
    """Fingerprint of the list of surnames."""

    @property
    def fingerprint(self) -> str:
        return f"surname(surnames={self.surnames})"

    def _apply(self, value: str) -> str:
        found = surname_of(clean(value))
        return f"{found}{_GIVEN}" if found else HIDDEN


def surname() -> Surname:
    """Show the surname and two stars: ``欧阳**``, ``Müller**``, ``Nguyễn**``, ``Иванов**``.

    names.py says how the surname is found. Where it isn't sure, or the name has no part but one, it shows ``***``: a
    given name or a whole name is never shown, and the stars don't tell how long the rest is.
    """
    return Surname(shipped("surnames").fingerprint)


@dataclass(frozen=True, slots=True)
class Initial(Mask):
    """The first letter; see `initial`."""

    name: ClassVar[str] = "initial"
    accepts: ClassVar[frozenset[str]] = frozenset({"str"})

    @property
    def fingerprint(self) -> str:
        return "initial()"

    def _apply(self, value: str) -> str:
        characters = [char for char in graphemes(clean(value)) if char != " "]
        letter = next((char for char in characters if unicodedata.category(char[0]).startswith("L")), None)
        if letter is None or len(characters) < 2:
            return HIDDEN
        upper = letter.upper()
        return f"{upper if len(upper) == len(letter) else letter}{HIDDEN}"


def initial() -> Initial:
    """Show the first letter (or Han character) in upper case and three stars: ``A***``; ``***`` for a value of one
    character or without a letter."""
    return Initial()

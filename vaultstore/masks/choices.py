"""Masks that show one of a few fixed texts: present(), one_of(allowed), constant(text)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from vaultstore.errors import ModelError
from vaultstore.masks.base import EVERY_TYPE, Mask, quoted
from vaultstore.masks.text import clean

__all__ = ["Constant", "OneOf", "Present", "constant", "one_of", "present"]

_PRESENT = "present"
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Present(Mask):
    """That there is a value; see `present`."""

    name: ClassVar[str] = "present"
    accepts: ClassVar[frozenset[str]] = EVERY_TYPE

    @property
    def fingerprint(self) -> str:
        return "present()"

    def _apply(self, value: Any) -> str:
        return _PRESENT


def present() -> Present:
    """Show ``present`` for every value, '' and 0 included; NULL stays None, so the two can be told apart."""
    return Present()


@dataclass(frozen=True, slots=True)
class Constant(Mask):
    """A fixed text; see `constant`."""

    name: ClassVar[str] = "constant"
    accepts: ClassVar[frozenset[str]] = EVERY_TYPE

    text: str

    @property
    def fingerprint(self) -> str:
        return f"constant({quoted(self.text)})"

    def _apply(self, value: Any) -> str:
        return self.text


def constant(text: str) -> Constant:
    """Show `text` for every value.

    Raises:
        ModelError: `text` is no string that JSON can hold.
    """
    _check_text("constant", text)
    return Constant(text)


@dataclass(frozen=True, slots=True)
class OneOf(Mask):
    """A value out of a closed list; see `one_of`."""

    name: ClassVar[str] = "one_of"
    accepts: ClassVar[frozenset[str]] = frozenset({"str", "enum"})

    allowed: tuple[str, ...]
    _by_clean: dict[str, str] = field(repr=False, compare=False, hash=False)

    @property
    def fingerprint(self) -> str:
        return f"one_of({','.join(quoted(text) for text in self.allowed)})"

    def residual(self, kind: str) -> int | None:
        return 1  # a listed text is shown as it is

    def _apply(self, value: str | Enum) -> str:
        text = value.name if isinstance(value, Enum) else value
        return self._by_clean.get(clean(text), _OTHER)


def one_of(*allowed: str) -> OneOf:
    """Show a text that is one of `allowed` (compared after `text.clean`), or else ``other``. An Enum goes by its name.

    Raises:
        ModelError: nothing is allowed, or two of them are the same text.
    """
    if not allowed:
        raise ModelError("one_of() takes at least one text")
    for text in allowed:
        _check_text("one_of", text)
    by_clean = {clean(text): text for text in allowed}
    if len(by_clean) < len(allowed):
        raise ModelError("one_of() takes texts that differ")
    return OneOf(allowed, by_clean)


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or any("\ud800" <= char <= "\udfff" for char in text):
        raise ModelError(f"{name}() takes text")

"""What a mask is: a frozen function from a value to JSON, with a fingerprint and the types it takes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

from vaultstore.errors import UnsupportedOperation, WriteDenied
from vaultstore.masks.masked import Json, is_masked

__all__ = ["EVERY_TYPE", "HIDDEN", "Mask", "quoted", "type_name"]

HIDDEN = "***"
"""What a mask shows when it can't tell what is safe to show."""

EVERY_TYPE = frozenset({"str", "bytes", "int", "bool", "decimal", "date", "datetime", "uuid", "enum", "json"})
"""The type names of codec.py."""

_EXACT: dict[type, str] = {
    str: "str",
    bytes: "bytes",
    int: "int",
    bool: "bool",
    Decimal: "decimal",
    date: "date",
    datetime: "datetime",
    UUID: "uuid",
    dict: "json",
    list: "json",
    float: "json",
}
# Order matters: a datetime is a date, a bool is an int, and a StrEnum is a str.
_BASES: tuple[type, ...] = (Enum, bool, datetime, date, str, bytes, int, Decimal, UUID, dict, list, float)


def type_name(value: object) -> str | None:
    """The name that codec.py gives the type of `value`, or None."""
    name = _EXACT.get(type(value))
    if name is not None:
        return name
    base = next((base for base in _BASES if isinstance(value, base)), None)
    return "enum" if base is Enum else _EXACT.get(base) if base else None


class Mask(ABC):
    """A mask: takes only the value (no clock, no randomness), so that equal values give equal masks.

    It never raises for a value of a type that it accepts, and never shows more than it declares.
    """

    __slots__ = ()

    name: ClassVar[str]
    accepts: ClassVar[frozenset[str]]
    """Names of the types it takes, as codec.py names them."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Name and parameters in a canonical form, e.g. ``keep(first=3,last=4)``; equal masks have equal ones."""

    @abstractmethod
    def _apply(self, value: Any) -> Json:
        """Mask a value of an accepted type."""

    def residual(self, kind: str) -> int | None:
        """How many values of the type `kind` (a name of `accepts`) lie behind one shown mask, at the least.

        None where the mask can't tell, or where there is no end of them. Masks that show what they don't know as
        hidden (``***``, ``other``) are counted by what they do show. A policy's check reads it, and nothing else.
        """
        return None

    def mask(self, value: object) -> Json:
        """The masked form of `value`, as JSON.

        Raises:
            UnsupportedOperation: the value's type is not in `accepts` (None is in none: NULL stays NULL).
            WriteDenied: the value is a mask already.
        """
        kind = type_name(value)
        if kind not in self.accepts:
            raise UnsupportedOperation(
                f"{self.name}() masks {', '.join(sorted(self.accepts))}, not {kind or 'this type'}"
            )
        if kind == "str" and is_masked(value):
            raise WriteDenied("a masked value can't be masked again: assign the value itself", reason="masked.write")
        return self._apply(value)


def quoted(text: str) -> str:
    """A parameter that is text, as it stands in a fingerprint."""
    return json.dumps(text, ensure_ascii=False)

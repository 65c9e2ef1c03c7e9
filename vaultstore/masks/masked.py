"""What a reader gets of a field it may see only masked: a string that shows the mask and can't be stored."""

from __future__ import annotations

import json
from typing import Any, NoReturn, Self, TypeAlias, TypeGuard

from vaultstore.errors import WriteDenied

__all__ = ["Json", "Masked", "is_masked"]

Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None
"""What a mask may return: it is sealed as JSON."""


class Masked(str):
    """A masked value: a `str` that shows the mask, with the mask's JSON in `value`.

    Every write path refuses it, so that a mask never overwrites the value it was made of. Copies and pickles are
    Masked again. Whatever makes a *new* string of it (slicing, ``+``, `format`, ``str()``, `upper`) gives a plain
    `str`, and a plain string is a value like any other: assign a Masked as it is, or not at all.
    """

    __slots__ = ("_json",)
    _json: Json

    @classmethod
    def of(cls, value: Json) -> Self:
        """The Masked of a mask's JSON: text shows as it is, a list as its items with commas, the rest as JSON."""
        self = str.__new__(cls, value if type(value) is str else _text(value))
        self._json = value
        return self

    @property
    def value(self) -> Json:
        """The mask's JSON; lists and dicts are fresh copies."""
        return _plain(self._json)

    def __repr__(self) -> str:
        return f"Masked({str.__repr__(self)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), self.value)

    def __conform__(self, protocol: object) -> NoReturn:
        """Refuse to become an SQL parameter (the adaption protocol of `sqlite3`)."""
        raise WriteDenied("a masked value can't be written", reason="masked.write")


def is_masked(value: object) -> TypeGuard[Masked]:
    """Whether `value` is a mask and not the value itself."""
    return isinstance(value, Masked)


def _again(cls: type[Masked], value: Json) -> Masked:
    return cls.of(value)


def _text(value: Json) -> str:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _plain(value: Json) -> Json:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value

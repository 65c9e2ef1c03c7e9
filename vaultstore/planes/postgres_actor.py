"""An actor that stands for every actor: what a row scope builds of it shows where each of its values goes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vaultstore.grants import Actor
from vaultstore.planes.postgres_text import SCHEMA, literal

__all__ = ["ScopeRefused", "Symbols"]

_SPACE = uuid.UUID("6f2a3d0e-64b6-4a5f-8a0c-0d1c1f2d9b5e")
_LOOKS = (
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__contains__", "startswith", "endswith",
    "find", "index", "count", "isdigit", "isalpha", "isalnum", "isdecimal", "isnumeric", "isupper", "islower",
)  # fmt: skip
"""What a function would look at a text by, to go one way or another."""


class ScopeRefused(Exception):
    """A row scope has no row-level policy; the message says why, and how to write it."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the database finds a value: SQL templates for it as text and as a UUID."""

    text: str
    as_uuid: str


class _Symbol(str):
    """A value of the actor. It can be bound and formatted; a look at it would decide by a value that nobody has yet."""

    __slots__ = ()


def _look(name: str) -> Callable[..., Any]:
    def refuse(self: str, *args: Any) -> Any:
        if args == (None,):  # whether there is one at all: there is
            return name == "__ne__"
        raise ScopeRefused(
            "it compares a value of the actor in Python, where a policy has none: compare in SQL, with a column or with"
            " literal(...)"
        )

    refuse.__name__ = name
    return refuse


for _name in _LOOKS:
    setattr(_Symbol, _name, _look(_name))


class _Attributes(Mapping[str, str]):
    """Attributes that are all there."""

    def __init__(self, symbol: Callable[[str], str]) -> None:
        self._symbol = symbol

    def __getitem__(self, name: str) -> str:
        return self._symbol(name)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        raise ScopeRefused("it goes through the actor's attributes: take each one by its name")

    def __len__(self) -> int:
        raise ScopeRefused("it counts the actor's attributes: take each one by its name")


class Symbols:
    """The values of a symbolic actor. Two of different `number` have no value in common."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._sources: dict[str, _Source] = {}
        f = SCHEMA
        actor_id = self._symbol("id", _Source(f"(SELECT {f}.vs_actor())", f"(SELECT {f}.vs_actor_uuid())"))
        role = self._symbol("role", _Source(f"(SELECT {f}.vs_actor_role())", ""))
        self.actor: Final = Actor(actor_id, role)
        """The actor to call a row scope with."""
        # Actor copies its attributes, and these can't be counted.
        object.__setattr__(self.actor, "attributes", _Attributes(self._attribute))

    def text(self, value: object) -> str | None:
        """SQL of a text that is bound, where it is a value of the actor."""
        source = self._sources.get(str.__str__(value)) if isinstance(value, str) else None
        return None if source is None else source.text

    def uuid(self, value: object) -> str | None:
        """SQL of a UUID that is bound, where it is a value of the actor."""
        name = str(value) if isinstance(value, uuid.UUID) else str.__str__(value) if isinstance(value, str) else ""
        source = self._sources.get(name)
        return None if source is None else source.as_uuid

    def _attribute(self, name: str) -> str:
        quoted = literal(name)
        return self._symbol(
            f"attribute {name}",
            _Source(f"(SELECT {SCHEMA}.vs_attribute({quoted}))", f"(SELECT {SCHEMA}.vs_attribute_uuid({quoted}))"),
        )

    def _symbol(self, name: str, source: _Source) -> str:
        value = str(uuid.uuid5(_SPACE, f"{self._number} {name}"))
        self._sources[value] = source
        return _Symbol(value)

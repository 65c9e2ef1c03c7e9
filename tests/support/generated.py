"""Random models and policies over them, as plain values: what a seed or Hypothesis chose, before anything is built.

`worlds()` is the strategy, `world(seed)` the same choices from a seed. A world is always valid: its policy fits its
models, and its rules of `never` hold. generated_models.py builds the classes, generated_policy.py chooses the policy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from hypothesis import strategies as st

__all__ = [
    "CARDS",
    "KINDS",
    "MASKS",
    "SOURCES",
    "Choices",
    "Drawn",
    "FieldSpec",
    "ModelSpec",
    "Seeded",
    "WorldSpec",
    "models",
    "world",
    "worlds",
]

T = TypeVar("T")

KINDS = ("str", "int", "date", "decimal", "bool", "bytes", "datetime", "uuid", "enum", "json")
"""Types of fields, as codec.py names them."""
INDEXABLE = frozenset({"str", "bytes", "int", "decimal", "uuid", "datetime"})
SOURCES = ("alpha", "beta", "gamma", "delta")
CARDS = ("card_a", "card_b", "card_c")
MASKS: Mapping[str, tuple[str, ...]] = {
    kind: ("present", "constant", *more)
    for kind, more in {
        "str": ("keep", "initial"),
        "int": ("band",),
        "date": ("age_band", "year"),
        "decimal": ("band",),
        "datetime": ("year",),
    }.items()
} | dict.fromkeys(("bool", "bytes", "uuid", "enum", "json"), ("present", "constant"))

_NAMES = ("Member", "Order", "Note", "Visit")
# Names that SQL has to quote, and one that it need not.
_TABLES = ("members", "order", "Grüße", "two words")
_COLUMNS = ("", "", "", "select", "Größe", "from where")


class Choices(Protocol):
    """Where decisions come from: Hypothesis, which shrinks them, or a seed."""

    def number(self, low: int, high: int) -> int:
        """From `low` to `high`."""

    def flag(self, often: int = 2) -> bool:
        """True about once in `often`."""

    def one(self, items: Sequence[T]) -> T:
        """One of them."""

    def some(self, items: Sequence[T], least: int = 0, most: int | None = None) -> list[T]:
        """Some of them, in their order."""


class Seeded:
    """Choices of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def flag(self, often: int = 2) -> bool:
        return self._random.randrange(often) == 0

    def one(self, items: Sequence[T]) -> T:
        return self._random.choice(items)

    def some(self, items: Sequence[T], least: int = 0, most: int | None = None) -> list[T]:
        count = self._random.randint(min(least, len(items)), min(len(items) if most is None else most, len(items)))
        chosen = set(self._random.sample(range(len(items)), count))
        return [item for at, item in enumerate(items) if at in chosen]


class Drawn:
    """Choices of Hypothesis; the first of everything is the simplest."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def number(self, low: int, high: int) -> int:
        return int(self._draw(st.integers(low, high)))

    def flag(self, often: int = 2) -> bool:
        return int(self._draw(st.integers(0, often - 1))) == often - 1 and often > 1

    def one(self, items: Sequence[T]) -> T:
        chosen: T = self._draw(st.sampled_from(items))
        return chosen

    def some(self, items: Sequence[T], least: int = 0, most: int | None = None) -> list[T]:
        if not items:
            return []
        bounds = {"min_size": min(least, len(items)), "max_size": min(len(items) if most is None else most, len(items))}
        chosen = set(self._draw(st.lists(st.integers(0, len(items) - 1), unique=True, **bounds)))
        return [item for at, item in enumerate(items) if at in chosen]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """An encrypted field."""

    name: str
    kind: str
    category: str
    index: str = ""
    """``plain``, ``unique`` or "" for none."""
    projections: tuple[tuple[str, str], ...] = ()
    """(category, mask) each."""
    nullable: bool = False
    column: str = ""
    """Name of the column where it is not the field's."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model. Every root has the clear columns id (a UUID), store (text), person (a UUID or NULL), remark (text or
    NULL) and, where it is plain, holder (text), target (a UUID) and open (a bool): what row scopes go by.
    """

    name: str
    table: str
    fields: tuple[FieldSpec, ...] = ()
    base: str = ""
    joined: bool = False
    """Where it has a base: in a table of its own."""
    owned: bool = False
    """Its subject is the column `owner`, not its own id."""
    belongs_to: str = ""
    """The model that `owner` is a foreign key to; "" for none."""
    scoped_keys: bool = False
    """Its data keys are bound to the column `room`."""

    @property
    def plain(self) -> bool:
        """Without encrypted fields of its own or of a base."""
        return not self.fields and not self.base


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """Models, and a policy over them as the data of its YAML file."""

    models: tuple[ModelSpec, ...]
    policy: Mapping[str, Any]

    def model(self, name: str) -> ModelSpec:
        """The model called `name`."""
        return next(m for m in self.models if m.name == name)

    def fields(self, model: ModelSpec) -> tuple[FieldSpec, ...]:
        """Its fields, inherited ones first."""
        inherited = self.fields(self.model(model.base)) if model.base else ()
        return (*inherited, *model.fields)


def models(choose: Choices) -> tuple[ModelSpec, ...]:
    """One to four models: the first has encrypted fields, one may be plain, and one may inherit from the first."""
    count, found = choose.number(1, 4), []
    plain_at = choose.number(1, 3) if choose.flag() else 0
    child_at = choose.number(1, 3) if choose.flag(3) else 0
    for at in range(count):
        first = found[0] if found else None
        table = choose.one((f"t{at}", _TABLES[at]))
        if at and at == plain_at:
            found.append(ModelSpec(_NAMES[at], table))
        elif at and at == child_at and first is not None:
            fields = _fields(choose, at, most=2, nullable=True)
            found.append(ModelSpec(_NAMES[at], table, fields, base=first.name, joined=choose.flag()))
        else:
            owned = choose.flag(3)
            belongs_to = first.name if owned and first is not None and choose.flag() else ""
            fields = _fields(choose, at, most=4)
            found.append(ModelSpec(_NAMES[at], table, fields, "", False, owned, belongs_to, scoped_keys=choose.flag(4)))
    return tuple(found)


def _fields(choose: Choices, at: int, *, most: int, nullable: bool = False) -> tuple[FieldSpec, ...]:
    found = []
    for number in range(choose.number(1, most)):
        kind = choose.one(KINDS)
        cards = choose.some(CARDS, most=2) if choose.flag() else []
        index = choose.one(("plain", "plain", "unique")) if kind in INDEXABLE and choose.flag() else ""
        found.append(
            FieldSpec(
                name=f"f{at}{number}",
                kind=kind,
                category=choose.one(SOURCES),
                index=index,
                projections=tuple((card, choose.one(MASKS[kind])) for card in cards),
                nullable=nullable or choose.flag(4),
                # A column's name has to be its table's only one: the number makes it so.
                column=f"{name} {at}{number}" if (name := choose.one(_COLUMNS)) else "",
            )
        )
    return tuple(found)


def _world(choose: Choices) -> WorldSpec:
    from tests.support.generated_policy import policy

    made = models(choose)
    return WorldSpec(made, policy(choose, made))


def world(seed: int) -> WorldSpec:
    """The world of a seed; always the same."""
    return _world(Seeded(seed))


@st.composite
def worlds(draw: Callable[[st.SearchStrategy[Any]], Any]) -> WorldSpec:
    """Every world; shrinks to one model with one field, and purposes that may nothing."""
    return _world(Drawn(draw))

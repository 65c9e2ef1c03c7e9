"""The models as plain data: what policy, keys and gate need to know of them, without SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

__all__ = ["Catalogue", "Field", "Index", "Model", "Projection"]


@dataclass(frozen=True, slots=True)
class Projection:
    """A mask of one field, sealed under a category of its own."""

    category: str
    mask: str
    """Fingerprint of the mask: its name and parameters, e.g. ``keep(first=3,last=4)``."""
    context: str
    """Context name in the AAD, by default ``table.column_projection``."""
    residual: int | None = field(default=None, compare=False)
    """How many values lie behind one shown mask, at the least; None where the mask can't tell."""


@dataclass(frozen=True, slots=True)
class Index:
    """A blind index of one field."""

    name: str
    """Name of its HMAC key: the field's context name."""
    normalizer: str
    """Fingerprint of the normaliser, e.g. ``phone_e164(region=CN)``."""
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """An encrypted field of a model."""

    name: str
    category: str
    context: str
    """Context name in the AAD, by default ``table.column``."""
    type: str
    """Its type as codec.py names it: str, bytes, int, bool, decimal, date, datetime, uuid, enum, json."""
    index: Index | None = None
    projections: tuple[Projection, ...] = ()

    def projection(self, category: str) -> Projection | None:
        """The projection of this field into `category`, or None."""
        return next((p for p in self.projections if p.category == category), None)

    @property
    def categories(self) -> tuple[str, ...]:
        """The source category, then those of the projections, in declaration order."""
        return (self.category, *(p.category for p in self.projections))


@dataclass(frozen=True, slots=True)
class Model:
    """A model; one without encrypted fields has rows and clear columns, which a policy speaks of as well."""

    name: str
    table: str
    fields: tuple[Field, ...]
    bases: tuple[str, ...] = ()
    """Names of the mapped models it inherits from, nearest first: a purpose that lists a base covers it."""

    def field(self, name: str) -> Field | None:
        """The field called `name`, or None."""
        return next((f for f in self.fields if f.name == name), None)

    @property
    def categories(self) -> frozenset[str]:
        """Every category that a value of this model is sealed under."""
        return frozenset(c for f in self.fields for c in f.categories)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every model of a store, and the row scopes that are registered for them."""

    models: Mapping[str, Model] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models.values())

    def model(self, name: str) -> Model | None:
        """The model called `name`, or None."""
        return self.models.get(name)

    @property
    def categories(self) -> frozenset[str]:
        """Every category of every model, projections too."""
        return frozenset(c for m in self for c in m.categories)

    @property
    def indexes(self) -> tuple[str, ...]:
        """Names of the HMAC keys of all blind indexes, sorted."""
        return tuple(sorted(f.index.name for m in self for f in m.fields if f.index is not None))

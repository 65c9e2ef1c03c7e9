"""Rows of a generated world, and which of them each row scope shows, worked out here and not in SQL."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.support.generated import FieldSpec, ModelSpec, WorldSpec
from tests.support.generated_models import MASKS_OF, Built, Colour
from vaultstore import Actor, Masked

__all__ = ["PEOPLE", "STORES", "Row", "instance", "masked", "rows", "scope_of", "shows", "value"]

PEOPLE = (uuid.UUID(int=0xA1), uuid.UUID(int=0xB2))
"""Ids of actors; the generated data belong to one or the other, or to nobody."""
STORES = ("north", "south")
ROWS = 4
"""Rows of a model; a plain one has more, see `rows`."""
_LISTS = ((0, 0, True), (1, 0, False), (2, 1, True))
"""Of each model a plain one lists these rows: (row, person who holds it, open)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its clear columns; encrypted values come of `number`."""

    model: str
    number: int
    id: uuid.UUID
    store: str
    person: uuid.UUID | None
    holder: str = ""
    target: uuid.UUID | None = None
    open: bool = False


def rows(spec: WorldSpec) -> dict[str, list[Row]]:
    """The rows of each model, those of a subclass under its own name; the same each time."""
    found = {}
    for at, model in enumerate(spec.models):
        made = [
            Row(model.name, n, _id(at, n), STORES[n % 2], (*PEOPLE, None)[n % 3])
            for n in range(ROWS)
        ]  # fmt: skip
        if model.plain:
            made = [
                Row(model.name, n, _id(at, n), STORES[n % 2], (*PEOPLE, None)[n % 3], holder, target, is_open)
                for n, (holder, target, is_open) in enumerate(_listed(spec))
            ]
        found[model.name] = made
    return found


def _id(model: int, number: int) -> uuid.UUID:
    return uuid.UUID(int=(model + 1) << 64 | number + 1)


def _listed(spec: WorldSpec) -> list[tuple[str, uuid.UUID, bool]]:
    return [(str(PEOPLE[who]), _id(at, row), is_open) for at in range(len(spec.models)) for row, who, is_open in _LISTS]


def value(field: FieldSpec, number: int) -> Any:
    """What row `number` holds in a field; distinct from row to row where the type has enough values."""
    if field.nullable and number == ROWS - 1:
        return None
    return {
        "str": f"value {number} of {field.name}",
        "int": 7 * number + 1,
        "date": date(1980 + number, 2, 3),
        "decimal": Decimal(f"{number}.50"),
        "bool": number % 2 == 0,
        "bytes": bytes([number, 0, 255]),
        "datetime": datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=400 * number),
        "uuid": uuid.UUID(int=number + 1),
        "enum": (Colour.RED, Colour.BLUE)[number % 2],
        "json": {"n": number, "words": ["a", ""]},
    }[field.kind]


def masked(field: FieldSpec, category: str, number: int) -> Masked | None:
    """The mask of that value which a projection holds."""
    found = value(field, number)
    return None if found is None else Masked.of(MASKS_OF[dict(field.projections)[category]]().mask(found))


def instance(made: Built, row: Row, base: Mapping[str, list[Row]]) -> Any:
    """An object of the row's class, ready to be added."""
    model, values = made.spec.model(row.model), {}
    root = made.spec.model(model.base) if model.base else model
    if root.plain:
        values |= {"holder": row.holder, "target": row.target, "open": row.open}
    if root.owned:
        targets = base[root.belongs_to] if root.belongs_to else None
        values["owner"] = targets[row.number % len(targets)].id if targets else uuid.UUID(int=0xC0 + row.number)
    for field in made.spec.fields(model):
        values[field.name] = value(field, row.number + _offset(made.spec, model, field))
    return made.classes[row.model](id=row.id, store=row.store, person=row.person, **values)


def number_of(spec: WorldSpec, row: Row, field: FieldSpec) -> int:
    """Which number a field's value was made of."""
    return row.number + _offset(spec, spec.model(row.model), field)


def _offset(spec: WorldSpec, model: ModelSpec, field: FieldSpec) -> int:
    # An inherited field is one column for both classes: a unique index wants other values in the subclass's rows.
    return 100 if field not in model.fields else 0


def scope_of(made: Built, purpose: str, model: str) -> str | None:
    """The name of the scope that a purpose reads a model under, without the prefix of this world."""
    spec, read = made.spec.model(model), made.spec.policy["purposes"][purpose].get("read", {})
    found: str | None = next((read[n].get("rows") for n in (model, spec.base) if n in read), None)
    return found


def shows(scope: str | None, row: Row, every: Mapping[str, list[Row]], actor: Actor) -> bool:
    """Whether `scope` shows `row` to `actor`."""
    if scope is None:
        return True
    if scope == "same_store":
        return row.store == actor.attributes["store"]
    if scope == "own_rows":
        return row.person is not None and str(row.person) == actor.id
    lists = [r for listed in every.values() for r in listed if r.holder == actor.id and r.target == row.id]
    if scope == "held":
        return bool(lists)
    return any(r.open and r.store == actor.attributes["store"] for r in lists)

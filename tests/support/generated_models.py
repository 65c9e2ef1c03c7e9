"""Declarative models of a generated world, on a base of their own, and the row scopes that its policy names."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import yaml
from sqlalchemy import ColumnElement, ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.support.generated import FieldSpec, ModelSpec, WorldSpec
from vaultstore import Encrypted, EncryptedModel, Policy, blind_index, encrypted_column, masks, row_scope, uuid7
from vaultstore.grants import Actor
from vaultstore.masks import Mask
from vaultstore.orm import scopes as registered

__all__ = ["MASKS_OF", "Built", "Colour", "built"]

_numbers = itertools.count(1)


class Colour(Enum):
    """The type of generated fields of kind ``enum``."""

    RED = "red"
    BLUE = "blue"


TYPES: Mapping[str, Any] = {
    "str": str,
    "int": int,
    "date": date,
    "decimal": Decimal,
    "bool": bool,
    "bytes": bytes,
    "datetime": datetime,
    "uuid": uuid.UUID,
    "enum": Colour,
    "json": dict[str, Any],
}
MASKS_OF: Mapping[str, Callable[[], Mask]] = {
    "present": masks.present,
    "constant": lambda: masks.constant("withheld"),
    "keep": lambda: masks.keep(last=2),
    "initial": masks.initial,
    "band": lambda: masks.band(0, 10, 100),
    "age_band": lambda: masks.age_band(5),
    "year": masks.year,
}


@dataclass(frozen=True, slots=True)
class Built:
    """A world's classes and its policy."""

    spec: WorldSpec
    base: Any
    classes: Mapping[str, Any]
    text: str
    """The policy file."""
    document: Mapping[str, Any]
    """The same as data."""

    @property
    def policy(self) -> Policy:
        """The policy, loaded."""
        return Policy.parse(self.text)


@contextmanager
def built(spec: WorldSpec) -> Iterator[Built]:
    """Make the classes of `spec` and register its row scopes; both are gone at the end."""
    prefix = f"generated_{next(_numbers)}_"
    base: Any = type("Base", (EncryptedModel, DeclarativeBase), {"__module__": __name__})
    names: list[str] = []
    try:
        classes: dict[str, Any] = {}
        for model in spec.models:
            classes[model.name] = _class(spec, model, base, classes)
        plain = next((classes[m.name] for m in spec.models if m.plain), None)
        for scope, function in _scopes(plain).items():
            function.__qualname__ = names.append(prefix + scope) or prefix + scope  # type: ignore[func-returns-value]
            row_scope(prefix + scope)(function)
        document = deepcopy(dict(spec.policy))
        for purpose in document["purposes"].values():
            for entry in purpose.get("read", {}).values():
                if "rows" in entry:
                    entry["rows"] = prefix + entry["rows"]
        yield Built(spec, base, classes, yaml.safe_dump(document, sort_keys=False), document)
    finally:
        for name in names:
            registered._scopes.pop(name, None)
        base.registry.dispose()


def _class(spec: WorldSpec, model: ModelSpec, base: Any, classes: Mapping[str, Any]) -> Any:
    body: dict[str, Any] = {"__module__": __name__, "__annotations__": {}}

    def add(name: str, annotation: Any, value: Any = None) -> None:
        body["__annotations__"][name] = annotation
        if value is not None:
            body[name] = value

    if model.base:
        body["__mapper_args__"] = {"polymorphic_identity": model.name}
        if model.joined:
            body["__tablename__"] = model.table
            root = classes[model.base].__table__
            add("id", Mapped[uuid.UUID], mapped_column(ForeignKey(root.c.id), primary_key=True, default=uuid7))
    else:
        body["__tablename__"] = model.table
        add("id", Mapped[uuid.UUID], mapped_column(primary_key=True, default=uuid7))
        add("store", Mapped[str])
        add("person", Mapped[uuid.UUID | None])
        add("remark", Mapped[str | None])
        if any(m.base == model.name for m in spec.models):
            add("kind", Mapped[str])
            body["__mapper_args__"] = {"polymorphic_on": "kind", "polymorphic_identity": model.name}
        if model.plain:
            add("holder", Mapped[str])
            add("target", Mapped[uuid.UUID])
            add("open", Mapped[bool])
        else:
            body["__subject__"] = "owner" if model.owned else "id"
        if model.owned:
            key = (ForeignKey(classes[model.belongs_to].__table__.c.id),) if model.belongs_to else ()
            add("owner", Mapped[uuid.UUID], mapped_column(*key, default=uuid7))
        if model.scoped_keys:
            body["__key_scope__"] = "room"
            add("room", Mapped[uuid.UUID], mapped_column(default=uuid7))
    for field in model.fields:
        kind = TYPES[field.kind]
        add(field.name, Encrypted[kind | None] if field.nullable else Encrypted[kind], _column(model, field))
    return type(model.name, (classes[model.base] if model.base else base,), body)


def _column(model: ModelSpec, field: FieldSpec) -> Any:
    return encrypted_column(
        category=field.category,
        index=blind_index(unique=field.index == "unique") if field.index else None,
        projections={category: MASKS_OF[mask]() for category, mask in field.projections},
        name=field.column or None,
        context=f"{model.name}.{field.name}",  # Vault would not take a key named after every table
    )


def _scopes(plain: Any) -> dict[str, Callable[[Actor, Any], ColumnElement[bool]]]:
    def same_store(actor: Actor, model: Any) -> ColumnElement[bool]:
        condition: ColumnElement[bool] = model.store == actor.attributes["store"]
        return condition

    def own_rows(actor: Actor, model: Any) -> ColumnElement[bool]:
        condition: ColumnElement[bool] = model.person == uuid.UUID(actor.id)
        return condition

    def held(actor: Actor, model: Any) -> ColumnElement[bool]:
        condition: ColumnElement[bool] = model.id.in_(select(plain.target).where(plain.holder == actor.id))
        return condition

    def held_open(actor: Actor, model: Any) -> ColumnElement[bool]:
        listed = select(plain.target).where(
            plain.holder == actor.id, plain.open.is_(True), plain.store == actor.attributes["store"]
        )
        condition: ColumnElement[bool] = model.id.in_(listed)
        return condition

    always = {"same_store": same_store, "own_rows": own_rows}
    return always if plain is None else {**always, "held": held, "held_open": held_open}

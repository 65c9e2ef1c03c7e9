"""What an erasure does to a model's rows: declared on the model, checked as it is mapped."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final

from sqlalchemy import Column, Index, Table, UniqueConstraint, literal
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import ColumnProperty, Mapper

from vaultstore.errors import ModelError
from vaultstore.orm.plaintext import PlaintextType
from vaultstore.orm.types import BlindIndexType, SealedType

__all__ = ["RANDOM", "OnErasure", "Random", "check_erasure", "erasure_of", "personal"]


class Random:
    """Stands for a new random value in each row: a UUID, or ``erased-`` and 32 hexadecimal digits."""

    def __repr__(self) -> str:
        return "OnErasure.RANDOM"


RANDOM: Final = Random()
_SEALED = SealedType | BlindIndexType | PlaintextType


@dataclass(frozen=True, slots=True)
class OnErasure:
    """What happens to a model's rows when their subject is erased; a model has it as `__erasure__`.

    `clear` gives clear columns a value that tells nothing: None, a constant, or `OnErasure.RANDOM` where each row needs
    one of its own. `keep` leaves clear columns as they are and says why (a law, an agreement): the certificate repeats
    it. `delete` removes the rows altogether. Names are those of attributes. A column that neither names stays,
    and the certificate lists it as not declared. Blind indexes are emptied without being named, keys and the subject's
    own column stay.
    """

    RANDOM: ClassVar[Random] = RANDOM

    clear: Mapping[str, Any] = field(default_factory=dict)
    keep: Mapping[str, str] = field(default_factory=dict)
    delete: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "clear", MappingProxyType(dict(self.clear)))
        object.__setattr__(self, "keep", MappingProxyType(dict(self.keep)))


def erasure_of(class_: type[Any]) -> OnErasure | None:
    """What a mapped class declares, or inherits; None: nothing."""
    declared = getattr(class_, "__erasure__", None)
    return declared if isinstance(declared, OnErasure) else None


def check_erasure(class_: type[Any], mapper: Mapper[Any], properties: Mapping[str, Any]) -> None:
    """Raise ModelError where a class declares what can't be done at its erasure."""
    declared = getattr(class_, "__erasure__", None)
    if declared is None:
        return
    if not isinstance(declared, OnErasure):
        raise ModelError(f"{class_.__name__}: __erasure__ is an OnErasure(clear={{...}}, keep={{...}}, delete=False)")
    if getattr(class_, "__subject__", None) is None:
        raise ModelError(f"{class_.__name__}: __erasure__ needs __subject__, the column that says whose rows they are")
    if declared.delete and (declared.clear or declared.keep):
        raise ModelError(f"{class_.__name__}: rows that an erasure deletes have nothing to clear or to keep")
    if twice := sorted(declared.clear.keys() & declared.keep.keys()):
        raise ModelError(f"{class_.__name__}.{twice[0]}: an erasure clears it or keeps it, not both")
    fixed = {getattr(class_, name, None) for name in ("__subject__", "__row_key__", "__key_scope__")}
    for key in (*declared.clear, *declared.keep):
        where, verb = f"{class_.__name__}.{key}", "cleared" if key in declared.clear else "kept"
        prop = properties.get(key)
        column = prop.columns[0] if isinstance(prop, ColumnProperty) else None
        if not isinstance(column, Column):
            raise ModelError(f"{where} is to be {verb} by an erasure, and is no mapped column")
        if isinstance(column.type, _SEALED):
            raise ModelError(f"{where}: sealed values and indexes go with their keys; an erasure names clear columns")
        if column.primary_key or key in fixed:
            raise ModelError(f"{where}: a row keeps its key, its subject and its scope; declare delete=True instead")
        if key in declared.keep and not (isinstance(declared.keep[key], str) and declared.keep[key].strip()):
            raise ModelError(f"{where}: say why an erasure keeps it")
        if key in declared.clear:
            _check_value(where, column, declared.clear[key])
    _check_unique(class_, mapper, declared, properties)


def personal(class_: type[Any], mapper: Mapper[Any]) -> Iterator[tuple[str, Column[Any]]]:
    """(attribute, column) of the clear columns that an erasure decides on: all but keys, subject and scope."""
    fixed = {getattr(class_, name, None) for name in ("__subject__", "__row_key__", "__key_scope__")}
    discriminator = mapper.polymorphic_on
    for prop in mapper.column_attrs:
        column = prop.columns[0]
        if not isinstance(column, Column) or prop.key in fixed or any(c.primary_key for c in _columns(prop.columns)):
            continue
        if column is not discriminator and not isinstance(column.type, _SEALED):
            yield prop.key, column


def _columns(columns: Iterable[Any]) -> Iterator[Column[Any]]:
    return (column for column in columns if isinstance(column, Column))


def _check_value(where: str, column: Column[Any], value: Any) -> None:
    if value is None:
        if not column.nullable:
            raise ModelError(f"{where} is NOT NULL: an erasure can't clear it to None; give a value that tells nothing")
        return
    try:
        kind = column.type.python_type
    except NotImplementedError:
        kind = object
    if value is RANDOM:
        length = getattr(column.type, "length", None)
        if not issubclass(kind, str | uuid.UUID) or (issubclass(kind, str) and length is not None and length < 39):
            raise ModelError(f"{where}: a random value is a UUID, or text of 39 characters; this is no such column")
        return
    if callable(value) or not isinstance(value, kind):
        raise ModelError(f"{where}: an erasure clears it to one {kind.__name__}, not to {type(value).__name__}")
    try:
        literal(value, column.type).compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - whatever a type makes of it
        raise ModelError(f"{where}: this value can't be written down as SQL; clear it to another") from None


def _check_unique(class_: type[Any], mapper: Mapper[Any], declared: OnErasure, properties: Mapping[str, Any]) -> None:
    """A constant in a unique column would collide with the second subject who is erased."""
    constant = {key for key, value in declared.clear.items() if value is not None and value is not RANDOM}
    cleared = {properties[key].columns[0]: key for key in declared.clear}
    for table in mapper.tables:
        for columns in _unique(table) if isinstance(table, Table) else ():
            names = [cleared[column] for column in columns if column in cleared]
            varies = len(names) > len(constant.intersection(names)) or any(column.primary_key for column in columns)
            if constant.intersection(names) and not varies:
                raise ModelError(
                    f"{class_.__name__}.{sorted(constant.intersection(names))[0]} is unique: clear it to None or to"
                    " OnErasure.RANDOM, or the second erasure would collide with the first"
                )


def _unique(table: Table) -> Iterator[list[Column[Any]]]:
    yield from ([column] for column in table.columns if column.unique)
    for item in (*table.constraints, *table.indexes):
        if isinstance(item, UniqueConstraint) or (isinstance(item, Index) and item.unique):
            yield list(item.columns)

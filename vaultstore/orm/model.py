"""EncryptedModel, the mixin of a declarative base, and what it checks when a class is mapped."""

from __future__ import annotations

import inspect
import re
import sys
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, get_origin

import uuid_utils.compat
from sqlalchemy import Column, Table, UniqueConstraint, event
from sqlalchemy.orm import ColumnProperty, Mapper

from vaultstore.errors import ModelError
from vaultstore.orm.ddl import constrain
from vaultstore.orm.declare import Encrypted
from vaultstore.orm.erasure import OnErasure, check_erasure
from vaultstore.orm.plaintext import Plain, PlaintextType
from vaultstore.orm.properties import EncryptedProperty
from vaultstore.orm.types import OPEN_KEY, BlindIndexType, Cell, SealedType, Shut

__all__ = ["EncryptedModel", "uuid7"]

_SUBSCRIPTED = re.compile(r"^\s*([\w.]+)\s*\[")


def uuid7() -> uuid.UUID:
    """A new UUID of version 7 (RFC 9562, section 5.7): ordered by time, so that indexes stay compact."""
    return uuid_utils.compat.uuid7()


class EncryptedModel:
    """Mixin for a declarative base whose models have encrypted fields.

    A model with such fields names the column of its subject in `__subject__`. `__key_scope__` may name a UUID column
    that data keys are also bound to (a conversation), and `__row_key__` a unique UUID column that stands for the row
    instead of the primary key. All of them are set by the client and never change. A model without encrypted fields may
    name a subject too: its rows are then restricted and erased with it. `__erasure__` says what becomes of the clear
    columns when the subject is erased, and `__activity__` which columns say when a member was last seen.
    """

    __subject__: ClassVar[str]
    __key_scope__: ClassVar[str]
    __row_key__: ClassVar[str]
    __erasure__: ClassVar[OnErasure]
    __activity__: ClassVar[str | tuple[str, ...]]

    def __getstate__(self) -> dict[str, Any]:
        # What copies and pickles get: ciphertext. An assigned value that is not sealed refuses, in Cell.__reduce__.
        state = dict(self.__dict__)
        state.pop(OPEN_KEY, None)
        for key in [key for key, value in state.items() if value.__class__ is Plain]:
            del state[key]
        for key, value in state.items():
            if value.__class__ is Cell:
                state[key] = value.__reduce__()[1][0]
            elif value.__class__ is Shut:
                state[key] = value.ct
        return state


@event.listens_for(EncryptedModel, "after_mapper_constructed", propagate=True)
def _mapped(mapper: Mapper[Any], class_: type[Any]) -> None:
    properties = dict(mapper._props)  # the public accessors would configure every mapper now, before all are there
    _refuse_plain_columns(class_, properties)
    fields = [p for p in properties.values() if isinstance(p, EncryptedProperty)]
    if not fields:
        if getattr(class_, "__subject__", None) is not None:
            _check_binding(mapper, class_, properties, "__subject__")
        check_erasure(class_, mapper, properties)
        return
    for name in ("__subject__", "__row_key__", "__key_scope__"):
        _check_binding(mapper, class_, properties, name)
    if getattr(class_, "__row_key__", None) is None:
        if len(mapper.primary_key) != 1:
            raise ModelError(f"{class_.__name__}: a composite primary key needs __row_key__, a unique UUID column")
        _check_uuid(class_, "its primary key", mapper.primary_key[0])
    check_erasure(class_, mapper, properties)
    for table in mapper.tables:
        if isinstance(table, Table):
            constrain(table)


def _check_binding(mapper: Mapper[Any], class_: type[Any], properties: Mapping[str, Any], name: str) -> None:
    key = getattr(class_, name, None)
    if key is None:
        if name == "__subject__":
            raise ModelError(f"{class_.__name__}: name the column of the subject: __subject__ = 'id'")
        return
    prop = properties.get(key)
    if not isinstance(prop, ColumnProperty) or not isinstance(column := prop.columns[0], Column):
        raise ModelError(f"{class_.__name__}: {name} = {key!r} names no mapped column")
    prop.active_history = True  # so that a change is seen on an expired object too
    _check_uuid(class_, f"{name} = {key!r}", column)
    if name == "__row_key__" and not _unique(column):
        raise ModelError(f"{class_.__name__}: {name} = {key!r} has to be unique, since it stands for the row")


def _check_uuid(class_: type[Any], what: str, column: Any) -> None:
    try:
        is_uuid = issubclass(column.type.python_type, uuid.UUID)
    except NotImplementedError:
        is_uuid = False
    if not is_uuid:
        raise ModelError(f"{class_.__name__}: {what} is not a UUID column (Mapped[uuid.UUID])")


def _unique(column: Column[Any]) -> bool:
    table: Any = column.table
    if column.unique or (column.primary_key and len(table.primary_key) == 1):
        return True
    if not isinstance(table, Table):
        return False
    unique: list[Any] = [c for c in table.constraints if isinstance(c, UniqueConstraint)]
    unique += [index for index in table.indexes if index.unique]
    return any(list(item.columns) == [column] for item in unique)


def _refuse_plain_columns(class_: type[Any], properties: Mapping[str, Any]) -> None:
    # Left alone, SQLAlchemy maps `x: Encrypted[str]` as it maps Mapped[str]: a VARCHAR that stores plaintext.
    for base in class_.__mro__:
        for name, annotation in _annotations(base).items():
            plain = name in properties and not isinstance(properties[name], EncryptedProperty)
            if plain and _is_encrypted(annotation, base):
                raise ModelError(f"{class_.__name__}.{name}: Encrypted[...] needs = encrypted_column(category=...)")
    for key, prop in properties.items():
        column = prop.columns[0] if type(prop) is ColumnProperty else None
        if isinstance(column, Column) and isinstance(column.type, SealedType | BlindIndexType | PlaintextType):
            raise ModelError(f"{class_.__name__}.{key}: a sealed column is mapped by encrypted_column() only")


def _annotations(class_: type[Any]) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(class_, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(class_)


def _is_encrypted(annotation: Any, class_: type[Any]) -> bool:
    if not isinstance(annotation, str):
        text = getattr(annotation, "__forward_arg__", None)
        if text is None:
            origin = get_origin(annotation) or annotation
            return isinstance(origin, type) and issubclass(origin, Encrypted)
        annotation = text
    match = _SUBSCRIPTED.match(annotation)
    head = match.group(1) if match else annotation.strip()
    found: Any = sys.modules.get(class_.__module__)
    for part in head.split("."):
        found = getattr(found, part, None)
    if found is None:  # a local name; SQLAlchemy may know it from its registry, and silence must not decide
        return head.rpartition(".")[2] == "Encrypted"
    return isinstance(found, type) and issubclass(found, Encrypted)

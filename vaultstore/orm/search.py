"""Equality search: the values of a statement become digests when it runs, one question to the gate for each field."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, Result
from sqlalchemy.engine import IteratorResult
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.sql import visitors

from vaultstore.orm.model import EncryptedModel
from vaultstore.orm.registry import info_of
from vaultstore.orm.types import Carried, IndexedFieldType, Needle, Needles
from vaultstore.records.index_versions import FIRST, Versions

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["Search"]


class Search:
    """The digests of one execution. Nothing of it outlives the execution, so a statement may run under any grant."""

    __slots__ = ("asked", "digests", "outdated", "session", "statement", "versions")

    def __init__(self, session: PurposeSession, statement: Any) -> None:
        self.session, self.statement = session, statement
        self.digests: dict[tuple[str, str, bytes], tuple[bytes, ...]] = {}
        self.asked: list[str] = []
        """The audit entries of its searches."""
        self.versions: list[tuple[str, str, Versions]] = []
        """(model, field, what the digests of its index are of) of each."""
        self.outdated = False
        """Whether a rotation began or ended meanwhile: rows may have been missed."""

    def __call__(self, needle: Needle) -> tuple[bytes, ...]:
        """The digests that rows with `needle` may have: two while the index's key is being rotated.

        What the gate raises comes out of SQLAlchemy's bind processing as Carried.
        """
        key = (needle.model, needle.field, needle.message)
        digests = self.digests.get(key)
        if digests is None:
            try:
                self._ask(needle)
            except Exception as error:  # noqa: BLE001 - whatever it is, SQLAlchemy must not wrap it
                raise Carried(error) from None
            digests = self.digests[key]
        return digests

    def _ask(self, needle: Needle) -> None:
        model, field = needle.model, needle.field
        wanted = {needle.message: None}
        for other in _needles(self.statement):
            if (other.model, other.field) == (model, field) and (model, field, other.message) not in self.digests:
                wanted[other.message] = None
        answer = self.session.gate.search(self.session.opened, model, field, list(wanted))
        self.asked.append(answer.entry)
        self.versions.append((model, field, answer.versions))
        for at, (message, digest) in enumerate(zip(wanted, answer.digests, strict=True)):
            self.digests[model, field, message] = (digest, answer.former[at]) if answer.former else (digest,)

    def audited(self, result: Result[Any]) -> Result[Any]:
        """Have the hits of `result` audited before anybody sees them; its rows are read for that, a stream's too."""
        rows: list[Any] = []
        if isinstance(result, IteratorResult):
            count = len(rows := _buffer(result))
        elif getattr(self.statement, "is_dml", False) and not self.statement._returning:
            count = getattr(result, "rowcount", -1)
        else:
            frozen = result.freeze()
            count, rows, result = len(frozen.data), list(frozen.data), frozen()
        subjects = list(dict.fromkeys(_subjects(self.statement, rows)))
        for entry, (model, field, versions) in zip(self.asked, self.versions, strict=True):
            now = self.session.gate.found(self.session.opened, entry, count, subjects)
            index = self.session.models.index_name(model, field)
            self.outdated |= now.get(index, FIRST) != versions
        return result


def _needles(statement: Any) -> Iterator[Needle]:
    key = statement._generate_cache_key()
    parameters: Iterable[Any] = visitors.iterate(statement) if key is None else key.bindparams
    for parameter in parameters:
        if isinstance(parameter, BindParameter):
            value = parameter.effective_value
            if isinstance(value, Needles):
                yield from value.needles
                continue
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, Needle):
                    yield item
                elif isinstance(parameter.type, IndexedFieldType) and item is not None:
                    yield parameter.type.needle(item)


def _buffer(result: Any) -> list[Any]:
    rows = list(result.iterator)
    result.iterator = iter(rows)
    result.chunks = lambda size: iter([rows])
    result.dynamic_yield_per = False
    return rows


def _subjects(statement: Any, rows: list[Any]) -> Iterator[bytes]:
    """Subjects of the rows: of every model in them, and of columns that hold a model's subject."""
    positions = list(_subject_columns(statement))
    for row in rows:
        items = (row,) if isinstance(row, EncryptedModel) or not isinstance(row, Iterable) else tuple(row)
        for item in items:
            if isinstance(item, EncryptedModel):
                state = instance_state(item)
                value = state.dict.get(info_of(state.manager.mapper).subject_key)
                if isinstance(value, uuid.UUID):
                    yield value.bytes
        for position in positions:
            if position < len(items) and isinstance(items[position], uuid.UUID):
                yield items[position].bytes


def _subject_columns(statement: Any) -> Iterator[int]:
    for position, description in enumerate(getattr(statement, "column_descriptions", ())):
        expression, entity = description.get("expr"), description.get("entity")
        mapper = getattr(getattr(entity, "__mapper__", None), "mapper", None)
        if isinstance(mapper, Mapper) and getattr(expression, "key", None) == info_of(mapper).subject_key:
            yield position

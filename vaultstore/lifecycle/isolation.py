"""Members who fell silent are restricted in bulk: a job over the model that says when they were last seen.

Whoever is restricted, erased or a canary is passed over. A member is looked at again in the transaction that restricts
them, so one who logs in meanwhile stays as they are.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement

from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.lifecycle.parts import Opener, Parts
from vaultstore.lifecycle.restriction import change_within, note, order_of
from vaultstore.lifecycle.work import Applied, Bench, Failure, Range
from vaultstore.orm import ModelRegistry
from vaultstore.orm.registry import ModelInfo
from vaultstore.orm.restricted import unrestricted
from vaultstore.records import canaries
from vaultstore.records.subjects import ACTIVE, ERASED, vs_subjects

__all__ = ["KIND", "Isolate", "count_dormant"]

KIND = "isolate"
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class _Chunk:
    keys: tuple[uuid.UUID, ...]
    last: str | None


@dataclass(frozen=True)
class Isolate:
    """The job."""

    inactive_for: timedelta
    operator: str
    opener: Opener | None = None
    parts: Parts | None = field(default=None, repr=False)
    """Of the store at hand; another process opens its own."""
    kind: str = KIND

    @property
    def about(self) -> str:
        """How long they were silent."""
        return f"inactive for {_words(self.inactive_for)}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "parts": None}

    @contextmanager
    def open(self) -> Iterator[Bench]:
        """A bench in the process that calls."""
        if self.parts is not None:
            yield _Bench(self, self.parts)
            return
        assert self.opener is not None
        with self.opener() as store:
            yield _Bench(self, store.parts)


def count_dormant(parts: Parts, inactive_for: timedelta) -> int:
    """How many members the job would look at. Canaries are among them; embedded, also those who were erased."""
    dormant = _Dormant(parts, inactive_for)
    with parts.engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).where(dormant.condition)).scalar_one()


class _Dormant:
    """Who counts as silent: by the first of the model's `__activity__` columns that says something."""

    def __init__(self, parts: Parts, inactive_for: timedelta) -> None:
        info = _model_of(parts.models)
        class_ = info.mapper.class_
        self.key = getattr(class_, info.subject_key)
        until = parts.now - inactive_for
        ways: list[ColumnElement[bool]] = []
        silent: list[ColumnElement[bool]] = []
        for name in _columns(info):
            column = getattr(class_, name)
            ways.append(sa.and_(*silent, column < _as_kept(column, until)))
            silent.append(column.is_(None))
        self.condition = sa.and_(sa.or_(*ways), unrestricted(info, parts.engine.dialect))
        if parts.engine.dialect.name == "postgresql":
            erased = sa.select(vs_subjects.c.subject).where(
                vs_subjects.c.subject == self.key, vs_subjects.c.state == ERASED
            )
            self.condition = sa.and_(self.condition, ~erased.correlate_except(vs_subjects).exists())


class _Bench:
    """Where a worker restricts members."""

    def __init__(self, work: Isolate, parts: Parts) -> None:
        self._work, self._parts = work, parts
        self._dormant = _Dormant(parts, work.inactive_for)

    @property
    def engine(self) -> sa.Engine:
        """The members' side."""
        return self._parts.engine

    def ranges(self, pieces: int) -> list[Range]:
        """Those who are silent, in ranges of about the same size."""
        key, dormant = self._dormant.key, self._dormant.condition
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(sa.func.count()).where(dormant)).scalar_one()
            size = max(1, -(-rows // pieces))
            numbered = sa.select(key.label("key"), sa.func.row_number().over(order_by=key).label("at")).where(dormant)
            listed = numbered.subquery()
            cuts = sa.select(listed.c.key).where(listed.c.at % size == 0, listed.c.at < rows).order_by(listed.c.key)
            ends = [end.hex for end in connection.scalars(cuts)]
        bounds = [None, *ends, None]
        counts = [size] * len(ends) + [rows - size * len(ends)]
        return [Range(a, b, n) for a, b, n in zip(bounds[:-1], bounds[1:], counts, strict=True)]

    def prepare(self, after: str | None, until: str | None) -> _Chunk:
        """Read who is next."""
        key = self._dormant.key
        query = sa.select(key).where(self._dormant.condition).order_by(key).limit(_CHUNK)
        if after is not None:
            query = query.where(key > uuid.UUID(after))
        if until is not None:
            query = query.where(key <= uuid.UUID(until))
        with self.engine.connect() as connection:
            keys = tuple(connection.scalars(query))
        return _Chunk(keys, keys[-1].hex if len(keys) == _CHUNK else None)

    def apply(self, connection: sa.Connection, prepared: Any) -> Applied:
        """Restrict those who are silent still."""
        query = sa.select(self._dormant.key).where(self._dormant.key.in_(prepared.keys), self._dormant.condition)
        asked = sorted(key.bytes for key in connection.scalars(query))
        if not asked:
            return Applied(0)
        if connection.dialect.name == "postgresql":
            return self._restrict(connection, connection, asked)
        with self._parts.ledger.gate() as gate:  # which commits first: docs/adr/0024
            return self._restrict(connection, gate, asked)

    def _restrict(self, members: sa.Connection, gate: sa.Connection, asked: Sequence[bytes]) -> Applied:
        planted = {canary.subject for canary in canaries.find(gate, asked)}
        states = dict(
            gate.execute(
                sa.select(vs_subjects.c.subject, vs_subjects.c.state).where(vs_subjects.c.subject.in_(asked))
            ).all()
        )
        # One that is restricted and yet in sight was cut short between the two files; restricting again mends it.
        able = [key for key in asked if key not in planted and states.get(key, ACTIVE) != ERASED]
        if not able:
            return Applied(0)
        now = self._parts.now
        order = order_of(now, reason=self._work.about, lifted=False, operator=self._work.operator)
        changed = change_within(members, gate, able, order, now)
        note(self._parts.journal, gate, able, order, changed, now)
        failures = [Failure(str(uuid.UUID(bytes=key)), code) for key, code in changed.refused.items()]
        return Applied(len(able) - len(failures), failures)


def _model_of(models: ModelRegistry) -> ModelInfo:
    """The model that says when members were last seen."""
    found = [info for info in models if _columns(info)]
    if len(found) != 1:
        names = ", ".join(info.name for info in found) or "none"
        raise UnsupportedOperation(f"one model says when a member was last seen, in __activity__; here: {names}")
    [info] = found
    if not info.subject_key or info.mapper.get_property(info.subject_key).columns[0] not in info.mapper.primary_key:
        raise ModelError(f"{info.name}: __activity__ is for a model whose primary key is its subject")
    return info


def _columns(info: ModelInfo) -> tuple[str, ...]:
    class_ = info.mapper.class_
    named = class_.__dict__.get("__activity__", ())
    names = (named,) if isinstance(named, str) else tuple(named)
    for name in names:
        prop = info.mapper.attrs.get(name)
        kind = _bare(getattr(getattr(prop, "columns", [None])[0], "type", None))
        if not isinstance(kind, sa.Date | sa.DateTime):
            raise ModelError(f"{info.name}: __activity__ names {name!r}, which is no column of a date or a time")
    return names


def _as_kept(column: Any, until: datetime) -> Any:
    """The moment as the column has it; a day counts as a whole."""
    if isinstance(_bare(column.type), sa.Date):
        return until.date()
    # A type of the application's own takes aware times, or makes of them what it keeps.
    aware = not isinstance(column.type, sa.DateTime) or column.type.timezone
    return until if aware else until.astimezone(UTC).replace(tzinfo=None)


def _bare(kind: Any) -> Any:
    """What a type is kept as."""
    while isinstance(kind, sa.TypeDecorator):
        kind = kind.impl_instance
    return kind


def _words(span: timedelta) -> str:
    return f"{span.days}d" if span == timedelta(days=span.days) else f"{int(span.total_seconds())}s"

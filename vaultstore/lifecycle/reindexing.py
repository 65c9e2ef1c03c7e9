"""Digests made anew while a blind index's key is being rotated: the job behind `store.indexes.backfill`.

A chunk is read and opened through a session of the token, as anybody reads. A digest is written only where the field is
still the ciphertext that it was made from; a row that somebody wrote meanwhile is read again under a lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.attributes import instance_state

from vaultstore.errors import BudgetExhausted, VaultstoreError
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.work import Applied, Bench, Failure, Range
from vaultstore.orm import PurposeSession
from vaultstore.orm.types import BlindIndexType, Cell, Digest, SealedType

__all__ = ["KIND", "Reindex"]

KIND = "reindex"
_ERASED = "subject.erased"


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: its keys, the ciphertext that its digest was made from, and the digest."""

    key: uuid.UUID
    identity: tuple[Any, ...]
    source: bytes
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Chunk:
    last: str | None
    count: int
    rows: Sequence[_Row] = field(repr=False)
    failures: Sequence[Failure]


@dataclass(frozen=True)
class Reindex:
    """The job: digests of one field of one model."""

    about: str
    model: str
    attribute: str
    token: Token = field(repr=False)
    opener: Opener | None = None
    parts: Parts | None = field(default=None, repr=False)
    """Of the store at hand; another process opens its own."""
    kind: str = KIND

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


class _Bench:
    """Where a worker makes digests anew."""

    def __init__(self, work: Reindex, parts: Parts) -> None:
        self._work, self._parts = work, parts
        self._info = next(info for info in parts.models if info.name == work.model)
        self._field = self._info.by_name[work.attribute]

    @property
    def engine(self) -> sa.Engine:
        """The members' side."""
        return self._parts.engine

    def _session(self, **options: Any) -> PurposeSession:
        return self._parts.session(token_of(self._work.token), **options)

    @property
    def _key(self) -> Any:
        return getattr(self._info.mapper.class_, self._info.row_key)

    def ranges(self, pieces: int) -> list[Range]:
        """All rows that there are, in ranges of about the same size; the last one has no end."""
        key, class_ = self._key, self._info.mapper.class_
        with self._session() as session:
            rows = session.execute(sa.select(sa.func.count()).select_from(class_)).scalar_one()
            size = max(1, -(-rows // pieces))
            ends = [
                session.execute(sa.select(key).order_by(key).offset(at - 1).limit(1)).scalar_one_or_none()
                for at in range(size, rows, size)
            ]
        bounds = [None, *(end.hex for end in ends if end is not None), None]
        counts = [size] * (len(bounds) - 2) + [rows - size * (len(bounds) - 2)]
        return [Range(after, until, count) for after, until, count in zip(bounds, bounds[1:], counts, strict=False)]

    def prepare(self, after: str | None, until: str | None) -> _Chunk:
        """Open the next rows and have their digests made."""
        key = self._key
        with self._session() as session:
            batch = session.access.purpose.batch
            query = sa.select(self._info.mapper.class_).order_by(key).limit(batch)
            if after is not None:
                query = query.where(key > uuid.UUID(after))
            if until is not None:
                query = query.where(key <= uuid.UUID(until))
            found = session.scalars(query).all()
            rows, failures = self._read(session, found)
            last = found[-1].__dict__[self._info.row_key].hex if len(found) == batch else None
        return _Chunk(last, len(found), rows, failures)

    def _read(self, session: PurposeSession, found: Sequence[Any]) -> tuple[list[_Row], list[Failure]]:
        """The rows that have a value, with new digests; and those that can't have one."""
        info, index, failures = self._info, self._field.index, list[Failure]()
        assert index is not None
        session.disclose(found)
        opened: list[tuple[Any, bytes, bytes]] = []  # object, ciphertext, normalised value
        for instance in found:
            values, source = instance.__dict__, instance.__dict__.get(self._field.name)
            try:
                value = getattr(instance, self._field.name)
                if value is not None:
                    source = source if source.__class__ is bytes else values[self._field.name]
                    opened.append((instance, source, index.message(value)))
            except BudgetExhausted:
                raise  # not this row's fault: the job stops, and goes on when there is room again
            except VaultstoreError as error:
                if getattr(error, "reason", None) != _ERASED:  # an erased one has no digest any more
                    failures.append(Failure(values[info.row_key].hex, str(error)))
        if not opened:
            return [], failures
        subjects = [instance.__dict__[info.subject_key].bytes for instance, _, _ in opened]
        asked = list(zip(subjects, (message for _, _, message in opened), strict=True))
        digests, refused = self._parts.gate.reindex(session.opened, info.name, self._field.name, asked)  # type: ignore[arg-type] # ours
        rows = []
        for (instance, source, _), subject, digest in zip(opened, subjects, digests, strict=True):
            values = instance.__dict__
            if digest is not None:
                identity = tuple(instance_state(instance).key[1])  # type: ignore[index] # it was loaded
                rows.append(_Row(values[info.row_key], identity, bytes(source), digest))
            elif refused[subject].reason != _ERASED:
                failures.append(Failure(values[info.row_key].hex, str(refused[subject])))
        return rows, failures

    def apply(self, connection: sa.Connection, prepared: Any) -> Applied:
        """Write the digests, each where its field is as it was; see again to rows that somebody wrote meanwhile."""
        failures = list(prepared.failures)
        if prepared.rows:
            with self._session(bind=connection) as session:
                session.connection()  # takes the purpose's role on the job's own connection
                behind = self._write(connection, prepared.rows, failures)
                if behind:
                    key = self._key
                    query = sa.select(self._info.mapper.class_).where(key.in_(behind)).with_for_update()
                    rows, more = self._read(session, session.scalars(query).all())
                    failures += more
                    left = self._write(connection, rows, failures)
                    failures += [Failure(each.hex, "it was written at the same time, twice") for each in left]
        return Applied(prepared.count - len(failures), failures)

    def _write(self, connection: sa.Connection, rows: Sequence[_Row], failures: list[Failure]) -> list[uuid.UUID]:
        """Write digests; the keys of rows whose field is not what it was, those of deleted ones left out."""
        if not rows:
            return []
        statement = self._statement()
        try:
            with connection.begin_nested():
                done = connection.execute(statement, [self._values(row) for row in rows]).rowcount
        except IntegrityError:
            done = sum(self._one(connection, statement, row, failures) for row in rows)
        return [] if done == len(rows) else self._changed(connection, rows)

    def _one(self, connection: sa.Connection, statement: sa.Update, row: _Row, failures: list[Failure]) -> int:
        try:
            with connection.begin_nested():
                return connection.execute(statement, self._values(row)).rowcount
        except IntegrityError:
            failures.append(Failure(row.key.hex, "another row has its value, and the index is unique"))
            return 1

    def _changed(self, connection: sa.Connection, rows: Sequence[_Row]) -> list[uuid.UUID]:
        table, source = self._table, self._source
        [key] = [c for c in self._info.mapper.attrs[self._info.row_key].columns if c.table is table]
        sources = {row.key: row.source for row in rows}
        query = sa.select(key, source).where(key.in_(list(sources)))
        return [each for each, now in connection.execute(query) if now is not None and bytes(now) != sources[each]]

    @property
    def _source(self) -> Any:
        return self._field.prop.columns[0]

    @property
    def _table(self) -> sa.Table:
        table: sa.Table = self._source.table
        return table

    def _statement(self) -> sa.Update:
        keys = (column == sa.bindparam(f"vs_key_{n}") for n, column in enumerate(self._table.primary_key))
        column: Any = self._field.prop.index_column
        return (
            sa.update(self._table)
            .where(*keys, self._source == sa.bindparam("vs_source", type_=SealedType()))
            .values({column: sa.bindparam("vs_digest", type_=BlindIndexType())})
        )

    def _values(self, row: _Row) -> dict[str, Any]:
        found: dict[str, Any] = {f"vs_key_{n}": value for n, value in enumerate(row.identity)}
        return {**found, "vs_source": Cell.sealed(row.source), "vs_digest": Digest(row.digest)}

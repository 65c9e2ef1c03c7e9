"""Masks computed anew: the job behind `store.projections.rebuild`.

A chunk is read and opened through a session of the token, as anybody reads, and its masks are sealed in the
transaction that records the job's progress. A projection is written only where its source is still the ciphertext that
the mask was made from: whoever wrote the row meanwhile made masks of their own, and theirs stay.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import instance_state

from vaultstore.codec import mask_codec
from vaultstore.envelope import AadTemplate, seal
from vaultstore.errors import AccessDenied, BudgetExhausted, VaultstoreError
from vaultstore.gate.protocol import KeyNeed, KeyRef
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.work import Applied, Bench, Failure, Range
from vaultstore.orm import PurposeSession
from vaultstore.orm.registry import FieldInfo, ModelInfo, ProjectionInfo
from vaultstore.orm.types import Cell, SealedType

__all__ = ["KIND", "Rebuild"]

KIND = "rebuild"
_NONCE = 12
_ERASED = "subject.erased"


@dataclass(frozen=True, slots=True)
class _Mask:
    """One mask that was made: what it goes into, what it was made from, and the masked value."""

    of: FieldInfo
    projection: ProjectionInfo
    source: bytes
    """Ciphertext of the value that was masked."""
    plain: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Row:
    key: uuid.UUID
    identity: tuple[Any, ...]
    subject: bytes
    scope: bytes
    masks: tuple[_Mask, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Chunk:
    last: str | None
    count: int
    rows: Sequence[_Row] = field(repr=False)
    failures: Sequence[Failure]


@dataclass(frozen=True)
class Rebuild:
    """The job: `targets` are (field, projection) of `model`, all of one source category."""

    about: str
    model: str
    category: str
    targets: tuple[tuple[str, str], ...]
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
    """Where a worker makes masks anew."""

    def __init__(self, work: Rebuild, parts: Parts) -> None:
        self._work, self._parts = work, parts
        self._info = next(info for info in parts.models if info.name == work.model)
        wanted = set(work.targets)
        self._fields = [
            (f, tuple(p for p in f.projections if (f.name, p.category) in wanted))
            for f in self._info.fields
            if any(name == f.name for name, _ in wanted)
        ]
        self._minted: tuple[str | None, list[KeyRef]] | None = None

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
        """All rows that the purpose sees, in ranges of about the same size."""
        key, class_ = self._key, self._info.mapper.class_
        with self._session() as session:
            rows = session.execute(sa.select(sa.func.count()).select_from(class_)).scalar_one()
            size = max(1, -(-rows // pieces))
            ends: list[uuid.UUID | None] = []
            for at in range(size, rows, size):
                ends.append(session.execute(sa.select(key).order_by(key).offset(at - 1).limit(1)).scalar_one_or_none())
        bounds = [None, *(end.hex for end in ends if end is not None), None]
        counts = [size] * (len(bounds) - 2) + [rows - size * (len(bounds) - 2)]
        return [Range(after, until, count) for after, until, count in zip(bounds, bounds[1:], counts, strict=False)]

    def prepare(self, after: str | None, until: str | None) -> _Chunk:
        """Open the next rows and mask them."""
        key = self._key
        with self._session() as session:
            self._settle(session, after)
            query = sa.select(self._info.mapper.class_).order_by(key).limit(session.access.purpose.batch)
            if after is not None:
                query = query.where(key > uuid.UUID(after))
            if until is not None:
                query = query.where(key <= uuid.UUID(until))
            found = session.scalars(query).all()
            session.disclose(found)
            rows, failures = [], []
            for instance in found:
                state = instance_state(instance)
                try:
                    rows.append(self._masked(instance, state))
                except _Left as left:
                    failures += [Failure(state.dict[self._info.row_key].hex, left.reason)] if left.reason else []
            full = len(found) == session.access.purpose.batch
            last = found[-1].__dict__[self._info.row_key].hex if full else None
        return _Chunk(last, len(found), rows, failures)

    def _masked(self, instance: Any, state: InstanceState[Any]) -> _Row:
        info, values = self._info, state.dict
        masks = []
        for f, projections in self._fields:
            source = values.get(f.name)
            value = _read(instance, f)
            if value is None:
                continue
            source = source if source.__class__ is bytes else values[f.name]
            for p in projections:
                masks.append(_Mask(f, p, source, _mask(f, p, value)))
        scope = b"" if info.scope_key is None else values[info.scope_key].bytes
        identity = tuple(state.key[1]) if state.key is not None else ()
        return _Row(values[info.row_key], identity, values[info.subject_key].bytes, scope, tuple(masks))

    def apply(self, connection: sa.Connection, prepared: Any) -> Applied:
        """Seal the masks and write them, each if its source is as it was."""
        failures = list(prepared.failures)
        rows = [row for row in prepared.rows if row.masks]
        minted: list[KeyRef] = []
        if rows:
            with self._session(bind=connection) as session:
                session.connection()  # takes the purpose's role on the job's own connection
                keys, rows = self._keys(session, connection, rows, minted, failures)
                for statement, values in _statements(self._info, rows, keys):
                    connection.execute(statement, values)
        self._minted = prepared.last, minted
        return Applied(prepared.count - len(failures), failures)

    def _keys(
        self,
        session: PurposeSession,
        connection: sa.Connection,
        rows: list[_Row],
        minted: list[KeyRef],
        failures: list[Failure],
    ) -> tuple[Mapping[KeyNeed, Any], list[_Row]]:
        """Keys to seal with, and the rows of those subjects that may still be written."""
        while rows:
            needs = dict.fromkeys((m.projection.category, row.subject, row.scope) for row in rows for m in row.masks)
            try:
                sealed = session.gate.seal(
                    session.opened, self._info.name, [self._work.category], list(needs), {}, connection
                )
            except AccessDenied as error:
                subject = getattr(error.subject, "bytes", None)
                gone = [row for row in rows if row.subject == subject]
                if not gone:
                    raise
                if error.reason != _ERASED:
                    failures += [Failure(row.key.hex, str(error)) for row in gone]
                rows = [row for row in rows if row.subject != subject]
            else:
                minted += sealed.minted
                return sealed.keys, rows
        return {}, rows

    def _settle(self, session: PurposeSession, at: str | None) -> None:
        """Keys of the last chunk may be used again if that is committed, which shows in where the range is now."""
        if self._minted is not None:
            last, refs = self._minted
            self._minted = None
            opened: Any = session.opened
            (opened.committed if last is not None and at == last else opened.rolled_back)(refs)


class _Left(Exception):
    """A row that is left as it is; `reason` None: nothing of it is left to mask."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


def _read(instance: Any, f: FieldInfo) -> Any:
    try:
        return getattr(instance, f.name)
    except BudgetExhausted:
        raise  # not this row's fault: the job stops, and goes on when there is room again
    except AccessDenied as error:
        reason = None if error.reason == _ERASED else str(error)
    except VaultstoreError as error:
        reason = str(error)
    raise _Left(reason)


def _mask(f: FieldInfo, p: ProjectionInfo, value: Any) -> bytes:
    try:
        return mask_codec.encode(p.mask.mask(value))
    except Exception as error:  # noqa: BLE001 - a mask of the application's own raises what it likes, value and all
        name = type(error).__name__
    raise _Left(f"{f.name}: its mask for {p.category} raised {name}")


def _statements(
    info: ModelInfo, rows: Sequence[_Row], keys: Mapping[KeyNeed, Any]
) -> Iterator[tuple[sa.Update, list[dict[str, Any]]]]:
    """One UPDATE for each projection column, with a set of values for each row."""
    by_column: dict[str, tuple[_Mask, list[tuple[_Row, _Mask]]]] = {}
    for row in rows:
        for mask in row.masks:
            by_column.setdefault(mask.projection.key, (mask, []))[1].append((row, mask))
    for key, (first, masks) in by_column.items():
        target: Any = info.mapper.attrs[key].columns[0]
        source: Any = first.of.prop.columns[0]
        table = target.table
        statement = (
            sa.update(table)
            .where(
                *(column == sa.bindparam(f"vs_key_{n}") for n, column in enumerate(table.primary_key)),
                source == sa.bindparam("vs_source", type_=SealedType()),
            )
            .values({target: sa.bindparam("vs_mask", type_=SealedType())})
        )
        aad = AadTemplate(first.projection.context, first.projection.category)
        yield statement, [_values(row, mask, aad, keys) for row, mask in masks]


def _values(row: _Row, mask: _Mask, aad: AadTemplate, keys: Mapping[KeyNeed, Any]) -> dict[str, Any]:
    key_id, aead = keys[mask.projection.category, row.subject, row.scope]
    ct = seal(aead, key_id, os.urandom(_NONCE), mask.plain, aad.of(row.key.bytes, row.subject, row.scope))
    found: dict[str, Any] = {f"vs_key_{n}": value for n, value in enumerate(row.identity)}
    return {**found, "vs_source": Cell.sealed(mask.source), "vs_mask": Cell.sealed(ct)}

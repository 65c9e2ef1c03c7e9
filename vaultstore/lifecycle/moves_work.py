"""The two bulk jobs of a move: sealing what is not sealed, and emptying the plaintext column."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from vaultstore.errors import AccessDenied, TokenExpired, UnsupportedOperation
from vaultstore.gate import OpenGrant
from vaultstore.gate.opened import Lease
from vaultstore.lifecycle.moves_open import opened
from vaultstore.lifecycle.moves_table import CHUNK, MovedRow, MovingTable, moving_table
from vaultstore.lifecycle.parts import Opener, Parts, Token, token_of
from vaultstore.lifecycle.work import Applied, Bench, Failure, Range
from vaultstore.orm import PurposeSession
from vaultstore.orm.seal import Row, seal_rows
from vaultstore.orm.types import Cell
from vaultstore.records import moves as records

__all__ = ["Backfill", "Cutover", "Holder"]

_SOON = timedelta(seconds=30)


class Holder:
    """The grant that a long job works under: renewed where the token is a function, before it is over."""

    def __init__(self, parts: Parts, token: Token) -> None:
        self._parts, self._token = parts, token
        self._now: OpenGrant | None = None
        self._lease: Lease | None = None

    def __enter__(self) -> Holder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lease is not None:
            self._lease.give()

    def forget(self) -> None:
        """Drop the data keys that are open: no row comes twice, and a long job would hold them all."""
        if self._now is not None:
            self._now.cache.clear()

    def grant(self) -> OpenGrant:
        """The grant to use now. Raises TokenInvalid or TokenExpired."""
        now = self._now
        if now is not None and (not callable(self._token) or self._parts.clock() + _SOON < now.grant.expires_at):
            if self._parts.clock() >= now.grant.expires_at:
                raise TokenExpired(f"the token for {now.grant.purpose.name} has expired: run it again with a new one")
            return now
        found = self._parts.opened(token_of(self._token))
        lease, before = found.lease(), self._lease
        self._now, self._lease = found, lease
        if before is not None:
            before.give()
        return found


@dataclass(frozen=True, slots=True)
class _Work:
    """A job over a field. Picklable without `parts`: other processes open the store by `opener`."""

    about: str
    """``Model.field``."""
    token: Token = field(repr=False)
    parts: Parts | None = field(default=None, repr=False)
    opener: Opener | None = None

    @contextmanager
    def _parts(self) -> Iterator[Parts]:
        store: Any = nullcontext(_Here(self.parts)) if self.parts is not None else self.opener and self.opener()
        if store is None:
            raise UnsupportedOperation("work in another process takes opener=, a function that opens the store there")
        with store as there:
            yield there.parts


@dataclass(frozen=True, slots=True)
class _Here:
    parts: Any


class Backfill(_Work):
    """Seal every row that holds a plaintext and nothing sealed."""

    __slots__ = ()
    kind = "backfill"

    @contextmanager
    def open(self) -> Iterator[Bench]:
        """See `Work`."""
        with self._parts() as parts, Holder(parts, self.token) as holder:
            yield _BackfillBench(parts, holder, moving_table(parts.models, self.about))


class Cutover(_Work):
    """Empty the plaintext of every row whose sealed value opens to just that."""

    __slots__ = ()
    kind = "cutover"

    @contextmanager
    def open(self) -> Iterator[Bench]:
        """See `Work`."""
        with self._parts() as parts, Holder(parts, self.token) as holder:
            yield _CutoverBench(parts, holder, moving_table(parts.models, self.about))


@dataclass(frozen=True, slots=True)
class _Prepared:
    last: str | None
    rows: Sequence[tuple[MovedRow, bytes]]
    """Rows to do, with their encoded plaintexts."""
    failures: Sequence[Failure]


class _Bench:
    which: sa.ColumnElement[bool]

    def __init__(self, parts: Parts, holder: Holder, moving: MovingTable) -> None:
        self.parts, self.holder, self.moving = parts, holder, moving
        self.engine = parts.engine

    def ranges(self, pieces: int) -> Sequence[Range]:
        """See `Bench`."""
        with self.engine.connect() as connection:
            return self.moving.ranges(connection, self.which, pieces)

    def _page(self, after: str | None, until: str | None) -> tuple[list[MovedRow], str | None]:
        with self.engine.connect() as connection:
            rows = self.moving.page(connection, self.which, after, until, CHUNK)
        return rows, rows[-1].key if len(rows) == CHUNK else None


class _BackfillBench(_Bench):
    def __init__(self, parts: Parts, holder: Holder, moving: MovingTable) -> None:
        super().__init__(parts, holder, moving)
        self.which = moving.unsealed
        table = moving.table
        columns = [moving.sealed, *moving.beside]
        self._update = (
            sa.update(table)
            .where(moving.id == sa.bindparam("row_id", type_=moving.id.type))
            .values({column: sa.bindparam(f"to_{column.name}", type_=column.type) for column in columns})
        )

    def prepare(self, after: str | None, until: str | None) -> _Prepared:
        """See `Bench`: values that can't be sealed are found before anything is asked for."""
        rows, last = self._page(after, until)
        why = {row.id: self.moving.fits(row) for row in rows}
        failures = [Failure(row.key, reason) for row in rows if (reason := why[row.id]) is not None]
        return _Prepared(last, [(r, self.moving.plain_bytes(r)) for r in rows if why[r.id] is None], failures)

    def apply(self, connection: sa.Connection, prepared: Any) -> Applied:
        """See `Bench`. Sealed first, so that a slow key service holds up no writer of these rows; then each row is
        written only if it is as it was read.
        """
        failures = list(prepared.failures)
        session = PurposeSession(
            connection, opened=self.holder.grant(), gate=self.parts.gate, models=self.parts.models,
            clock=self.parts.clock,
        )  # fmt: skip
        with session:
            sealed = self._seal(session, connection, prepared.rows, failures)
            now = self.moving.again(connection, list(sealed))
            fresh = [row for row, plain in prepared.rows if row.id in sealed and self._as_read(now.get(row.id), plain)]
            done = self._write(session, connection, [sealed[row.id] for row in fresh], failures)
        self.holder.forget()
        others = sum(1 for row, _ in prepared.rows if row.id in now and now[row.id].sealed is not None)
        return Applied(done + others, failures)

    def _seal(
        self,
        session: PurposeSession,
        connection: sa.Connection,
        rows: Sequence[tuple[MovedRow, bytes]],
        failures: list[Failure],
    ) -> dict[uuid.UUID, dict[str, Any]]:
        """Row -> what is to be written. Rows of subjects that may not be written are told of, and left out."""
        field, left = self.moving.field, list(rows)
        while left:
            found: dict[uuid.UUID, dict[str, Any]] = {}
            todo = []
            for row, plain in left:
                cell = Cell.assigned(self.moving.value(row), plain)
                found[row.id] = {"row_id": row.id, f"to_{self.moving.sealed.name}": cell}
                todo.append(Row(row.values, (field, cell), self._putting(found[row.id])))
            try:
                seal_rows(session, self.moving.info, todo, connection)
            except AccessDenied as refused:
                subject = refused.subject
                if subject is None:
                    raise
                theirs = [row for row, _ in left if row.values[self.moving.info.subject_key] == subject]
                if not theirs:
                    raise
                failures += [Failure(row.key, f"it can't be sealed: {refused.reason}") for row in theirs]
                gone = {row.id for row in theirs}
                left = [pair for pair in left if pair[0].id not in gone]
            else:
                return found
        return {}

    def _putting(self, values: dict[str, Any]) -> Callable[[str, Any], None]:
        names = dict(zip(self._beside_keys, self.moving.beside, strict=True))

        def put(key: str, value: Any) -> None:
            if key in names:
                values[f"to_{names[key].name}"] = value

        return put

    @property
    def _beside_keys(self) -> list[str]:
        field = self.moving.field
        return [*(p.key for p in field.projections), *([field.index_key] if field.index else [])]

    def _as_read(self, now: MovedRow | None, plain: bytes) -> bool:
        """Whether a row is still unsealed and holds what it held."""
        if now is None or now.sealed is not None or now.plain is None:
            return False
        try:
            return self.moving.plain_bytes(now) == plain
        except UnsupportedOperation:
            return False

    def _write(
        self,
        session: PurposeSession,
        connection: sa.Connection,
        rows: Sequence[dict[str, Any]],
        failures: list[Failure],
    ) -> int:
        if not rows:
            return 0
        try:
            with connection.begin_nested():
                connection.execute(self._update, list(rows))
        except IntegrityError:
            done = 0
            for row in rows:  # one by one: only those that collide are left out
                try:
                    with connection.begin_nested():
                        connection.execute(self._update, [row])
                except IntegrityError as error:
                    session.report_collision(error)
                    failures.append(Failure(row["row_id"].hex, "the column is unique, and another row has this value"))
                else:
                    done += 1
            return done
        return len(rows)


class _CutoverBench(_Bench):
    def __init__(self, parts: Parts, holder: Holder, moving: MovingTable) -> None:
        super().__init__(parts, holder, moving)
        self.which = moving.uncut
        where = moving.id == sa.bindparam("row_id", type_=moving.id.type)
        self._empty = sa.update(moving.table).where(where).values({moving.plain: None})

    def prepare(self, after: str | None, until: str | None) -> _Prepared:
        """See `Bench`: every row is opened and compared once more, right before its plaintext goes."""
        rows, last = self._page(after, until)
        failures, same = [], list[tuple[MovedRow, bytes]]()
        failures += [Failure(row.key, "it is not sealed") for row in rows if row.sealed is None]
        for row, found in opened(self.parts, self.holder.grant(), self.moving, rows):
            if isinstance(found, str):
                failures.append(Failure(row.key, found))
            elif self._holds(row, found):
                same.append((row, found))
            else:
                failures.append(Failure(row.key, "its sealed value differs from its plaintext"))
        self.holder.forget()
        return _Prepared(last, same, failures)

    def apply(self, connection: sa.Connection, prepared: Any) -> Applied:
        """See `Bench`. A row that changed since keeps its plaintext; the next run looks at it."""
        now = self.moving.again(connection, [row.id for row, _ in prepared.rows])
        same = [
            row.id
            for row, plain in prepared.rows
            if (found := now.get(row.id)) is not None and found.sealed == row.sealed and self._holds(found, plain)
        ]
        if same:
            move = records.find(connection, *self.moving.name.split("."), lock=True)
            if move is None or move.state != records.CUTOVER:
                raise UnsupportedOperation(f"{self.moving.name} is not being cut over any more")
            records.change(connection, move, self.parts.now, cutting=True)
            connection.execute(self._empty, [{"row_id": each} for each in same])
            records.change(connection, move, self.parts.now, cutting=False)
        return Applied(len(same), prepared.failures)

    def _holds(self, row: MovedRow, plain: bytes) -> bool:
        try:
            return self.moving.plain_bytes(row) == plain
        except UnsupportedOperation:
            return False

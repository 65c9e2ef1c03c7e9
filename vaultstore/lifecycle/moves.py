"""Moving in: a table's plaintext column becomes an encrypted one, step by step, while old and new code use it.

started -> backfilling -> verified -> cutover -> dropped. Each step is recorded with what it did; a step that is not
due is refused, and the refusal says what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.jobs import Jobs
from vaultstore.lifecycle.moves_table import MovingTable, moving_table
from vaultstore.lifecycle.moves_verify import Looked, look
from vaultstore.lifecycle.moves_work import Backfill, Cutover, Holder
from vaultstore.lifecycle.parts import Opener, Parts, Token
from vaultstore.lifecycle.work import OnProgress, Progress, Summary
from vaultstore.records import moves as records
from vaultstore.records import subjects
from vaultstore.records.move_triggers import install
from vaultstore.records.moves import BACKFILLING, CUTOVER, DROPPED, STARTED, VERIFIED, Move, Step
from vaultstore.records.sqlite import IMMEDIATE

__all__ = ["Dropped", "MoveStatus", "Moves"]

_LOCK_TIMEOUT = "10s"


@dataclass(frozen=True, slots=True)
class MoveStatus:
    """How far a move has come."""

    move: Move
    steps: tuple[Step, ...]
    plain: int
    """Rows that hold a plaintext."""
    sealed: int
    """Rows that hold a sealed value."""
    unsealed: int
    """Rows that hold a plaintext and nothing sealed."""

    @property
    def next(self) -> str:
        """What comes next, as a sentence."""
        return _next(self.move, self.unsealed)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the last look at every row came to, and what is still to be done by hand."""

    looked: Looked | None
    """None where the move was dropped before, and only its traces were swept once more."""
    notes: tuple[str, ...]


class Moves:
    """Moves the values of plaintext columns into encrypted ones; each verb takes ``Model.field``.

    They are an operator's: `start` makes triggers, and reads and writes go by the database login's own rights. What is
    sealed and opened passes the gate under a token all the same. Every verb raises UnsupportedOperation where it is not
    its turn, and for a field that replaces no column.
    """

    def __init__(self, parts: Parts, jobs: Jobs) -> None:
        self._parts, self._jobs = parts, jobs
        self._engine = parts.engine.execution_options(**{IMMEDIATE: True})

    def __repr__(self) -> str:
        return "<Moves>"

    def start(self, name: str) -> Move:
        """Begin a move: register the rows' subjects, and have the database watch the plaintext column.

        The encrypted columns must be there (`op.add_encrypted_column`), and the plaintext column must take NULL.
        """
        moving = moving_table(self._parts.models, name)
        self._check_columns(moving)
        with self._parts.engine.connect() as connection:
            known = records.find(connection, moving.info.name, moving.field.name)
            if known is not None:
                raise UnsupportedOperation(f"{name} was started already: {_next(known, None)}")
            # A row that is not sealed yet is read through the gate, which has to know its subject.
            for piece in moving.subjects(connection):
                with self._parts.ledger.gate() as gate:
                    subjects.ensure(gate, piece, self._parts.now)
        now = self._parts.now
        move = Move(
            moving.info.name, moving.field.name, moving.table.name, moving.plain.name, moving.sealed.name,
            tuple(column.name for column in moving.beside), STARTED, False, False, now, now,
        )  # fmt: skip
        with self._quiet(moving) as connection:
            records.start(connection, move)
            statements = install(
                move, connection.dialect.name, keys=moving.primary, schema=_schema(connection, moving.table)
            )
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%") if _formats(connection) else statement)
            rows = moving.count(connection, moving.uncut)
            records.note(connection, move, Step("start", now, rows, 0, None, None, None))
        return move

    def status(self, name: str) -> MoveStatus:
        """How far a move has come; counts its rows."""
        moving = moving_table(self._parts.models, name)
        with self._parts.engine.connect() as connection:
            move = self._find(connection, moving)
            return MoveStatus(
                move,
                tuple(records.steps(connection, move)),
                moving.count(connection, moving.uncut),
                moving.count(connection, moving.sealed.is_not(None)),
                moving.count(connection, moving.unsealed),
            )

    def backfill(
        self,
        name: str,
        token: Token,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        opener: Opener | None = None,
        on_progress: OnProgress | None = None,
    ) -> Summary:
        """Seal every row that is not, in chunks that commit with how far they brought the job.

        The token's purpose must write the field's category. Stopped at any point, it goes on when it is run again;
        rows that can't be sealed are listed with a reason and hold up no other. Run it again for rows that old code
        wrote since.
        """
        moving = moving_table(self._parts.models, name)
        with self._engine.begin() as connection:
            move = self._find(connection, moving, lock=True)
            if move.state == DROPPED:
                raise UnsupportedOperation(f"{name} has moved: {_next(move, None)}")
            if move.state in (STARTED, VERIFIED):
                records.change(connection, move, self._parts.now, state=BACKFILLING)
        work = Backfill(name, token, None if opener else self._parts, opener)
        summary = self._jobs.run(work, workers=workers, executor=executor, on_progress=on_progress)
        self._note(moving, "backfill", summary.done, summary.failed, token)
        return summary

    def verify(self, name: str, token: Token, *, on_progress: OnProgress | None = None) -> Looked:
        """Compare every row's sealed value with its plaintext: one by one, and by count and keyed digest.

        The token's purpose must read the field's category in clear, of every subject. Where all rows are the same the
        move is verified, until old code writes a plaintext again.
        """
        moving = moving_table(self._parts.models, name)
        with self._quiet(moving) as connection:
            move = self._find(connection, moving, lock=True)
            if move.state not in (BACKFILLING, VERIFIED):
                raise UnsupportedOperation(f"{name} can't be verified now: {_next(move, None)}")
            records.change(connection, move, self._parts.now, changed=False, state=BACKFILLING)
        with Holder(self._parts, token) as holder:
            looked = look(self._parts, holder, moving, on_progress or _nothing)
            actor = holder.grant().grant.actor.id
        with self._engine.begin() as connection:
            move = self._find(connection, moving, lock=True)
            if not looked.failed and looked.same and not move.changed and move.state == BACKFILLING:
                records.change(connection, move, self._parts.now, state=VERIFIED)
            records.note(
                connection,
                move,
                Step("verify", self._parts.now, looked.rows, looked.failed, looked.high, looked.digest, actor),
            )
        return looked

    def cutover(
        self,
        name: str,
        token: Token,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        opener: Opener | None = None,
        on_progress: OnProgress | None = None,
    ) -> Summary:
        """Empty the plaintext column, each row only after its sealed value was opened and compared once more.

        From now on the database refuses plaintext that comes without a sealed value. The token is as for `verify`.
        Stopped at any point, it goes on when it is run again.
        """
        moving = moving_table(self._parts.models, name)
        with self._quiet(moving) as connection:
            move = self._find(connection, moving, lock=True)
            if move.state == VERIFIED and move.changed:
                raise UnsupportedOperation(
                    f"{name}: old code wrote plaintext since it was verified: backfill and verify it again"
                )
            if move.state not in (VERIFIED, CUTOVER):
                raise UnsupportedOperation(f"{name} can't be cut over now: {_next(move, None)}")
            records.change(connection, move, self._parts.now, state=CUTOVER)
        work = Cutover(name, token, None if opener else self._parts, opener)
        summary = self._jobs.run(work, workers=workers, executor=executor, on_progress=on_progress)
        with self._engine.begin() as connection:
            if moving.count(connection, moving.uncut) == 0:
                records.change(connection, self._find(connection, moving, lock=True), self._parts.now, cut=True)
        self._note(moving, "cutover", summary.done, summary.failed, token)
        return summary

    def drop(self, name: str, token: Token, *, on_progress: OnProgress | None = None) -> Dropped:
        """Allow the plaintext column to be dropped: no row holds plaintext, and every sealed value opens.

        The token is as for `verify`. The file of an SQLite store is then rewritten, so that nothing is left in it.
        Raises UnsupportedOperation that names the rows where any row is in the way.
        """
        moving = moving_table(self._parts.models, name)
        with self._parts.engine.connect() as connection:
            move = self._find(connection, moving)
        if move.state == DROPPED:
            return Dropped(None, _swept(self._parts.engine))
        if move.state != CUTOVER or not move.cut:
            raise UnsupportedOperation(f"{name} can't be dropped now: {_next(move, None)}")
        with Holder(self._parts, token) as holder:
            looked = look(self._parts, holder, moving, on_progress or _nothing, plaintext=False)
            actor = holder.grant().grant.actor.id
        if looked.failed:
            rows = "; ".join(f"{failure.key}: {failure.reason}" for failure in looked.failures[:20])
            raise UnsupportedOperation(f"{name} is not dropped, for {looked.failed:,} of its rows: {rows}")
        with self._quiet(moving) as connection:
            move = self._find(connection, moving, lock=True)
            if move.state != CUTOVER or moving.count(connection, moving.uncut):
                raise UnsupportedOperation(f"{name} is not dropped: plaintext was written meanwhile; cut it over again")
            now = self._parts.now
            records.change(connection, move, now, state=DROPPED)
            records.note(connection, move, Step("drop", now, looked.rows, 0, looked.high, looked.digest, actor))
        return Dropped(looked, _swept(self._parts.engine))

    # ------------------------------------------------------------------------------------------------ helpers

    def _find(self, connection: sa.Connection, moving: MovingTable, *, lock: bool = False) -> Move:
        move = records.find(connection, moving.info.name, moving.field.name, lock=lock)
        if move is None:
            raise UnsupportedOperation(f"{moving.name} was not started: vaultstore migrate start {moving.name}")
        return move

    def _note(self, moving: MovingTable, step: str, done: int, failed: int, token: Token) -> None:
        with Holder(self._parts, token) as holder:
            actor = holder.grant().grant.actor.id
        with self._engine.begin() as connection:
            move = self._find(connection, moving, lock=True)  # steps are numbered one after the other
            records.note(connection, move, Step(step, self._parts.now, done, failed, None, None, actor))

    @contextmanager
    def _quiet(self, moving: MovingTable) -> Iterator[sa.Connection]:
        """A transaction while nobody writes the table: who has, is waited for, and the others wait a moment.

        Without it, what somebody has written and not committed yet would escape the look at every row.
        """
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                table = connection.dialect.identifier_preparer.format_table(moving.table)
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                try:
                    connection.exec_driver_sql(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
                except OperationalError:
                    busy = f"{moving.table.name} is written by a long transaction: end that one, or try again later"
                    raise UnsupportedOperation(busy) from None
            yield connection

    def _check_columns(self, moving: MovingTable) -> None:
        name, table = moving.name, moving.table.name
        look = sa.inspect(self._parts.engine)
        if not look.has_table(records.vs_moves.name):
            raise UnsupportedOperation("the table vs_moves is missing: migrate the database first")
        if not look.has_table(table):
            raise UnsupportedOperation(f"{name}: there is no table {table}")
        there = {column["name"]: column for column in look.get_columns(table)}
        missing = [c.name for c in (moving.sealed, *moving.beside) if c.name not in there]
        if missing:
            raise UnsupportedOperation(
                f"{name}: {table} has no column {', '.join(missing)}: add it with op.add_encrypted_column"
            )
        if moving.plain.name not in there:
            raise UnsupportedOperation(f"{name}: {table} has no column {moving.plain.name} to replace")
        for column in (moving.plain, moving.sealed):
            if not there[column.name]["nullable"]:
                raise UnsupportedOperation(
                    f"{name}: {table}.{column.name} has to take NULL while it moves:"
                    " op.alter_column(..., nullable=True)"
                )


def _next(move: Move, unsealed: int | None) -> str:
    name = move.name
    if move.state == STARTED:
        return f"next is `vaultstore migrate backfill {name}`"
    if move.state == BACKFILLING and unsealed:
        return f"next is `vaultstore migrate backfill {name}`: {unsealed:,} rows are not sealed yet"
    if move.state == BACKFILLING:
        return f"next is `vaultstore migrate verify {name}`, once all rows are sealed"
    if move.state == VERIFIED and move.changed:
        return f"old code wrote plaintext since: next is `vaultstore migrate backfill {name}`, then verify"
    if move.state == VERIFIED:
        return f"next is `vaultstore migrate cutover {name}`, once no old code writes {move.table}.{move.plain}"
    if move.state == CUTOVER and not move.cut:
        return f"next is `vaultstore migrate cutover {name}` again, until no plaintext is left"
    if move.state == CUTOVER:
        return f"next is `vaultstore migrate drop {name}`"
    return f"drop the column with op.drop_plaintext_column({move.table!r}, {move.plain!r}) and take replaces= away"


def _schema(connection: sa.Connection, table: sa.Table) -> str:
    """The schema that the table lies in, with ours."""
    if connection.dialect.name != "postgresql":
        return ""
    named = connection.dialect.identifier_preparer.format_table(table)
    query = sa.text(
        "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(:t)"
    )
    return str(connection.execute(query, {"t": named}).scalar_one())


def _formats(connection: sa.Connection) -> bool:
    return connection.dialect.paramstyle in ("format", "pyformat")


def _swept(engine: sa.Engine) -> tuple[str, ...]:
    """Get rid of what deleted values left in an SQLite file; what is left elsewhere, to be told."""
    if engine.dialect.name != "sqlite":
        return (
            "old row versions stay in the table until VACUUM FULL rewrites it (it locks the table meanwhile)",
            "the write-ahead log and its archive hold the old values until they expire",
            "backups made until today hold the plaintext: let them expire, or destroy them",
        )
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.execute("VACUUM")
        busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]  # type: ignore[attr-defined, unused-ignore]
    finally:
        connection.close()
    notes = ["backups made until today hold the plaintext: let them expire, or destroy them"]
    if busy:
        notes.insert(0, "somebody reads the file, so its -wal still holds old pages: close it, and run drop again")
    return tuple(notes)


def _nothing(now: Progress) -> None:
    pass

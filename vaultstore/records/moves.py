"""Moves: fields on their way from a plaintext column to an encrypted one, and each step that was taken.

The tables lie beside the rows: what a step did to them and that it was taken commit together. The triggers of a move
(`records/move_triggers.py`) read its state here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import MEMBERS, Instant, metadata

__all__ = [
    "BACKFILLING",
    "CUTOVER",
    "DROPPED",
    "STARTED",
    "VERIFIED",
    "Move",
    "Step",
    "change",
    "find",
    "moves",
    "note",
    "replacing",
    "start",
    "steps",
    "vs_move_steps",
    "vs_moves",
]

STARTED, BACKFILLING, VERIFIED, CUTOVER, DROPPED = "started", "backfilling", "verified", "cutover", "dropped"

vs_moves = sa.Table(
    "vs_moves",
    metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("field", sa.String(200), primary_key=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("plain", sa.Text, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("beside", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("changed", sa.Boolean, nullable=False),
    sa.Column("cutting", sa.Boolean, nullable=False),
    sa.Column("cut", sa.Boolean, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.UniqueConstraint("table_name", "plain", name="uq_vs_moves_column"),
    sa.CheckConstraint("state IN ('started', 'backfilling', 'verified', 'cutover', 'dropped')", name="state"),
    info=MEMBERS,
)
"""`beside` lists the projections and the blind index, as JSON. `changed`: since it was last verified, a plaintext was
written without a sealed value. `cutting` is true inside a transaction of the cutover only. `cut`: no plaintext is left.
"""

vs_move_steps = sa.Table(
    "vs_move_steps",
    metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("field", sa.String(200), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("taken_at", Instant, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("high", sa.Text),
    sa.Column("digest", sa.String(64)),
    sa.Column("actor", sa.Text),
    info=MEMBERS,
)
"""`high` is the key of the last row that was looked at, `digest` the hex HMAC of a verification, under a key that is
gone with it: it tells two runs apart, and nothing of the values."""


@dataclass(frozen=True, slots=True)
class Move:
    """A field on its way."""

    model: str
    field: str
    table: str
    plain: str
    """The plaintext column."""
    sealed: str
    """The encrypted column."""
    beside: tuple[str, ...]
    """Its projections and its blind index."""
    state: str
    changed: bool
    """Whether a plaintext was written without a sealed value since the last verification."""
    cut: bool
    """Whether the cutover has emptied the plaintext column."""
    started_at: datetime
    changed_at: datetime

    @property
    def name(self) -> str:
        """``Model.field``."""
        return f"{self.model}.{self.field}"


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was taken."""

    step: str
    taken_at: datetime
    rows: int
    """How many rows it did, or looked at."""
    failed: int
    high: str | None
    digest: str | None
    actor: str | None


_c = vs_moves.c
_COLUMNS = (
    _c.model, _c.field, _c.table_name, _c.plain, _c.sealed, _c.beside, _c.state, _c.changed, _c.cut, _c.started_at,
    _c.changed_at,
)  # fmt: skip


def _move(row: Sequence[object]) -> Move:
    model, field, table, plain, sealed, beside, *rest = row
    return Move(model, field, table, plain, sealed, tuple(json.loads(str(beside))), *rest)  # type: ignore[arg-type]


def start(connection: sa.Connection, move: Move) -> None:
    """Write a new move down, with its first step. IntegrityError where there is one."""
    connection.execute(
        vs_moves.insert().values(
            model=move.model, field=move.field, table_name=move.table, plain=move.plain, sealed=move.sealed,
            beside=json.dumps(move.beside), state=STARTED, changed=False, cutting=False, cut=False,
            started_at=move.started_at, changed_at=move.started_at,
        )
    )  # fmt: skip


def find(connection: sa.Connection, model: str, field: str, *, lock: bool = False) -> Move | None:
    """The move of a field, if one was started; `lock` keeps others from taking a step until the transaction ends."""
    query = sa.select(*_COLUMNS).where(_c.model == model, _c.field == field)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _move(row)


def replacing(connection: sa.Connection, table: str, plain: str) -> Move | None:
    """The move of a plaintext column, if one was started."""
    row = connection.execute(sa.select(*_COLUMNS).where(_c.table_name == table, _c.plain == plain)).one_or_none()
    return None if row is None else _move(row)


def moves(connection: sa.Connection, schema: str | None = None) -> list[Move]:
    """Every move, in the order in which they were started; `schema` is where the table lies, if not where it does by
    the search path.
    """
    c = (vs_moves if schema is None else vs_moves.to_metadata(sa.MetaData(), schema=schema)).c
    query = sa.select(*(c[column.name] for column in _COLUMNS)).order_by(c.started_at, c.model, c.field)
    return [_move(row) for row in connection.execute(query)]


def change(connection: sa.Connection, move: Move, now: datetime, **values: object) -> None:
    """Set columns of a move: its `state`, or a mark."""
    if "state" in values:
        values["changed_at"] = now
    connection.execute(vs_moves.update().where(_c.model == move.model, _c.field == move.field).values(**values))


def note(connection: sa.Connection, move: Move, step: Step) -> None:
    """Record a step that was taken; it commits with what it did."""
    s = vs_move_steps.c
    last = sa.select(sa.func.coalesce(sa.func.max(s.number), 0)).where(s.model == move.model, s.field == move.field)
    connection.execute(
        vs_move_steps.insert().values(
            model=move.model, field=move.field, number=connection.execute(last).scalar_one() + 1, step=step.step,
            taken_at=step.taken_at, rows=step.rows, failed=step.failed, high=step.high, digest=step.digest,
            actor=step.actor,
        )
    )  # fmt: skip


def steps(connection: sa.Connection, move: Move) -> list[Step]:
    """The steps of a move, in order."""
    s = vs_move_steps.c
    query = (
        sa.select(s.step, s.taken_at, s.rows, s.failed, s.high, s.digest, s.actor)
        .where(s.model == move.model, s.field == move.field)
        .order_by(s.number)
    )
    return [Step(*row) for row in connection.execute(query)]

"""What the operations do to tables, on SQLite and PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.exc import OperationalError

from vaultstore.errors import UnsupportedOperation
from vaultstore.orm.ddl import SealedCheck, check_name
from vaultstore.orm.types import BlindIndexType, SealedType
from vaultstore.records import moves as records
from vaultstore.records.move_triggers import remove

__all__ = ["add_sealed", "check_moved", "drop_columns", "forget_move", "make_unique"]


def add_sealed(operations: Operations, table: str, column: str, *, nullable: bool = True, digest: bool = False) -> None:
    """Add a column for ciphertext, or for digests, with its CHECK. Spelled out: SQLite takes a CHECK with a new column
    and in no other way but by copying the table.
    """
    dialect = operations.get_context().dialect
    quote = dialect.identifier_preparer.quote
    made: sa.Column[Any] = sa.Column(column, BlindIndexType() if digest else SealedType())
    condition = SealedCheck(made).compile(dialect=dialect)
    operations.execute(
        f"ALTER TABLE {quote(table)} ADD COLUMN {quote(column)} {made.type.compile(dialect=dialect)}"
        f"{'' if nullable else ' NOT NULL'} CONSTRAINT {quote(check_name(table, column))} CHECK ({condition})"
    )


def make_unique(operations: Operations, table: str, column: str, name: str) -> None:
    """Make a column unique: a constraint, as the models have it."""
    if operations.get_context().dialect.name == "sqlite":
        with _Rebuilt(operations, table) as batch:
            batch.create_unique_constraint(name, [column])
    else:
        operations.create_unique_constraint(name, table, [column])


def drop_columns(operations: Operations, table: str, columns: Sequence[str]) -> None:
    """Drop columns, with the indexes and constraints that are theirs."""
    if operations.get_context().dialect.name != "sqlite":
        for column in columns:
            operations.drop_column(table, column)
        return
    bind = _bind(operations)
    quote = bind.dialect.identifier_preparer.quote
    for index in sa.inspect(bind).get_indexes(table):
        if not set(columns).isdisjoint(index["column_names"]) and not index.get("duplicates_constraint"):
            operations.drop_index(str(index["name"]), table)
    try:
        with bind.begin_nested():
            for column in columns:
                operations.execute(f"ALTER TABLE {quote(table)} DROP COLUMN {quote(column)}")
    except OperationalError:  # it stands in a constraint of the table: that takes a copy without it
        with _Rebuilt(operations, table, without=columns) as batch:
            for column in columns:
                batch.drop_column(column)


def check_moved(operations: Operations, table: str, column: str) -> None:
    """Raise UnsupportedOperation unless the values of a plaintext column have moved; take its triggers away."""
    quote = operations.get_context().dialect.identifier_preparer.quote
    if operations.get_context().as_sql:
        _check_offline(operations, table, column)
        return
    bind = _bind(operations)
    if bind.dialect.name == "postgresql":
        operations.execute(f"LOCK TABLE {quote(table)} IN ACCESS EXCLUSIVE MODE")
    move = records.replacing(bind, table, column) if sa.inspect(bind).has_table(records.vs_moves.name) else None
    left = bind.execute(
        sa.select(sa.func.count()).select_from(sa.table(table)).where(sa.column(column).is_not(None))
    ).scalar_one()
    where = f"{table}.{column} is not dropped"
    if move is not None and move.state != records.DROPPED:
        raise UnsupportedOperation(f"{where}: {move.name} is {move.state}; see `vaultstore migrate status {move.name}`")
    if left:
        why = "was not moved" if move is None else "was written past its triggers"
        raise UnsupportedOperation(f"{where}: {left:,} rows hold a plaintext that {why}")
    if move is not None:
        _remove_triggers(operations, bind, move)


def forget_move(operations: Operations, table: str, sealed: str) -> None:
    """Take away what a move to the encrypted column has left; raise UnsupportedOperation where it has begun to cut."""
    if operations.get_context().as_sql:
        return
    bind = _bind(operations)
    if not sa.inspect(bind).has_table(records.vs_moves.name):
        return
    for move in records.moves(bind):
        if (move.table, move.sealed) != (table, sealed):
            continue
        if move.state in (records.CUTOVER, records.DROPPED):
            raise UnsupportedOperation(
                f"{table}.{sealed} is not dropped: {move.name} is {move.state}, so its values are nowhere else"
            )
        _remove_triggers(operations, bind, move)
        for each in (records.vs_move_steps, records.vs_moves):
            bind.execute(each.delete().where(each.c.model == move.model, each.c.field == move.field))


def _check_offline(operations: Operations, table: str, column: str) -> None:
    """The same check as a statement of a script; PostgreSQL only."""
    quote = operations.get_context().dialect.identifier_preparer.quote
    if operations.get_context().dialect.name != "postgresql":
        raise UnsupportedOperation("drop_plaintext_column looks at the rows: it can't be written as SQL for SQLite")
    text = sa.literal(table).compile(dialect=operations.get_context().dialect, compile_kwargs={"literal_binds": True})
    name = sa.literal(column).compile(dialect=operations.get_context().dialect, compile_kwargs={"literal_binds": True})
    operations.execute(
        f"DO $$ BEGIN IF EXISTS (SELECT FROM {quote(table)} WHERE {quote(column)} IS NOT NULL)"  # noqa: S608 - quoted
        f" OR EXISTS (SELECT FROM vs_moves WHERE table_name = {text} AND plain = {name} AND state <> 'dropped')"
        " THEN RAISE EXCEPTION 'the plaintext column has not been moved: see vaultstore migrate status'; END IF; END $$"
    )
    move = records.Move("", "", table, column, "", (), "", False, False, None, None)  # type: ignore[arg-type]
    for statement in remove(move, "postgresql"):
        operations.execute(statement)


def _remove_triggers(operations: Operations, bind: sa.Connection, move: records.Move) -> None:
    schema = "public"
    if bind.dialect.name == "postgresql":
        quoted = bind.dialect.identifier_preparer.quote(move.table)
        query = sa.text("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(:t)")
        schema = str(bind.execute(query, {"t": quoted}).scalar_one()).strip('"')
    for statement in remove(move, bind.dialect.name, schema=schema):
        operations.execute(statement)


def _bind(operations: Operations) -> sa.Connection:
    bind = operations.get_bind()
    if bind is None:
        raise UnsupportedOperation("this operation looks at the table: run it on a database, not as a script of SQL")
    return bind


class _Rebuilt:
    """Alembic's batch mode, for SQLite, with what it would lose: constraints without a name, and triggers."""

    def __init__(self, operations: Operations, table: str, without: Sequence[str] = ()) -> None:
        self._operations, self._table, self._bind = operations, table, _bind(operations)
        look = sa.inspect(self._bind)
        words = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in without)) if without else None
        checks = look.get_check_constraints(table)
        gone = [c for c in checks if words is not None and words.search(c["sqltext"])]
        kept = [sa.CheckConstraint(c["sqltext"]) for c in checks if c["name"] is None and c not in gone]
        self._named = [str(c["name"]) for c in gone if c["name"] is not None]
        self._triggers = [
            row[0]
            for row in self._bind.execute(
                sa.text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = :t"), {"t": table}
            )
        ]
        self._context = operations.batch_alter_table(table, recreate="always", table_args=tuple(kept))

    def __enter__(self) -> Any:
        batch = self._context.__enter__()
        for name in self._named:
            batch.drop_constraint(name, type_="check")
        return batch

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
        if error[0] is None:
            for trigger in self._triggers:
                self._bind.exec_driver_sql(trigger)

"""``op.add_encrypted_column``, ``op.drop_encrypted_column`` and ``op.drop_plaintext_column``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import AddColumnOp
from sqlalchemy import Column

from vaultstore.alembic import tables

__all__ = ["AddEncryptedColumnOp", "DropEncryptedColumnOp", "DropPlaintextColumnOp"]


class _Encrypted(MigrateOperation):
    """An encrypted column, with its projections and its blind index."""

    def __init__(
        self,
        table: str,
        column: str,
        *,
        projections: Sequence[str] = (),
        index: bool | str = False,
        unique: bool = False,
        nullable: bool = True,
    ) -> None:
        self.table, self.column, self.projections = table, column, tuple(projections)
        self.index, self.unique, self.nullable = index or unique, unique, nullable

    @property
    def index_name(self) -> str:
        """The name of the blind index's index, or of its UNIQUE constraint."""
        if isinstance(self.index, str):
            return self.index
        return f"{'uq' if self.unique else 'ix'}_{self.table}_{self.column}_bidx"

    @property
    def bidx(self) -> str:
        """The column of the blind index."""
        return f"{self.column}_bidx"

    def arguments(self) -> dict[str, Any]:
        """What was given, without what is the default."""
        given: dict[str, Any] = {}
        if self.projections:
            given["projections"] = list(self.projections)
        if self.index:
            given["index"] = self.index
        if self.unique:
            given["unique"] = True
        if not self.nullable:
            given["nullable"] = False
        return given

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """For `alembic check`."""
        return type(self).__name__, self.table, self.column


@Operations.register_operation("add_encrypted_column")
class AddEncryptedColumnOp(_Encrypted):
    """Add the columns of an encrypted field, each with the CHECK that keeps plaintext out, and its index."""

    @classmethod
    def add_encrypted_column(cls, operations: Operations, table: str, column: str, **options: Any) -> None:
        """Add an encrypted column to a table that is there.

        `projections` are the categories of its projections, `index` whether it has a blind index (or the index's
        name), `unique` whether that is unique. The column takes NULL unless `nullable` is False. Nothing is rewritten:
        adding columns that hold nothing takes a moment on a table of any size; making the index reads it once.
        """
        operations.invoke(cls(table, column, **options))

    def reverse(self) -> DropEncryptedColumnOp:
        """The downgrade."""
        return DropEncryptedColumnOp(self.table, self.column, **self.arguments())


@Operations.register_operation("drop_encrypted_column")
class DropEncryptedColumnOp(_Encrypted):
    """Drop the columns of an encrypted field, with what is sealed in them."""

    @classmethod
    def drop_encrypted_column(cls, operations: Operations, table: str, column: str, **options: Any) -> None:
        """Drop an encrypted column with its projections and blind index: the downgrade of `add_encrypted_column`.

        A move to it is forgotten, with its triggers. Refused once a cutover has begun: the values are nowhere else.
        """
        operations.invoke(cls(table, column, **options))

    def reverse(self) -> AddEncryptedColumnOp:
        """The upgrade."""
        return AddEncryptedColumnOp(self.table, self.column, **self.arguments())


@Operations.register_operation("drop_plaintext_column")
class DropPlaintextColumnOp(MigrateOperation):
    """Drop a plaintext column whose values have moved."""

    def __init__(self, table: str, column: str, *, was: Column[Any] | None = None) -> None:
        self.table, self.column, self.was = table, column, was

    @classmethod
    def drop_plaintext_column(cls, operations: Operations, table: str, column: str) -> None:
        """Drop a plaintext column, and the triggers of its move.

        Refused unless ``vaultstore migrate drop`` was done, or where any row holds a plaintext. On a database that
        never had a move (a new one, built by its migrations) it is enough that the column is empty.
        """
        operations.invoke(cls(table, column))

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """For `alembic check`."""
        return type(self).__name__, self.table, self.column

    def reverse(self) -> AddColumnOp:
        """The downgrade: the column comes back empty."""
        if self.was is None:
            raise NotImplementedError("write the downgrade by hand: op.add_column with the column's type")
        return AddColumnOp(self.table, self.was)


@Operations.implementation_for(AddEncryptedColumnOp)
def _add(operations: Operations, operation: AddEncryptedColumnOp) -> None:
    o = operation
    tables.add_sealed(operations, o.table, o.column, nullable=o.nullable)
    for projection in o.projections:
        tables.add_sealed(operations, o.table, f"{o.column}_{projection}")
    if o.index:
        tables.add_sealed(operations, o.table, o.bidx, digest=True)
        if o.unique:
            tables.make_unique(operations, o.table, o.bidx, o.index_name)
        else:
            operations.create_index(o.index_name, o.table, [o.bidx])


@Operations.implementation_for(DropEncryptedColumnOp)
def _drop(operations: Operations, operation: DropEncryptedColumnOp) -> None:
    o = operation
    tables.forget_move(operations, o.table, o.column)
    columns = [*([o.bidx] if o.index else []), *(f"{o.column}_{p}" for p in reversed(o.projections)), o.column]
    tables.drop_columns(operations, o.table, columns)


@Operations.implementation_for(DropPlaintextColumnOp)
def _drop_plaintext(operations: Operations, operation: DropPlaintextColumnOp) -> None:
    tables.check_moved(operations, operation.table, operation.column)
    tables.drop_columns(operations, operation.table, [operation.column])

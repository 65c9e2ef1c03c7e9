"""What autogenerate makes of encrypted fields: our operations, where Alembic would write one for each column.

It runs after Alembic's own comparison, and puts what that found in fewer words. Rendered, an operation holds names of
tables, columns and categories, and nothing else of the models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult

from vaultstore.alembic.operations import AddEncryptedColumnOp, DropEncryptedColumnOp, DropPlaintextColumnOp
from vaultstore.orm.declare import MADE_BY
from vaultstore.records import moves as records

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

__all__ = ["rewrite"]

_PLUGIN = "alembic.autogenerate.vaultstore"
"""Named so that it is among those which Alembic runs where nobody chooses (`autogenerate_plugins`)."""


def rewrite(context: AutogenContext, upgrade: ops.UpgradeOps) -> Any:
    """Replace what was found by our operations, table by table."""
    moved = _moved(context)
    rewritten: list[Any] = []
    for item in upgrade.ops:
        if not isinstance(item, ops.ModifyTableOps):
            rewritten.append(item)
            continue
        found = list(_added(item))
        dropped = [o for o in item.ops if isinstance(o, ops.DropColumnOp) and (o.table_name, o.column_name) in moved]
        item.ops = [each for each in item.ops if each not in dropped]
        if item.ops:
            rewritten.append(item)
        rewritten += found
        rewritten += [DropPlaintextColumnOp(o.table_name, o.column_name, was=o.to_column()) for o in dropped]
    upgrade.ops[:] = rewritten
    return PriorityDispatchResult.CONTINUE


def _moved(context: AutogenContext) -> set[tuple[str, str]]:
    """The plaintext columns of moves."""
    connection = context.connection
    if connection is None or not context.inspector.has_table(records.vs_moves.name):
        return set()
    return {(move.table, move.plain) for move in records.moves(connection)}


def _added(item: ops.ModifyTableOps) -> Iterator[AddEncryptedColumnOp]:
    """Take the new columns of encrypted fields out of `item`, a field at a time."""
    added = [o for o in item.ops if isinstance(o, ops.AddColumnOp) and MADE_BY in o.column.info]
    fields: dict[str, list[Any]] = {}
    for each in added:
        fields.setdefault(each.column.info[MADE_BY][0], []).append(each)
    for group in fields.values():
        by_kind = {each.column.info[MADE_BY][1]: each for each in group}
        source = by_kind.pop("sealed", None)
        index = by_kind.pop("index", None) if source is not None else None
        if source is None:  # a projection that an older field gets now is a sealed column like any
            by_kind.pop("index", None)
            for each in by_kind.values():
                item.ops.remove(each)
                yield AddEncryptedColumnOp(item.table_name, each.column.name)
            continue
        made = AddEncryptedColumnOp(
            item.table_name, source.column.name, projections=list(by_kind), index=index is not None,
            unique=bool(index is not None and index.column.unique), nullable=bool(source.column.nullable),
        )  # fmt: skip
        for each in group:
            item.ops.remove(each)
        for name in _indexes_of(item, made.bidx) if index is not None else ():
            if name != made.index_name and name is not None:
                made.index = name
        yield made


def _indexes_of(item: ops.ModifyTableOps, column: str) -> list[str | None]:
    """Take the index, or the UNIQUE constraint, of a column out of `item`; its name."""
    found: list[Any] = []
    for each in list(item.ops):
        if isinstance(each, ops.CreateIndexOp) and [getattr(c, "name", c) for c in each.columns] == [column]:
            found.append(each.index_name)
        elif isinstance(each, ops.CreateUniqueConstraintOp) and list(each.columns) == [column]:
            found.append(each.constraint_name)
        else:
            continue
        item.ops.remove(each)
    return [None if name is None else str(name) for name in found]


@renderers.dispatch_for(AddEncryptedColumnOp)
def _render_add(context: AutogenContext, operation: AddEncryptedColumnOp) -> str:
    return _call(context, "add_encrypted_column", operation)


@renderers.dispatch_for(DropEncryptedColumnOp)
def _render_drop(context: AutogenContext, operation: DropEncryptedColumnOp) -> str:
    return _call(context, "drop_encrypted_column", operation)


@renderers.dispatch_for(DropPlaintextColumnOp)
def _render_drop_plaintext(context: AutogenContext, operation: DropPlaintextColumnOp) -> str:
    context.imports.add(_IMPORT)
    return f"op.drop_plaintext_column({operation.table!r}, {operation.column!r})"


_IMPORT = "import vaultstore.alembic  # registers the operations on encrypted columns"


def _call(context: AutogenContext, name: str, operation: AddEncryptedColumnOp | DropEncryptedColumnOp) -> str:
    context.imports.add(_IMPORT)
    given = "".join(f", {key}={value!r}" for key, value in operation.arguments().items())
    return f"op.{name}({operation.table!r}, {operation.column!r}{given})"


Plugin(_PLUGIN).add_autogenerate_comparator(rewrite, "autogenerate", priority=DispatchPriority.LAST)

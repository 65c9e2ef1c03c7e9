"""How the types of models are written in migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from alembic.autogenerate.render import _repr_type

from vaultstore.orm.plaintext import PlaintextType
from vaultstore.orm.types import BlindIndexType, SealedType
from vaultstore.records import Id, Instant

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

__all__ = ["render_item"]


def render_item(kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """How a type is written in a migration: never as one of ours, so that old migrations don't import the library.

    Sealed columns are `sa.LargeBinary()`, the types of our own tables plain SQLAlchemy's; False leaves the rest to
    Alembic.
    """
    if kind != "type":
        return False
    if isinstance(item, PlaintextType):  # as the column was before it was replaced
        return _repr_type(item.given, context)
    if isinstance(item, BlindIndexType):
        return "sa.LargeBinary(length=32)"
    if isinstance(item, SealedType):
        return "sa.LargeBinary()"
    if isinstance(item, Id):
        context.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.LargeBinary(16).with_variant(postgresql.UUID(as_uuid=True), "postgresql")'
    if isinstance(item, Instant):
        return 'sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")'
    return False

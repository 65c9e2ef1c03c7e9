"""For Alembic's env.py: `context.configure(..., render_item=vaultstore.alembic.render_item)`."""

from __future__ import annotations

from typing import Any, Literal

from vaultstore.orm.types import BlindIndexType, SealedType

__all__ = ["render_item"]


def render_item(type_: str, obj: Any, autogen_context: Any) -> str | Literal[False]:
    """Write sealed columns as `sa.LargeBinary()`, so that migrations don't import the library; False for the rest."""
    if type_ == "type":
        if isinstance(obj, BlindIndexType):
            return "sa.LargeBinary(length=32)"
        if isinstance(obj, SealedType):
            return "sa.LargeBinary()"
    return False

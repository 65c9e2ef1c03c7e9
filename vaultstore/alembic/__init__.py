"""For Alembic: how types are rendered, and the operations that bring encrypted columns in and take plaintext ones out.

``context.configure(..., render_item=vaultstore.alembic.render_item)`` in env.py. Importing this module registers
``op.add_encrypted_column``, ``op.drop_encrypted_column`` and ``op.drop_plaintext_column``, and has autogenerate write
them.
"""

from __future__ import annotations

from vaultstore.alembic import autogenerate as _autogenerate  # noqa: F401 - registers
from vaultstore.alembic.operations import AddEncryptedColumnOp, DropEncryptedColumnOp, DropPlaintextColumnOp
from vaultstore.alembic.render import render_item

__all__ = ["AddEncryptedColumnOp", "DropEncryptedColumnOp", "DropPlaintextColumnOp", "render_item"]

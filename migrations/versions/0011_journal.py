"""How far the journal has been applied, and which kept checkpoints a restore has lost.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vaultstore.records import postgres_functions

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the gate's side up: ``gate`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("gate", "all"):
        return
    op.create_table(
        "vs_journal",
        sa.Column("journal", sa.String(36), nullable=False),
        sa.Column("keeper", sa.Text()),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("ends", sa.BigInteger(), nullable=False),
        sa.Column("lost_at", INSTANT),
        sa.PrimaryKeyConstraint("journal", name="pk_vs_journal"),
    )
    op.create_table(
        "vs_restored",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("size", "root", name="pk_vs_restored"),
    )
    for statement in postgres_functions() if target == "all" else ():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back: a store that was restored is not told from one that was not, until this is put back."""
    if target in ("gate", "all"):
        op.drop_table("vs_restored")
        op.drop_table("vs_journal")

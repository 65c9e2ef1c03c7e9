"""Fields on their way from a plaintext column to an encrypted one.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the members' side up: ``members`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("members", "all"):
        return
    op.create_table(
        "vs_moves",
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("field", sa.String(200), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("plain", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("beside", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("changed", sa.Boolean(), nullable=False),
        sa.Column("cutting", sa.Boolean(), nullable=False),
        sa.Column("cut", sa.Boolean(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("model", "field", name="pk_vs_moves"),
        sa.UniqueConstraint("table_name", "plain", name="uq_vs_moves_column"),
        sa.CheckConstraint(
            "state IN ('started', 'backfilling', 'verified', 'cutover', 'dropped')", name="ck_vs_moves_state"
        ),
    )
    op.create_table(
        "vs_move_steps",
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("field", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("taken_at", INSTANT, nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("high", sa.Text()),
        sa.Column("digest", sa.String(64)),
        sa.Column("actor", sa.Text()),
        sa.PrimaryKeyConstraint("model", "field", "number", name="pk_vs_move_steps"),
    )


def downgrade(target: str) -> None:
    """Take it back. The triggers of a move that was begun stay, and fail: finish or undo moves first."""
    if target in ("members", "all"):
        for table in ("vs_move_steps", "vs_moves"):
            op.drop_table(table)

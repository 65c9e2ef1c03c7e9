"""Projections: with which mask their values were made.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vaultstore.records import postgres_functions

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the members' side up: ``members`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("members", "all"):
        return
    op.create_table(
        "vs_projections",
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("field", sa.String(63), nullable=False),
        sa.Column("projection", sa.String(63), nullable=False),
        sa.Column("fingerprint", sa.Text()),
        sa.Column("left_out", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("recorded_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("model", "field", "projection", name="pk_vs_projections"),
    )
    for statement in postgres_functions() if target == "all" else ():  # one more: what replaces a subject's keys
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back: of every projection nobody knows then with which mask it was made."""
    if target in ("members", "all"):
        op.drop_table("vs_projections")

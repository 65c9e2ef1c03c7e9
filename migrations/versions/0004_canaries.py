"""Canaries: which subjects are nobody, and whom they were planted for.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vaultstore.records import postgres_functions

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SUBJECT = sa.LargeBinary(16).with_variant(sa.Uuid(), "postgresql")
INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the gate's side up: ``gate`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("gate", "all"):
        return
    op.create_table(
        "vs_canaries",
        sa.Column("subject", SUBJECT, nullable=False),
        sa.Column("actor", sa.Text()),
        sa.Column("store", sa.Text()),
        sa.Column("planted_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_vs_canaries"),
    )
    for statement in postgres_functions() if target == "all" else ():  # the gate's judgement looks into the table
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back. Every purpose sees the rows as members from then on: erase them first."""
    if target in ("gate", "all"):
        op.drop_table("vs_canaries")

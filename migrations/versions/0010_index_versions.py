"""Versions of blind-index keys.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vaultstore.records import postgres_functions

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the gate's side up: ``gate`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("gate", "all"):
        return
    op.create_table(
        "vs_index_versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("current", sa.Integer(), nullable=False),
        sa.Column("next", sa.Integer()),
        sa.Column("table_schema", sa.Text()),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("key_name", sa.Text(), nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("settled_at", INSTANT),
        sa.PrimaryKeyConstraint("name", name="pk_vs_index_versions"),
    )
    for statement in postgres_functions() if target == "all" else ():  # search and seal tell of the versions
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back. Indexes whose keys were rotated find nothing from then on: their digests are of later versions."""
    if target in ("gate", "all"):
        op.drop_table("vs_index_versions")

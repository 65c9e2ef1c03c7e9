"""Versions of category keys that were given up, and pages of wraps that are out to be wrapped anew.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vaultstore.records import postgres_functions

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

SUBJECT = sa.LargeBinary(16).with_variant(sa.Uuid(), "postgresql")
INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""
    if target in ("members", "all"):
        op.create_table(
            "vs_key_versions",
            sa.Column("category", sa.String(63), nullable=False),
            sa.Column("oldest", sa.Integer(), nullable=False),
            sa.Column("retired_at", INSTANT, nullable=False),
            sa.PrimaryKeyConstraint("category", name="pk_vs_key_versions"),
        )
    if target in ("gate", "all"):
        op.create_table(
            "vs_rewraps",
            sa.Column("entry", sa.String(64), nullable=False),
            sa.Column("category", sa.String(63), nullable=False),
            sa.Column("newest", sa.Integer(), nullable=False),
            sa.Column("after_subject", SUBJECT, nullable=False),
            sa.Column("after_scope", sa.LargeBinary(), nullable=False),
            sa.Column("after_key", sa.BigInteger(), nullable=False),
            sa.Column("last_subject", SUBJECT, nullable=False),
            sa.Column("last_scope", sa.LargeBinary(), nullable=False),
            sa.Column("last_key", sa.BigInteger(), nullable=False),
            sa.Column("made_at", INSTANT, nullable=False),
            sa.PrimaryKeyConstraint("entry", name="pk_vs_rewraps"),
        )
    for statement in postgres_functions() if target == "all" else ():  # minting looks into the table
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back. Wraps of versions that the key service has forgotten are taken again from then on."""
    if target in ("gate", "all"):
        op.drop_table("vs_rewraps")
    if target in ("members", "all"):
        op.drop_table("vs_key_versions")

"""Restriction: who is out of sight, and how subjects came to their states.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from vaultstore.records import postgres_functions

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SUBJECT = sa.LargeBinary(16).with_variant(sa.Uuid(), "postgresql")
INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""
    if target == "members":
        op.create_table(
            "vs_hidden",
            sa.Column("subject", sa.CHAR(32), nullable=False),
            sa.PrimaryKeyConstraint("subject", name="pk_vs_hidden"),
            sqlite_with_rowid=False,
        )
        return
    op.create_table(
        "vs_states",
        sa.Column("id", SERIAL, sa.Identity(), nullable=False),
        sa.Column("subject", SUBJECT, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("entry", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_vs_states"),
    )
    op.create_index("ix_vs_states_subject", "vs_states", ["subject"])
    # What is known of before: the last state of each, and why.
    op.execute(
        "INSERT INTO vs_states (subject, state, changed_at, reason)"
        " SELECT subject, state, changed_at, reason FROM vs_subjects WHERE state <> 'active' OR reason IS NOT NULL"
    )
    if target == "all":
        op.create_index(
            "ix_vs_subjects_hidden",
            "vs_subjects",
            [sa.text("sha256(uuid_send(subject))")],
            postgresql_where=sa.text("state = 'restricted'"),
        )
        for statement in postgres_functions():
            op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back. Restricted members are listed again from then on; the gate goes on refusing them."""
    if target == "members":
        op.drop_table("vs_hidden")
        return
    if target == "all":
        op.execute("DROP FUNCTION IF EXISTS vs_restrict(jsonb, text, bytea, boolean, text)")
        op.drop_index("ix_vs_subjects_hidden", table_name="vs_subjects")
    op.drop_table("vs_states")

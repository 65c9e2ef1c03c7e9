"""The audit log's tree: places of entries, their hashes, and signed checkpoints.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from vaultstore.records import append_only_triggers, postgres_functions

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.LargeBinary(16).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = ("vs_log_rule", "vs_subject_entries", "vs_checkpoints", "vs_log", "vs_pending")


def upgrade(target: str) -> None:
    """Bring the gate's side up: ``gate`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("gate", "all"):
        return
    op.create_table(
        "vs_pending",
        sa.Column("seq", SERIAL, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_vs_pending"),
    )
    op.create_table(
        "vs_log",
        sa.Column("position", SERIAL, autoincrement=False, nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.Column("nodes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_vs_log"),
        sa.UniqueConstraint("entry", name="uq_vs_log_entry"),
    )
    op.create_table(
        "vs_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("made_at", INSTANT, nullable=False),
        sa.Column("witnessed_at", INSTANT),
        sa.PrimaryKeyConstraint("size", name="pk_vs_checkpoints"),
    )
    op.create_table(
        "vs_subject_entries",
        sa.Column("subject", ID, nullable=False),
        sa.Column("entry", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("subject", "entry", name="pk_vs_subject_entries"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "vs_log_rule",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("within", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_vs_log_rule"),
    )
    # Entries of before are put into the tree by the first sequencing.
    op.execute("INSERT INTO vs_pending (seq) SELECT seq FROM vs_entries")
    for statement in postgres_functions() if target == "all" else append_only_triggers():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back. What was in the tree is in it no more; the entries stay."""
    if target not in ("gate", "all"):
        return
    for table in TABLES:
        op.drop_table(table)
    if target == "gate":
        op.execute("DROP TRIGGER vs_entries_update")
        op.execute("DROP TRIGGER vs_entries_delete")

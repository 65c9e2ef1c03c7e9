"""Bulk jobs: how far each has come, and which rows it could not do.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the members' side up: ``members`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("members", "all"):
        return
    op.create_table(
        "vs_jobs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("finished_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name="pk_vs_jobs"),
        sa.UniqueConstraint("kind", "about", "open", name="uq_vs_jobs_open"),
    )
    op.create_table(
        "vs_job_ranges",
        sa.Column("job", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("after", sa.Text()),
        sa.Column("until", sa.Text()),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Text()),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.Column("holder", sa.String(63)),
        sa.Column("held_at", INSTANT),
        sa.PrimaryKeyConstraint("job", "number", name="pk_vs_job_ranges"),
    )
    op.create_table(
        "vs_job_failures",
        sa.Column("job", sa.String(36), nullable=False),
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("job", "key", name="pk_vs_job_failures"),
    )


def downgrade(target: str) -> None:
    """Take it back: jobs that were not finished begin anew."""
    if target in ("members", "all"):
        for table in ("vs_job_failures", "vs_job_ranges", "vs_jobs"):
            op.drop_table(table)

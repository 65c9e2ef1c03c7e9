"""Erasure: what was destroyed, and what open cases hold.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from vaultstore.records import append_only_triggers, postgres_functions

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.LargeBinary(16).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade(target: str) -> None:
    """Bring the gate's side up: ``gate`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("gate", "all"):
        return
    op.create_table(
        "vs_case_scopes",
        sa.Column("case_id", sa.String(63), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("scope", sa.LargeBinary(16), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "subject", "scope", name="pk_vs_case_scopes"),
        sa.ForeignKeyConstraint(["subject"], ["vs_subjects.subject"], name="fk_vs_case_scopes_subject"),
        sa.ForeignKeyConstraint(
            ["case_id", "subject"],
            ["vs_case_subjects.case_id", "vs_case_subjects.subject"],
            name="fk_vs_case_scopes_case_id_subject",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_vs_case_scopes_subject", "vs_case_scopes", ["subject"])
    op.create_table(
        "vs_erasures",
        sa.Column("subject", ID, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("finished", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "number", name="pk_vs_erasures"),
    )
    op.create_table(
        "vs_held",
        sa.Column("subject", ID, nullable=False),
        sa.Column("scope", sa.LargeBinary(16), nullable=False),
        sa.Column("case_id", sa.String(63), nullable=False),
        sa.PrimaryKeyConstraint("subject", "scope", "case_id", name="pk_vs_held"),
        sa.ForeignKeyConstraint(["case_id"], ["vs_cases.id"], name="fk_vs_held_case_id", ondelete="CASCADE"),
    )
    op.create_index("ix_vs_held_case_id", "vs_held", ["case_id"])
    if target == "all":
        op.create_table(
            "vs_erasure_rules",
            sa.Column("name", sa.String(20), nullable=False),
            sa.Column("digest", sa.String(80), nullable=False),
            sa.Column("rules", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("name", name="pk_vs_erasure_rules"),
        )
    for table, column in (("vs_entries", "actor"), ("vs_limits", "holder")):
        members = sa.text(f"length({column}) = 36")
        op.create_index(
            f"ix_{table}_{column}", table, [column], postgresql_where=members, sqlite_where=members
        )  # fmt: skip
    functions = postgres_functions() if target == "all" else append_only_triggers()
    for statement in functions:
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back: certificates can't be made any more, and what cases held stays without a holder."""
    if target not in ("gate", "all"):
        return
    for table, column in (("vs_entries", "actor"), ("vs_limits", "holder")):
        op.drop_index(f"ix_{table}_{column}", table)
    for table in (*(("vs_erasure_rules",) if target == "all" else ()), "vs_held", "vs_erasures", "vs_case_scopes"):
        op.drop_table(table)

"""Chat safety: blocks and warnings.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    """Bring the members' side up: ``members`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("members", "all"):
        return
    op.create_table(
        "member_blocks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("blocked_by", sa.String(), nullable=False),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lifted_by", sa.String()),
        sa.Column("lifted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_member_blocks"),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_member_blocks_member_id"),
        sa.UniqueConstraint("member_id", "number", name="uq_member_blocks_member_id_number"),
    )
    op.create_index("ix_member_blocks_member_id", "member_blocks", ["member_id"])
    op.create_table(
        "safety_warnings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("text_version", sa.String(), nullable=False),
        sa.Column("alarms", sa.Integer(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_safety_warnings"),
        sa.UniqueConstraint(
            "conversation_id", "recipient_id", "number", name="uq_safety_warnings_conversation_id_recipient_id_number"
        ),
    )
    op.create_index("ix_safety_warnings_recipient_id", "safety_warnings", ["recipient_id"])


def downgrade(target: str) -> None:
    """Take it back: nobody is blocked then."""
    if target in ("members", "all"):
        op.drop_table("safety_warnings")
        op.drop_table("member_blocks")

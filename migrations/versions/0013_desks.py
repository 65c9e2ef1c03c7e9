"""The desks: who is not to be contacted, contacts that were asked for, complaints.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade(target: str) -> None:
    """Bring the members' side up: ``members`` is its file in an embedded store, ``all`` is PostgreSQL."""
    if target not in ("members", "all"):
        return
    op.create_table(
        "suppressions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        *indexed("phone"),
        *indexed("id_number"),
        sa.PrimaryKeyConstraint("id", name="pk_suppressions"),
        sa.UniqueConstraint("tag", name="uq_suppressions_tag"),
    )
    for column in ("phone_bidx", "id_number_bidx"):
        op.create_index(f"ix_suppressions_{column}", "suppressions", [column])
    op.create_table(
        "suppressed_members",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("member_id", name="pk_suppressed_members"),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_suppressed_members_member_id"),
    )
    op.create_table(
        "contact_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("channel", sa.String(), nullable=False),
        sa.Column("text", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("taken_at", MOMENT),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ended_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_contact_requests"),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_contact_requests_member_id"),
    )
    for column in ("member_id", "actor_id", "state"):
        op.create_index(f"ix_contact_requests_{column}", "contact_requests", [column])
    op.create_table(
        "complaints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("opened_at", MOMENT, nullable=False),
        sa.Column("contact_due", MOMENT, nullable=False),
        sa.Column("plan_due", MOMENT, nullable=False),
        sa.Column("contacted_at", MOMENT),
        sa.Column("planned_at", MOMENT),
        sa.Column("closed_at", MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_complaints"),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_complaints_member_id"),
    )
    for column in ("member_id", "store"):
        op.create_index(f"ix_complaints_{column}", "complaints", [column])


def downgrade(target: str) -> None:
    """Take it back. Who said no can be contacted again from then on."""
    if target in ("members", "all"):
        for table in ("complaints", "contact_requests", "suppressed_members", "suppressions"):
            op.drop_table(table)


def indexed(name: str) -> Iterator[Any]:
    """An encrypted column with a blind index, and the checks that keep plaintext out of both."""
    yield sa.Column(name, sa.LargeBinary())
    yield sa.Column(f"{name}_bidx", sa.LargeBinary(32))
    yield sa.CheckConstraint(ciphertext(name), name=f"ck_suppressions_{name}_sealed")
    yield sa.CheckConstraint(digest(f"{name}_bidx"), name=f"ck_suppressions_{name}_bidx_sealed")


def ciphertext(column: str) -> str:
    """Version byte 01, and at least 33 bytes."""
    if op.get_context().dialect.name == "sqlite":
        return (
            f"{column} IS NULL OR (typeof({column}) = 'blob' AND length({column}) >= 33"
            f" AND substr({column}, 1, 1) = x'01')"
        )
    return f"CASE WHEN octet_length({column}) >= 33 THEN get_byte({column}, 0) = 1 ELSE {column} IS NULL END"


def digest(column: str) -> str:
    """32 bytes."""
    if op.get_context().dialect.name == "sqlite":
        return f"{column} IS NULL OR (typeof({column}) = 'blob' AND length({column}) = 32)"
    return f"octet_length({column}) = 32"

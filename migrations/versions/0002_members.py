"""The member store: members, messages, profile views, leads and consent notices.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""
    if target in ("members", "all"):
        upgrade_members()


def downgrade(target: str) -> None:
    """Take it back, and every row with it."""
    if target in ("members", "all"):
        for table in ("consent_notices", "leads", "profile_views", "chat_messages", "members"):
            op.drop_table(table)


def upgrade_members() -> None:
    op.create_table(
        "members",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("nickname", sa.String(), nullable=False),
        sa.Column("gender", sa.String(), nullable=False),
        sa.Column("city", sa.String(), nullable=False),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("grade", sa.String(), nullable=False),
        sa.Column("last_login", sa.Date()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        *sealed("members", "name", "sales_card", "care_card", required=True),
        *sealed("members", "id_number", "care_card", bidx=True),
        *sealed("members", "phone", "sales_card", "care_card", bidx=True, required=True),
        *sealed("members", "wechat", "sales_card"),
        *sealed("members", "email", "care_card", bidx=True),
        *sealed("members", "address", "care_card"),
        *sealed("members", "birth_date", "pool_card", "sales_card", "match_card"),
        *sealed("members", "height_cm", "sales_card", "match_card"),
        *sealed("members", "education", "pool_card", "sales_card", "match_card"),
        *sealed("members", "marital", "sales_card", "match_card"),
        *sealed("members", "monthly_income", "sales_card", "match_card"),
        *sealed("members", "house", "sales_card", "match_card"),
        *sealed("members", "car", "sales_card", "match_card"),
        *sealed("members", "wants"),
        sa.PrimaryKeyConstraint("id", name="pk_members"),
    )
    for column in ("city", "store", "id_number_bidx", "phone_bidx", "email_bidx"):
        op.create_index(f"ix_members_{column}", "members", [column])
    op.create_table(
        "chat_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sender_id", sa.Uuid(), nullable=False),
        sa.Column("recipient_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        *sealed("chat_messages", "body", "chat_flags", required=True),
        sa.PrimaryKeyConstraint("id", name="pk_chat_messages"),
        sa.ForeignKeyConstraint(["sender_id"], ["members.id"], name="fk_chat_messages_sender_id"),
    )
    for column in ("sender_id", "recipient_id", "conversation_id"):
        op.create_index(f"ix_chat_messages_{column}", "chat_messages", [column])
    op.create_table(
        "profile_views",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("viewer_id", sa.Uuid(), nullable=False),
        *sealed("profile_views", "viewed_id", required=True),
        *sealed("profile_views", "viewed_at", required=True),
        *sealed("profile_views", "event", bidx=True, required=True),
        sa.PrimaryKeyConstraint("id", name="pk_profile_views"),
        sa.ForeignKeyConstraint(["viewer_id"], ["members.id"], name="fk_profile_views_viewer_id"),
        sa.UniqueConstraint("event_bidx", name="uq_profile_views_event_bidx"),
    )
    op.create_index("ix_profile_views_viewer_id", "profile_views", ["viewer_id"])
    op.create_table(
        "leads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=False),
        sa.Column("store", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_leads"),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_leads_member_id"),
    )
    for column in ("member_id", "actor_id"):
        op.create_index(f"ix_leads_{column}", "leads", [column])
    is_open = sa.text("state = 'open'")
    op.create_index(
        "uq_leads_open", "leads", ["member_id"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_table(
        "consent_notices",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "version", name="pk_consent_notices"),
    )


def sealed(table: str, name: str, *masks: str, bidx: bool = False, required: bool = False) -> Iterator[Any]:
    """An encrypted column with its blind index and projections, and the checks that keep plaintext out of each."""
    yield sa.Column(name, sa.LargeBinary(), nullable=not required)
    yield from (sa.Column(f"{name}_bidx", sa.LargeBinary(32)),) if bidx else ()
    yield from (sa.Column(f"{name}_{mask}", sa.LargeBinary()) for mask in masks)
    for column in (name, *(f"{name}_{mask}" for mask in masks)):
        yield sa.CheckConstraint(ciphertext(column), name=f"ck_{table}_{column}_sealed")
    if bidx:
        yield sa.CheckConstraint(digest(f"{name}_bidx"), name=f"ck_{table}_{name}_bidx_sealed")


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

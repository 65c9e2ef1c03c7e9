"""The real-name check: an index over name and number together, attempts, and badges.

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COLUMNS = (("identity_proof", "BLOB", "ciphertext"), ("identity_proof_bidx", "BLOB", "digest"))
"""Name, type on SQLite, and what a value has to look like. SQLite adds a check with its column or not at all."""


def upgrade(target: str) -> None:
    """Bring the members' side up. Members who are there already have no proof yet: see docs/member-store.md."""
    if target not in ("members", "all"):
        return
    for column, kind, rule in COLUMNS:
        check = (ciphertext if rule == "ciphertext" else digest)(column)
        op.execute(
            sa.text(
                f"ALTER TABLE members ADD COLUMN {column} {kind if sqlite() else 'BYTEA'} "
                f"CONSTRAINT ck_members_{column}_sealed CHECK ({check})"
            )
        )
    op.create_index("ix_members_identity_proof_bidx", "members", ["identity_proof_bidx"])
    op.create_table(
        "verification_counts",
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tag", name="pk_verification_counts"),
    )
    op.create_index("ix_verification_counts_ends_at", "verification_counts", ["ends_at"])
    op.create_table(
        "verified_badges",
        sa.Column("member_id", sa.Uuid(), nullable=False),
        sa.Column("verified_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("member_id", name="pk_verified_badges"),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_verified_badges_member_id"),
    )


def downgrade(target: str) -> None:
    """Take it back, badges too."""
    if target not in ("members", "all"):
        return
    op.drop_table("verified_badges")
    op.drop_table("verification_counts")
    op.drop_index("ix_members_identity_proof_bidx", "members")
    for column, _, _ in reversed(COLUMNS):
        op.execute(sa.text(f"ALTER TABLE members DROP COLUMN {column}"))  # and its check


def sqlite() -> bool:
    """Whether it runs on a file."""
    return op.get_context().dialect.name == "sqlite"


def ciphertext(column: str) -> str:
    """Version byte 01, and at least 33 bytes."""
    if sqlite():
        return (
            f"{column} IS NULL OR (typeof({column}) = 'blob' AND length({column}) >= 33"
            f" AND substr({column}, 1, 1) = x'01')"
        )
    return f"CASE WHEN octet_length({column}) >= 33 THEN get_byte({column}, 0) = 1 ELSE {column} IS NULL END"


def digest(column: str) -> str:
    """32 bytes."""
    if sqlite():
        return f"{column} IS NULL OR (typeof({column}) = 'blob' AND length({column}) = 32)"
    return f"octet_length({column}) = 32"

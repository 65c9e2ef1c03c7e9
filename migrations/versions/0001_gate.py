"""What every store has: the keyring beside the rows, and all that the gate decides on.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from vaultstore.records import postgres_functions, pseudonyms

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.LargeBinary(16).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
INSTANT = sa.String(27).with_variant(sa.TIMESTAMP(timezone=True), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TABLES = (
    "vs_charges", "vs_limits", "vs_case_subjects", "vs_cases", "vs_approvals", "vs_requests", "vs_subjects",
    "vs_revocations", "vs_purposes", "vs_entries", "vs_consents", "vs_plane", "vs_ticket_keys", "vs_secrets",
)  # fmt: skip


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""
    if target in ("members", "all"):
        upgrade_members()
    if target in ("gate", "all"):
        upgrade_gate()
    if target == "all":
        for statement in postgres_functions():
            op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade(target: str) -> None:
    """Take it back. Without its keyring no value of the store can be opened again."""
    if target == "all":
        op.execute(DROP_FUNCTIONS)
    if target in ("gate", "all"):
        for table in TABLES:
            op.drop_table(table)
    if target in ("members", "all"):
        op.drop_table("vs_keyring")


def upgrade_members() -> None:
    op.create_table(
        "vs_keyring",
        sa.Column("subject", ID, nullable=False),
        sa.Column("category", sa.String(63), nullable=False),
        sa.Column("scope", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("wrapped", sa.Text(), nullable=False),
        sa.Column("minted_by", sa.String(63), nullable=False),
        sa.Column("minted_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("subject", "category", "scope", "key_id", name="pk_vs_keyring"),
        postgresql_with={"fillfactor": 90},
        sqlite_with_rowid=False,
    )


def upgrade_gate() -> None:
    op.create_table(
        "vs_subjects",
        sa.Column("subject", ID, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("changed_at", INSTANT, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("subject", name="pk_vs_subjects"),
        sa.CheckConstraint("state IN ('active', 'restricted', 'erased')", name="ck_vs_subjects_state"),
        postgresql_with={"fillfactor": 90},
    )
    op.create_table(
        "vs_consents",
        sa.Column("id", SERIAL, sa.Identity(), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("notice_version", sa.String(63), nullable=False),
        sa.Column("granted_at", INSTANT, nullable=False),
        sa.Column("withdrawn_at", INSTANT),
        sa.Column("evidence", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_vs_consents"),
    )
    op.create_index("ix_vs_consents_subject_kind", "vs_consents", ["subject", "kind"])
    op.create_table(
        "vs_cases",
        sa.Column("id", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("assigned_to", sa.Text(), nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT),
        sa.Column("note", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_vs_cases"),
    )
    op.create_table(
        "vs_case_subjects",
        sa.Column("case_id", sa.String(63), nullable=False),
        sa.Column("subject", ID, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "subject", name="pk_vs_case_subjects"),
        sa.ForeignKeyConstraint(["case_id"], ["vs_cases.id"], name="fk_vs_case_subjects_case_id", ondelete="CASCADE"),
    )
    op.create_index("ix_vs_case_subjects_subject", "vs_case_subjects", ["subject"])
    op.create_table(
        "vs_requests",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("case_id", sa.String(63)),
        sa.Column("purpose", sa.String(63), nullable=False),
        sa.Column("subjects", sa.String(64), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vs_requests"),
    )
    op.create_index("ix_vs_requests_requested_by_purpose", "vs_requests", ["requested_by", "purpose"])
    op.create_table(
        "vs_approvals",
        sa.Column("request", sa.String(36), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("jti", sa.Text(), nullable=False),
        sa.Column("approved_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("request", "approver", name="pk_vs_approvals"),
        sa.ForeignKeyConstraint(["request"], ["vs_requests.id"], name="fk_vs_approvals_request", ondelete="CASCADE"),
    )
    op.create_table(
        "vs_limits",
        sa.Column("id", SERIAL, sa.Identity(), nullable=False),
        sa.Column("purpose", sa.String(63), nullable=False),
        sa.Column("verb", sa.String(20), nullable=False),
        sa.Column("per", sa.String(20), nullable=False),
        sa.Column("by", sa.String(20), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_vs_limits"),
        sa.UniqueConstraint(
            "purpose", "verb", "per", "by", "holder", name="uq_vs_limits_purpose_verb_per_by_holder"
        ),
        postgresql_with={"fillfactor": 70},
    )  # fmt: skip
    op.create_table(
        "vs_charges",
        sa.Column("window_id", sa.BigInteger(), nullable=False),
        sa.Column("unit", ID, nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("charged_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("window_id", "unit", name="pk_vs_charges"),
        sa.ForeignKeyConstraint(["window_id"], ["vs_limits.id"], name="fk_vs_charges_window_id", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_vs_charges_window_id_charged_at", "vs_charges", ["window_id", "charged_at"])
    op.create_table(
        "vs_revocations",
        sa.Column("id", SERIAL, sa.Identity(), nullable=False),
        sa.Column("jti", sa.Text()),
        sa.Column("actor", sa.Text()),
        sa.Column("before", INSTANT),
        sa.Column("revoked_at", INSTANT, nullable=False),
        sa.Column("reason", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_vs_revocations"),
        sa.CheckConstraint(
            "(jti IS NULL) <> (actor IS NULL) AND (actor IS NULL) = (before IS NULL)", name="ck_vs_revocations_one"
        ),
    )
    op.create_index("ix_vs_revocations_jti", "vs_revocations", ["jti"])
    op.create_index("ix_vs_revocations_actor_before", "vs_revocations", ["actor", "before"])
    op.create_table(
        "vs_purposes",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("closure", sa.Text(), nullable=False),
        sa.Column("published_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_vs_purposes"),
    )
    op.create_table(
        "vs_entries",
        sa.Column("seq", SERIAL, sa.Identity(), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("time", INSTANT, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("leaf", sa.Text(), nullable=False),
        sa.Column("lines", sa.LargeBinary(), nullable=False),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("scopes", sa.LargeBinary()),
        sa.Column("xid", sa.BigInteger()),
        sa.Column("login", sa.Text()),
        sa.PrimaryKeyConstraint("seq", name="pk_vs_entries"),
        sa.UniqueConstraint("id", name="uq_vs_entries_id"),
    )
    op.create_table(
        "vs_plane",
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("strict", sa.Boolean(), nullable=False),
        sa.Column("applied_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("prefix", name="pk_vs_plane"),
    )
    op.create_table(
        "vs_ticket_keys",
        sa.Column("kid", sa.String(36), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("kid", name="pk_vs_ticket_keys"),
    )
    op.create_table(
        "vs_secrets",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_vs_secrets"),
    )
    if op.get_context().dialect.name == "sqlite":
        op.execute(pseudonyms.make)


DROP_FUNCTIONS = """
DO $$
DECLARE f text;
BEGIN
    FOR f IN SELECT format('DROP ROUTINE %s CASCADE', p.oid::regprocedure)
             FROM pg_proc p
             WHERE p.pronamespace = current_schema()::regnamespace AND p.proname ~ '^vsx?_'
               AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    LOOP
        EXECUTE f;
    END LOOP;
END
$$
"""

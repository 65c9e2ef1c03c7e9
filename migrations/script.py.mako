"""${message}.

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""
    if target in ("members", "all"):
        upgrade_members()
    if target in ("gate", "all"):
        upgrade_gate()


def downgrade(target: str) -> None:
    """Take it back."""
    if target in ("gate", "all"):
        downgrade_gate()
    if target in ("members", "all"):
        downgrade_members()


def upgrade_members() -> None:
    ${context.get("members_upgrades", "") or context.get("all_upgrades", "pass")}


def upgrade_gate() -> None:
    ${context.get("gate_upgrades", "pass")}


def downgrade_gate() -> None:
    ${context.get("gate_downgrades", "pass")}


def downgrade_members() -> None:
    ${context.get("members_downgrades", "") or context.get("all_downgrades", "pass")}

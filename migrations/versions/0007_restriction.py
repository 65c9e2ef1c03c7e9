"""Restriction: who is out of sight, and since when.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""


def downgrade(target: str) -> None:
    """Take it back."""

"""Versions of category keys that were given up.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade(target: str) -> None:
    """Bring `target` up: ``members`` and ``gate`` are the files of an embedded store, ``all`` is PostgreSQL."""


def downgrade(target: str) -> None:
    """Take it back."""

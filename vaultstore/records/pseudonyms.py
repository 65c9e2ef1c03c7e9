"""Names for actors that members may be shown: always the same for the same actor, and telling nothing of who it is.

The audit leaf names its actor by such a pseudonym, so that a member's report can carry whole leaves with their proofs.
Who it is stands beside the leaf, for those who may read the database.
"""

from __future__ import annotations

import sqlite3
from hashlib import sha256

import sqlalchemy as sa

from vaultstore.records.base import GATE, metadata

__all__ = ["NAME", "fetch", "key_of", "make", "pseudonym", "vs_secrets"]

NAME = "pseudonyms"

vs_secrets = sa.Table(
    "vs_secrets",
    metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    info=GATE,
)
"""Secrets of one database, 32 bytes each. Nobody but the owner reads them."""

make = f"INSERT INTO vs_secrets (name, secret) VALUES ('{NAME}', randomblob(32)) ON CONFLICT DO NOTHING"  # noqa: S608
"""The statement that gives an SQLite gate its secret; PostgreSQL's functions see to it themselves."""


def pseudonym(secret: bytes, actor: str) -> str:
    """``p-`` and 32 hexadecimal digits: SHA-256(secret || SHA-256(actor)), the first half of it."""
    return f"p-{sha256(secret + sha256(actor.encode()).digest()).hexdigest()[:32]}"


def key_of(connection: sa.Connection) -> bytes:
    """The secret of this database."""
    secret: bytes = connection.execute(sa.select(vs_secrets.c.secret).where(vs_secrets.c.name == NAME)).scalar_one()
    return secret


def fetch(cursor: sqlite3.Cursor) -> bytes:
    """The same (SQLite's side of the gate)."""
    secret: bytes = cursor.execute("SELECT secret FROM vs_secrets WHERE name = ?", (NAME,)).fetchone()[0]
    return secret

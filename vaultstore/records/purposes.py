"""Purposes as the gate's database knows them: the digest that tokens must carry, and the closure it decides by."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, insert_new, metadata

__all__ = ["fetch", "publish", "vs_purposes"]

vs_purposes = sa.Table(
    "vs_purposes",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("closure", sa.Text, nullable=False),
    sa.Column("published_at", Instant, nullable=False),
    info=GATE,
)


def publish(connection: sa.Connection, purposes: Mapping[str, tuple[str, str]], now: datetime) -> None:
    """Make the table say exactly this: name -> (digest, closure as JSON text). Others go; unchanged ones stay."""
    c = vs_purposes.c
    connection.execute(vs_purposes.delete().where(c.name.not_in(list(purposes))))
    for name, (digest, closure) in sorted(purposes.items()):
        new = {"digest": digest, "closure": closure, "published_at": now}
        connection.execute(insert_new(connection, vs_purposes).values(name=name, **new))
        differs = sa.or_(c.digest != digest, c.closure != closure)  # one that was edited by hand is mended too
        connection.execute(vs_purposes.update().where(c.name == name, differs).values(**new))


def fetch(cursor: sqlite3.Cursor, name: str) -> tuple[str, str] | None:
    """(digest, closure text) of a purpose, or None (SQLite's side of the gate)."""
    row: tuple[str, str] | None
    row = cursor.execute("SELECT digest, closure FROM vs_purposes WHERE name = ?", (name,)).fetchone()
    return row

"""Projections: the mask that each projection column's values were made with, by its fingerprint.

The table lies beside the rows, so that a finished rebuild and what it says of itself are of one database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import MEMBERS, Instant, insert_new, metadata

__all__ = ["Made", "Place", "add", "fetch", "record", "vs_projections"]

Place = tuple[str, str, str]
"""(model, field, category of the projection)."""

vs_projections = sa.Table(
    "vs_projections",
    metadata,
    sa.Column("model", sa.String(63), primary_key=True),
    sa.Column("field", sa.String(63), primary_key=True),
    sa.Column("projection", sa.String(63), primary_key=True),
    sa.Column("fingerprint", sa.Text),
    sa.Column("left_out", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("recorded_at", Instant, nullable=False),
    info=MEMBERS,
)
"""`fingerprint` is NULL where rows were there before anybody wrote down with which mask they were made. `left_out` is
how many rows the last rebuild had to leave as they were."""


@dataclass(frozen=True, slots=True)
class Made:
    """What is known of a projection column's values."""

    fingerprint: str | None
    left_out: int


def fetch(connection: sa.Connection) -> Mapping[Place, Made]:
    """What is recorded of each projection."""
    c = vs_projections.c
    query = sa.select(c.model, c.field, c.projection, c.fingerprint, c.left_out)
    return {(row[0], row[1], row[2]): Made(row[3], row[4]) for row in connection.execute(query)}


def add(connection: sa.Connection, made: Mapping[Place, str | None], now: datetime) -> None:
    """Record projections that nothing was recorded of yet; None: nobody knows with which mask."""
    rows = [
        {"model": place[0], "field": place[1], "projection": place[2], "fingerprint": found, "recorded_at": now}
        for place, found in sorted(made.items())
    ]
    if rows:
        connection.execute(insert_new(connection, vs_projections), rows)


def record(connection: sa.Connection, made: Mapping[Place, str], left_out: int, now: datetime) -> None:
    """Record that the values of these projections were made anew, but for `left_out` rows."""
    c = vs_projections.c
    add(connection, dict.fromkeys(made), now)
    for place, fingerprint in sorted(made.items()):
        here = (c.model == place[0]) & (c.field == place[1]) & (c.projection == place[2])
        values = {"fingerprint": fingerprint, "left_out": left_out, "recorded_at": now}
        connection.execute(vs_projections.update().where(here).values(**values))

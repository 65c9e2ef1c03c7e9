"""Limits: windows of a holder, and what was charged to them.

A window is (purpose, verb, per, by, holder); `max` is not part of it, so a raised limit keeps its history. A charge is
one unit at one time: a subject for `disclose`, an entry with its number of needles for `search`. `used` is the sum of
the charges still in the window, kept up to date as they fall out, so the cost does not grow with the history.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, Instant, chunks, marks, metadata, rfc3339

__all__ = ["charge", "charged", "open_window", "vs_charges", "vs_limits"]

vs_limits = sa.Table(
    "vs_limits",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("purpose", sa.String(63), nullable=False),
    sa.Column("verb", sa.String(20), nullable=False),
    sa.Column("per", sa.String(20), nullable=False),
    sa.Column("by", sa.String(20), nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False, server_default="0"),
    sa.UniqueConstraint("purpose", "verb", "per", "by", "holder"),
    sa.Index(
        None, "holder", postgresql_where=sa.text("length(holder) = 36"), sqlite_where=sa.text("length(holder) = 36")
    ),
    info=GATE,
    postgresql_with={"fillfactor": 70},
)

vs_charges = sa.Table(
    "vs_charges",
    metadata,
    sa.Column("window_id", sa.BigInteger, sa.ForeignKey("vs_limits.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("unit", Id, primary_key=True),
    sa.Column("units", sa.Integer, nullable=False),
    sa.Column("charged_at", Instant, nullable=False),
    sa.Index(None, "window_id", "charged_at"),
    info=GATE,
    sqlite_with_rowid=False,
)


# SQLite's side of the gate; vs_charge does the same on PostgreSQL.


def open_window(
    cursor: sqlite3.Cursor, purpose: str, verb: str, per: str, by: str, holder: str, since: datetime, *, inclusive: bool
) -> tuple[int, int]:
    """(id, units used) of a window, after the charges that fell out of it are gone.

    A charge stays that is later than `since`; `inclusive`: or exactly then.
    """
    key = (purpose, verb, per, by, holder)
    cursor.execute('INSERT OR IGNORE INTO vs_limits (purpose, verb, per, "by", holder) VALUES (?, ?, ?, ?, ?)', key)
    cursor.execute(
        'SELECT id, used FROM vs_limits WHERE purpose = ? AND verb = ? AND per = ? AND "by" = ? AND holder = ?', key
    )
    window, used = cursor.fetchone()
    gone = cursor.execute(
        f"DELETE FROM vs_charges WHERE window_id = ? AND charged_at {'<' if inclusive else '<='} ? RETURNING units",  # noqa: S608 - an operator
        (window, rfc3339(since)),
    ).fetchall()
    if gone:
        used -= sum(row[0] for row in gone)
        cursor.execute("UPDATE vs_limits SET used = ? WHERE id = ?", (used, window))
    return window, used


def charged(cursor: sqlite3.Cursor, window: int, units: Sequence[bytes]) -> set[bytes]:
    """Those of `units` that are charged to the window already."""
    found: set[bytes] = set()
    for piece in chunks(list(units)):
        cursor.execute(
            f"SELECT unit FROM vs_charges WHERE window_id = ? AND unit IN {marks(len(piece))}",  # noqa: S608 - marks only
            [window, *piece],
        )
        found.update(row[0] for row in cursor)
    return found


def charge(cursor: sqlite3.Cursor, window: int, units: Iterable[tuple[bytes, int]], now: datetime) -> None:
    """Charge new units, each with its count, to the window."""
    time = rfc3339(now)
    rows = [(window, unit, count, time) for unit, count in sorted(units)]
    if rows:
        cursor.executemany("INSERT INTO vs_charges (window_id, unit, units, charged_at) VALUES (?, ?, ?, ?)", rows)
        cursor.execute("UPDATE vs_limits SET used = used + ? WHERE id = ?", (sum(r[2] for r in rows), window))

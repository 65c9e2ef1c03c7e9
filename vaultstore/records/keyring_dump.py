"""Reading the whole keyring in order, and putting rows back into it. For operators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from vaultstore.records.base import insert_new
from vaultstore.records.keyring import vs_keyring
from vaultstore.records.subjects import ERASED, vs_subjects

__all__ = ["DumpRow", "Ref", "count", "erased", "hold_versions", "pages", "present", "put", "replace"]

Ref = tuple[bytes, str, bytes, int]
"""Subject, category, scope, key id: the keyring's key, in its order."""


class DumpRow(NamedTuple):
    """A row of the keyring."""

    subject: bytes
    category: str
    scope: bytes
    key_id: int
    wrapped: str
    minted_by: str
    minted_at: datetime

    @property
    def ref(self) -> Ref:
        """What names the key."""
        return self.subject, self.category, self.scope, self.key_id


def count(connection: sa.Connection) -> int:
    """How many keys there are."""
    number: int = connection.execute(sa.select(sa.func.count()).select_from(vs_keyring)).scalar_one()
    return number


def pages(connection: sa.Connection, after: Ref | None = None, size: int = 2000) -> Iterator[list[DumpRow]]:
    """All rows behind a reference in the keyring's order, a page at a time and never more of them in memory."""
    c = vs_keyring.c
    place = sa.tuple_(c.subject, c.category, c.scope, c.key_id)
    query = sa.select(vs_keyring).order_by(c.subject, c.category, c.scope, c.key_id).limit(size)
    while True:
        page = query if after is None else query.where(place > sa.tuple_(*_bound(connection, after)))
        rows = [DumpRow(*row) for row in connection.execute(page)]
        connection.rollback()  # a page is a transaction: a long export must not hold old rows up
        if rows:
            yield rows
            after = rows[-1].ref
        if len(rows) < size:
            return


def _bound(connection: sa.Connection, ref: Ref) -> list[sa.ColumnElement[object]]:
    c = vs_keyring.c
    return [sa.literal(v, col.type) for v, col in zip(ref, (c.subject, c.category, c.scope, c.key_id), strict=True)]


def erased(connection: sa.Connection, subjects: Sequence[bytes]) -> set[bytes]:
    """Those of `subjects` who are erased. The others stay as they are until the transaction ends (PostgreSQL)."""
    c = vs_subjects.c
    query = sa.select(c.subject, c.state).where(c.subject.in_(subjects)).order_by(c.subject)
    found = connection.execute(query.with_for_update(read=True, key_share=True))
    return {subject for subject, state in found if state == ERASED}


def present(connection: sa.Connection, refs: Sequence[Ref]) -> dict[Ref, str]:
    """Reference -> wrap of those that the keyring holds."""
    c = vs_keyring.c
    subjects = sorted({ref[0] for ref in refs})
    wanted = set(refs)
    query = sa.select(c.subject, c.category, c.scope, c.key_id, c.wrapped).where(
        c.subject.in_(subjects), c.key_id.in_(sorted({ref[3] for ref in refs}))
    )
    rows = ((row[:4], row[4]) for row in connection.execute(query))
    return {ref: wrapped for ref, wrapped in rows if ref in wanted}


def hold_versions(connection: sa.Connection) -> None:
    """Let no version of a category's key be given up until the transaction ends. SQLite's write lock does it."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE vs_key_versions IN ROW SHARE MODE")


def put(connection: sa.Connection, rows: Sequence[DumpRow]) -> None:
    """Add rows; those that are there stay as they are."""
    if rows:
        connection.execute(insert_new(connection, vs_keyring), [row._asdict() for row in rows])


def replace(connection: sa.Connection, rows: Sequence[DumpRow]) -> None:
    """Put other wraps in place of those that are there."""
    c = vs_keyring.c
    for row in rows:
        same = (c.subject == row.subject) & (c.category == row.category) & (c.scope == row.scope)
        connection.execute(vs_keyring.update().where(same, c.key_id == row.key_id).values(wrapped=row.wrapped))

"""Which audit entries speak of a subject: so that a member's report reads their own entries and no others.

The sequencer fills it in, as it puts an entry into the tree. It is an index and no evidence: what it leaves out shows
as a gap in the subject's running numbers. An erasure takes the subject's rows away.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from vaultstore.records.base import GATE, Id, metadata
from vaultstore.records.entries import vs_entries
from vaultstore.records.log import vs_pending

__all__ = ["entries_of", "forget", "note", "vs_subject_entries", "waiting_of"]

_LINE, _SUBJECT = 57, 16
_NOBODY = bytes(_SUBJECT)
_AT_ONCE = 500

vs_subject_entries = sa.Table(
    "vs_subject_entries",
    metadata,
    sa.Column("subject", Id, primary_key=True),
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    info=GATE,
    sqlite_with_rowid=False,
)
"""`entry` is the sequence number of an entry in the tree that has a line of the subject. Numbers stand in the lines."""


def note(connection: sa.Connection, entries: Sequence[int]) -> None:
    """Note whom some entries speak of, by their sequence numbers."""
    query = sa.select(vs_entries.c.seq, vs_entries.c.lines).where(
        vs_entries.c.seq.in_(sa.bindparam("s", expanding=True))
    )
    for start in range(0, len(entries), _AT_ONCE):
        pairs = {
            (lines[at : at + _SUBJECT], seq)
            for seq, lines in connection.execute(query, {"s": list(entries[start : start + _AT_ONCE])})
            for at in range(0, len(lines), _LINE)
        }
        found = sorted(pair for pair in pairs if pair[0] != _NOBODY)
        if not found:
            continue
        if connection.dialect.name == "postgresql":
            connection.execute(
                sa.text(
                    "INSERT INTO vs_subject_entries (subject, entry) SELECT s, e"
                    " FROM unnest(CAST(:subjects AS uuid[]), CAST(:entries AS bigint[])) AS u (s, e)"
                    " ON CONFLICT DO NOTHING"
                ),
                {"subjects": [uuid.UUID(bytes=s) for s, _ in found], "entries": [e for _, e in found]},
            )
        else:
            connection.exec_driver_sql("INSERT OR IGNORE INTO vs_subject_entries (subject, entry) VALUES (?, ?)", found)


def entries_of(connection: sa.Connection, subject: bytes) -> list[int]:
    """Sequence numbers of the entries in the tree that have a line of `subject`, in order."""
    c = vs_subject_entries.c
    return list(connection.execute(sa.select(c.entry).where(c.subject == subject).order_by(c.entry)).scalars())


def waiting_of(connection: sa.Connection, subject: bytes) -> list[int]:
    """The same of entries that wait to be put into the tree: these are looked through, one by one."""
    place = (
        sa.func.position(sa.literal(subject, sa.LargeBinary).op("IN")(vs_entries.c.lines))
        if connection.dialect.name == "postgresql"
        else sa.func.instr(vs_entries.c.lines, sa.literal(subject, sa.LargeBinary))
    )
    query = (
        sa.select(vs_entries.c.seq)
        .join(vs_pending, vs_pending.c.seq == vs_entries.c.seq)
        .where(place > 0)
        .order_by(vs_entries.c.seq)
    )
    return list(connection.execute(query).scalars())


def forget(connection: sa.Connection, subject: bytes) -> int:
    """Take the rows of an erased subject away; how many there were."""
    return connection.execute(vs_subject_entries.delete().where(vs_subject_entries.c.subject == subject)).rowcount

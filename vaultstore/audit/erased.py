"""Holding the audit log against the erasures: what they took out of it, and what must not have come since."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import sqlalchemy as sa

from vaultstore.records.entries import vs_entries
from vaultstore.records.erasures import ENTRY, body_digest, vs_erasures, vs_held
from vaultstore.records.subject_lines import vs_subject_entries

__all__ = ["beyond_certificates", "false_acts", "lines_after"]


def false_acts(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """(entry, what is wrong) of erasures whose act is not the one that the log names."""
    query = sa.select(vs_erasures.c.entry, vs_erasures.c.body, vs_entries.c.kind, vs_entries.c.leaf).join(
        vs_entries, vs_entries.c.id == vs_erasures.c.entry, isouter=True
    )
    for entry, body, kind, leaf in connection.execute(query):
        if kind is None:
            yield entry, "is the entry of an erasure, and is gone"
        elif kind != ENTRY or json.loads(leaf).get("field") != body_digest(body):
            yield entry, "the act of erasure that is stored beside it is not the one that was logged"


def beyond_certificates(connection: sa.Connection, lines: int, acts: int) -> str | None:
    """What is wrong where more lines, or more actors' names, are gone than the acts of erasure say; else None."""
    said_lines = said_acts = 0
    query = sa.select(vs_erasures.c.body, vs_entries.c.actor).join(vs_entries, vs_entries.c.id == vs_erasures.c.entry)
    for body, actor in connection.execute(query):
        log = json.loads(body)["log"]
        said_lines += log["lines"]
        said_acts += log["acts"] + (actor == "")  # who erases themselves is not named as the actor of that either
    if lines > said_lines:
        return f"{lines:,} lines are erased, and the certificates of erasure account for {said_lines:,}"
    if acts > said_acts:
        return f"{acts:,} entries have lost their actor, and the certificates of erasure account for {said_acts:,}"
    return None


def lines_after(connection: sa.Connection, limit: int) -> Iterator[tuple[str, str]]:
    """(entry, what is wrong) of entries that speak of an erased subject, but for what a case still holds of them.

    An erasure takes every line out, and the gate writes none after it: such a line is proof of a breach.
    """
    query = (
        sa.select(vs_entries.c.id, vs_entries.c.leaf, vs_erasures.c.subject, vs_erasures.c.at)
        .join(vs_subject_entries, vs_subject_entries.c.subject == vs_erasures.c.subject)
        .join(vs_entries, vs_entries.c.seq == vs_subject_entries.c.entry)
        .where(vs_erasures.c.number == 1)
        .order_by(vs_entries.c.seq)
    )
    found = 0
    for entry, leaf, subject, at in connection.execute(query):
        case = json.loads(leaf)["case"]
        held = sa.select(vs_held.c.scope).where(vs_held.c.subject == subject, vs_held.c.case_id == case)
        if case is not None and connection.execute(held).first() is not None:
            continue
        found += 1
        if found > limit:
            return
        who = uuid.UUID(bytes=subject)
        yield entry, f"speaks of subject {who}, who was erased at {at:%Y-%m-%d %H:%M} UTC: somebody went past the gate"

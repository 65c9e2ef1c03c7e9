"""Audit entries for what operators do outside of any purpose."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from vaultstore.audit.entry import build_entry
from vaultstore.records import pseudonyms
from vaultstore.records.entries import vs_entries
from vaultstore.records.log import vs_pending

__all__ = ["write_entry"]


def write_entry(
    connection: sa.Connection,
    kind: str,
    outcome: str,
    *,
    operator: str,
    now: datetime,
    counts: Mapping[str, int],
    attributes: Mapping[str, str] | None = None,
) -> str:
    """Write down what an operator did, in a transaction on the gate's side; the entry's id.

    It has no lines: nothing in it names a subject.
    """
    entry = build_entry(
        id=str(uuid.uuid4()),
        time=now,
        kind=kind,
        actor=pseudonyms.pseudonym(pseudonyms.key_of(connection), operator),
        role="operator",
        attributes=attributes or {},
        purpose="operator",
        jti="",
        case=None,
        model=None,
        categories=(),
        counts=counts,
        outcome=outcome,
        lines=(),
        salts=b"",
    )
    values = {
        "id": entry.id, "time": now, "kind": kind, "actor": operator, "leaf": entry.leaf, "lines": entry.lines,
        "outcomes": json.dumps(entry.outcomes),
    }  # fmt: skip
    written = vs_entries.insert().values(**values).returning(vs_entries.c.seq)
    connection.execute(vs_pending.insert().values(seq=connection.execute(written).scalar_one()))
    return entry.id

"""The audit entries of the demo, as the gate's database holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from vaultstore.audit.entry import read_leaf
from vaultstore.audit.lines import LINE_SIZE
from vaultstore.records import entries

__all__ = ["Act", "acts"]


@dataclass(frozen=True, slots=True)
class Act:
    """One audit entry, for people."""

    time: str
    """In UTC, to the second."""
    actor: str
    purpose: str
    kind: str
    subjects: int
    outcome: str


def acts(gate: Engine) -> Sequence[Act]:
    """Every act of the gate, oldest first. A leaf that is not in its canonical form raises AuditError."""
    found: list[Act] = []
    after = 0
    with gate.connect() as connection:
        while page := entries.read(connection, after):
            after = page[-1][0]
            for _, entry in page:
                leaf = read_leaf(entry.leaf)
                found.append(
                    Act(
                        time=leaf["time"][11:19],
                        actor=_short(entry.actor),
                        purpose=leaf["purpose"],
                        kind=leaf["kind"],
                        subjects=len(entry.lines) // LINE_SIZE,
                        outcome=leaf["outcome"],
                    )
                )
    return found


def _short(actor: str) -> str:
    return actor if len(actor) <= 11 else f"{actor[:10]}…"

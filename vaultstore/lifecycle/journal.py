"""The journal: what must hold after a restore, too, written down apart from the databases."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

__all__ = ["Journal", "NoJournal"]


class Journal(Protocol):
    """Takes down erasures, withdrawals, restrictions, suppressions and revocations."""

    def append(self, kind: str, *, connection: sa.Connection | None = None, **facts: object) -> None:
        """Write one down, before the transaction that does it commits. Facts are ids, names and times.

        `connection` is in that transaction, on the gate's side: how far the journal is applied commits with it.
        """


class NoJournal:
    """A store without a journal."""

    def append(self, kind: str, *, connection: sa.Connection | None = None, **facts: object) -> None:
        """Write nothing."""

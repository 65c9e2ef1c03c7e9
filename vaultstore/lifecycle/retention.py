"""How long copies outlive what they are copies of: what an erasure has to wait for before it is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

__all__ = ["Retention"]


@dataclass(frozen=True, slots=True)
class Retention:
    """The longest life of each kind of copy; None: nobody said, so it is unknown."""

    vault_snapshots: timedelta | None = None
    keyring_backups: timedelta | None = None
    data_backups: timedelta | None = None
    wal_archives: timedelta | None = None

    def horizon(self, erased_at: datetime) -> Mapping[str, datetime | None]:
        """Kind of copy -> when the last one of before `erased_at` is gone; None where that is unknown."""
        return {
            each.name: None if (life := getattr(self, each.name)) is None else erased_at + life for each in fields(self)
        }

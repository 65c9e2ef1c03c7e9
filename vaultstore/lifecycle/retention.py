"""How long copies outlive what they are copies of: what an erasure has to wait for before it is complete.

The keys of an erased member are gone from the keyring at once. They live on in backups of it, wrapped, until those
expire or the version of the category's key that wraps them is given up; and the key that opens the wraps lives on in
snapshots of Vault. The erasure horizon is when the last such copy is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from vaultstore.errors import SettingsError

__all__ = ["Retention"]


@dataclass(frozen=True, slots=True)
class Retention:
    """The longest life of each kind of copy; None: nobody said, so it is unknown. Raises SettingsError if negative."""

    vault_snapshots: timedelta | None = None
    keyring_backups: timedelta | None = None
    data_backups: timedelta | None = None
    wal_archives: timedelta | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            life = getattr(self, each.name)
            if life is not None and life < timedelta(0):
                raise SettingsError(f"retention of {each.name} can't be negative")

    def horizon(self, erased_at: datetime) -> Mapping[str, datetime | None]:
        """Kind of copy -> when the last one of before `erased_at` is gone; None where that is unknown."""
        return {
            each.name: None if (life := getattr(self, each.name)) is None else erased_at + life for each in fields(self)
        }

    def overall(self, erased_at: datetime) -> datetime | None:
        """When the last copy of any kind is gone. None: of some kind it is unknown, so it is unknown of all."""
        known = [when for when in self.horizon(erased_at).values() if when is not None]
        return max(known) if len(known) == len(fields(self)) else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Kinds of copies whose life nobody said."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) is None)

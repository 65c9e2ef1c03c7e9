"""Everything that policy files say, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vaultstore.policy.model import Category, Never, PolicyTest, Purpose, Service
from vaultstore.policy.places import Places

__all__ = ["Rules"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What was loaded: checked within the files, not yet against any model."""

    files: Mapping[str, str] = field(repr=False)
    """Name of each file -> its text."""
    categories: Mapping[str, Category]
    purposes: Mapping[str, Purpose]
    never: tuple[Never, ...] = ()
    tests: tuple[PolicyTest, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    """Declared roles and their descriptions; empty where no file declares any."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """Declared services; empty where no file declares any."""
    timezone: str = "UTC"
    places: Places = field(default=Places(), repr=False, compare=False)
    folder: Path | None = None
    """The first folder it was loaded from."""

    def line(self, place: str) -> str:
        """The line of policy that `place` (``file:line:column``) names, without indentation; "" where there is none."""
        file, number, _ = place.rsplit(":", 2)
        lines = self.files.get(file, "").split("\n")
        return lines[int(number) - 1].strip() if 0 < int(number) <= len(lines) else ""

"""Where in a policy something is written, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vaultstore.errors import PolicyError

__all__ = ["Place", "Places"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A file, a line and a column (both from 1); its text is ``file:line:column``."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    def error(self, reason: str) -> PolicyError:
        """A PolicyError that points here."""
        return PolicyError(reason, file=self.file, line=self.line, column=self.column)


@dataclass(frozen=True, slots=True)
class Places:
    """Places by path, e.g. ``("purposes", "sales.outreach", "read", "Member", "sales_card")``."""

    known: Mapping[tuple[str, ...], Place] = field(default_factory=dict)

    def at(self, *path: str) -> Place:
        """Where `path` is written, or the nearest enclosing thing that is; the empty path is the first file."""
        for length in range(len(path), -1, -1):
            place = self.known.get(path[:length])
            if place is not None:
                return place
        return Place("<policy>", 1, 1)

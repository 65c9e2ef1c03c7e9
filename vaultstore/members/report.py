"""What an import did: counts, and each refused line with its reason but never its values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ImportReport", "Refusal"]


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """One refused line: its number in the file (the header is line 1), the column at fault, and why."""

    line: int
    column: str
    """Name of the column, or '' where the line as a whole is at fault."""
    reason: str


@dataclass(slots=True)
class ImportReport:
    """Running account of one file. `read` lines = `written` + `already` + refused ones."""

    kind: str
    file: str
    ignored: tuple[str, ...] = ()
    """Columns of the file that are not stored."""
    read: int = 0
    written: int = 0
    already: int = 0
    consents: int = 0
    """Consents recorded by this run."""
    suppressed: int = 0
    """Members of this run who said no under another account: they are in no pool."""
    seconds: float = 0.0
    refused: list[Refusal] = field(default_factory=list)

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Note refused lines."""
        self.refused.extend(refusals)

    @property
    def nothing_read(self) -> bool:
        """Whether not one line of the file was fit to be stored."""
        return self.written + self.already == 0

    def as_dict(self) -> dict[str, Any]:
        """JSON-able form; ``refused`` is in line order."""
        return {
            "kind": self.kind,
            "file": self.file,
            "read": self.read,
            "written": self.written,
            "already_there": self.already,
            "consents": self.consents,
            "suppressed": self.suppressed,
            "seconds": round(self.seconds, 3),
            "ignored_columns": list(self.ignored),
            "refused": [{"line": r.line, "column": r.column, "reason": r.reason} for r in sorted(self.refused)],
        }

"""The audit log: what an entry is and how it is proved."""

from __future__ import annotations

from vaultstore.audit.entry import Entry, build_entry, read_leaf, verify_entry
from vaultstore.audit.lines import Line, StoredLine, erase_line, parse_lines, subjects_root

__all__ = [
    "Entry",
    "Line",
    "StoredLine",
    "build_entry",
    "erase_line",
    "parse_lines",
    "read_leaf",
    "subjects_root",
    "verify_entry",
]

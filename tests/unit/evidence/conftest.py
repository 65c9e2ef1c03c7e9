"""The audit log's fixtures serve here too."""

from __future__ import annotations

from tests.unit.audit.conftest import keys, log, world

__all__ = ["keys", "log", "world"]

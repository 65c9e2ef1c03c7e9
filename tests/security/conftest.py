"""The gate's world, on both databases."""

from __future__ import annotations

from tests.unit.gate.conftest import gate_template, pg, sqlite, world

__all__ = ["gate_template", "pg", "sqlite", "world"]

"""The policy's planes: what Vault and PostgreSQL are told, whether they were, and whether they still do it."""

from __future__ import annotations

from vaultstore.planes.plan import Cell, Change, Difference, Plane, Probe

__all__ = ["Cell", "Change", "Difference", "Plane", "Probe"]

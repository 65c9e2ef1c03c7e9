"""A gate on PostgreSQL, and another login that may call its functions."""

from __future__ import annotations

from tests.integration.gate.conftest import pg, service

__all__ = ["pg", "service"]

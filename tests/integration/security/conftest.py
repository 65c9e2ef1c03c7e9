"""A gate on PostgreSQL with another login that may call its functions, and a deployed store in both modes."""

from __future__ import annotations

from tests.integration.gate.conftest import pg, service
from tests.integration.security.raw import raw_place

__all__ = ["pg", "raw_place", "service"]

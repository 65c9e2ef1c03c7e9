"""The test kit: real servers of one's own, for tests of whatever is built on vaultstore."""

from __future__ import annotations

from vaultstore.testing.openbao import OpenBaoServer
from vaultstore.testing.postgres import PostgresServer

__all__ = ["OpenBaoServer", "PostgresServer"]

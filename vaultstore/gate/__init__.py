"""The gate: disclose, seal, search; its steps for SQLite and for PostgreSQL."""

from __future__ import annotations

from vaultstore.gate.gate import Gate
from vaultstore.gate.held import HeldGrants
from vaultstore.gate.ledger import Ledger
from vaultstore.gate.opened import OpenGrant
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.gate.protocol import Disclosed, KeyNeed, KeyRef, Sealed, Searched
from vaultstore.gate.sqlite import SqliteLedger

__all__ = [
    "Disclosed",
    "Gate",
    "HeldGrants",
    "KeyNeed",
    "KeyRef",
    "Ledger",
    "OpenGrant",
    "PostgresLedger",
    "Sealed",
    "Searched",
    "SqliteLedger",
]

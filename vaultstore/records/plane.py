"""The PostgreSQL plane as its database states it: names of its roles, and whether tickets are demanded."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from vaultstore.records.base import GATE, Instant, metadata

__all__ = ["CLAIMS", "RolePlane", "vs_plane", "vs_ticket_keys"]

CLAIMS = "vaultstore.claims"
"""The setting that holds a transaction's claims, JSON text as `gate.Claims.json` makes it, ticket included."""

vs_plane = sa.Table(
    "vs_plane",
    metadata,
    sa.Column("prefix", sa.String(16), primary_key=True),
    sa.Column("strict", sa.Boolean, nullable=False),
    sa.Column("applied_at", Instant, nullable=False),
    info=GATE,
)
"""One row where the plane is applied, none where it is not. Nobody but the owner reads or writes it."""

vs_ticket_keys = sa.Table(
    "vs_ticket_keys",
    metadata,
    sa.Column("kid", sa.String(36), primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    info=GATE,
)
"""Keys that tickets are MAC'd with (32 bytes each); the newest makes new ones. Nobody but the owner reads them."""


@dataclass(frozen=True, slots=True)
class RolePlane:
    """Names of a store's PostgreSQL roles. `prefix` belongs to one store in a cluster."""

    prefix: str = "vs_"
    strict: bool = False

    def role(self, purpose: str) -> str:
        """NOLOGIN role of a purpose: its rights on columns and rows."""
        return f"{self.prefix}p_{purpose}"

    def login(self, service: str) -> str:
        """Login of a service: it may take the roles of its purposes, and inherits nothing of them."""
        return f"{self.prefix}s_{service}"

    @property
    def owner(self) -> str:
        """NOLOGIN owner of every table and function."""
        return f"{self.prefix}owner"

    @property
    def scopes(self) -> str:
        """NOLOGIN owner of the views behind row scopes: it reads what they are decided by."""
        return f"{self.prefix}scopes"

    @property
    def issuer(self) -> str:
        """Login of the token issuer: it may have tickets made, and nothing else."""
        return f"{self.prefix}issuer"

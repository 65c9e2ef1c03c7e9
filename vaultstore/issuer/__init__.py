"""The token issuer as a process of its own, and the client that services ask it with."""

from __future__ import annotations

from vaultstore.issuer.client import IssuerClient

__all__ = ["IssuerClient"]

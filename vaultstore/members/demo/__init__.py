"""The demo: a store of made-up members, seen by everyone who works with it, and the abuses that it refuses."""

from __future__ import annotations

from vaultstore.members.demo.play import Setting, run

__all__ = ["Setting", "run"]

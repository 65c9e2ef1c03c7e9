"""The exposé as a script: every abuse attempted the way it was done, every promise shown to be kept."""

from __future__ import annotations

from vaultstore.members.scenario.play import Setting, run

__all__ = ["Setting", "run"]

"""``python -m vaultstore``."""

from __future__ import annotations

from vaultstore.cli import main

main(prog_name="vaultstore")

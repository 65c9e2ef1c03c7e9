"""One step of a move in a process of its own, in small chunks: to be killed."""

from __future__ import annotations

from pathlib import Path

from tests.support.legacy import MOVER, NAME, POLICY, Base
from vaultstore import LocalKeys, Policy, Store
from vaultstore.lifecycle import moves_table, moves_work

_CHUNK = 10


def main(url: str, key_file: str, step: str, ready: str) -> None:
    """Open the store, say so, and take the step."""
    moves_table.CHUNK = moves_work.CHUNK = _CHUNK  # type: ignore[misc] # as many chances to be killed as can be
    with (
        LocalKeys.open(Path(key_file)) as keys,
        Store.open(url, keys=keys, policy=Policy.parse(POLICY), models=Base) as store,
    ):
        token = store.issue(MOVER, "maintenance.moving")
        Path(ready).touch()
        getattr(store.moves, step)(NAME, token, workers=2)

"""Another process on the same store: erases the subjects that it is told, and says when each is done."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.gate.world import postgres_world, sqlite_world


def main(dialect: str, where: str) -> None:
    with sqlite_world(Path(where)) if dialect == "sqlite" else postgres_world(where) as world:
        print("ready", flush=True)
        for line in sys.stdin:
            world.subjects.erase(bytes.fromhex(line.strip()), reason="asked")
            print(line.strip(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

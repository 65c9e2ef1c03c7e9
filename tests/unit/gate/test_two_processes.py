"""Two processes on one store: what one erases the other neither reads nor writes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gate.world import World
from vaultstore.errors import SubjectErased

ROOT = Path(__file__).parents[3]


@pytest.fixture
def eraser(world: World) -> Iterator[subprocess.Popen[str]]:
    if world.dialect == "sqlite":
        where = str(Path(world.gate_engine.url.database or "").parent)
    else:
        where = world.gate_engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.unit.gate.other_process", world.dialect, where]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_what_another_process_erases_is_neither_read_nor_written(world: World, eraser: subprocess.Popen[str]) -> None:
    assert eraser.stdin is not None
    assert eraser.stdout is not None
    members = world.members(8, "contact", by="register")
    opened = world.open("register")
    for member in members:
        erased = threading.Event()

        def wait(expected: str = member.hex(), erased: threading.Event = erased) -> None:
            assert eraser.stdout is not None
            assert eraser.stdout.readline().strip() == expected
            erased.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        eraser.stdin.write(member.hex() + "\n")
        eraser.stdin.flush()
        over = False
        for _ in range(10_000):
            over = erased.is_set()  # asked before the request: one that begins after the erasure must be refused
            read = bool(world.disclose(opened, [member], "contact").keys)
            try:
                world.seal(opened, [("contact", member, b"")])
            except SubjectErased:
                written = False
            else:
                written = True
            assert not (over and (read or written))
            if over:
                break
        waiting.join(timeout=30)
        assert over
    assert world.rows("vs_keyring") == 0

"""What the page on moving in shows is run, and what it says comes of it does come of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.guide import blocks, files, program

PAGE = (Path(__file__).parents[2] / "docs" / "moving-in.md").read_text(encoding="utf-8")


def test_every_block_runs_and_every_claim_holds(tmp_path: Path) -> None:
    files(PAGE, tmp_path)
    (tmp_path / "moving_in_program.py").write_text(program(PAGE), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "moving_in_program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    left = b"".join(path.read_bytes() for path in tmp_path.glob("members.db*"))
    assert b"1380000" not in left
    assert b"1390000" not in left


def test_every_block_of_python_is_closed_and_seen() -> None:
    assert PAGE.count("```python\n") == len(blocks(PAGE, "python"))

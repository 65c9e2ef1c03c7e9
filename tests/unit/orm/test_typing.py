"""mypy --strict over the sample, and that it would notice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "typing" / "sample.py"


def mypy(path: Path, cache: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(cache), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SAMPLE.parents[2])
    return done.stdout + done.stderr


def test_a_type_checker_sees_the_plain_types(tmp_path: Path) -> None:
    cache = SAMPLE.parents[2] / ".mypy_cache"
    assert mypy(SAMPLE, cache) == ""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(SAMPLE.read_text().replace('member.phone = "13812345678"', "member.phone = 5"))
    assert "Incompatible types in assignment" in mypy(wrong, cache)

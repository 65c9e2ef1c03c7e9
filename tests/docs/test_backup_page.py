"""The page on backups: its restore runs from the first line to the last, and the erased member stays erased."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from vaultstore.cli.store import open_store

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "backup.md").read_text(encoding="utf-8")
ERASED = "76cc0573-08ec-479a-a025-33dc0a68013d"


def test_the_restore_on_the_page_runs_and_the_erased_member_stays_erased(tmp_path: Path) -> None:
    shown = [
        line[2:]
        for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    lines = (ROOT / "tests" / "data" / "members.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "members.csv").write_text("".join(lines[:10]), encoding="utf-8")
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-euo", "pipefail"],
        input="\n".join(shown),
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "the store does not open: not applied: 1 of the journal's lines" in done.stderr
    assert "erase: 1 applied" in done.stdout
    assert "THE AUDIT LOG LOST ENTRIES" in done.stdout
    assert re.search(r"^[1-9]\d* keys refused: their members are erased$", done.stdout, re.M)
    with open_store(tmp_path / "shop") as store:
        assert store.subjects.state(uuid.UUID(ERASED)) == "erased"

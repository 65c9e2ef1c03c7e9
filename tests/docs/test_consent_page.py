"""The page on consent and restriction: its commands run from the first to the last, and its policy loads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from vaultstore.cli.store import open_store
from vaultstore.policy.load import load_texts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "consent-and-restriction.md").read_text(encoding="utf-8")
MEMBER = uuid.UUID("030a7221-657e-48bc-95ef-5783f83815f5")


def test_the_commands_on_the_page_run_and_do_what_it_says(tmp_path: Path) -> None:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
    shown = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
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
    assert "030a7221-657e-48bc-95ef-5783f83815f5 no longer consents to matchmaking" in done.stdout
    assert "disputes her age" in done.stdout
    with open_store(tmp_path / "shop") as store:
        assert [change.state for change in store.subjects.history(MEMBER)][:3] == ["active", "restricted", "active"]
        assert any(consent.evidence == "form 4711" for consent in store.consents.history(MEMBER))


def test_the_policy_on_the_page_loads() -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    rules = load_texts([("page", text.encode())])
    assert rules.categories["contact"].consent == "phone_consent"

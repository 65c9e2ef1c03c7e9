"""What the README shows is run, and what it links to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README shows no {language}"
    return found[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the README's policy and program in it."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "members.yaml").write_text(block("yaml"), encoding="utf-8")
    (tmp_path / "app.py").write_text(block("python"), encoding="utf-8")
    return tmp_path


def run(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py"], cwd=project, capture_output=True, text=True, timeout=60, encoding="utf-8"
    )


def test_the_example_prints_what_it_says(project: Path) -> None:
    done = run(project)
    assert (done.returncode, done.stdout, done.stderr) == (0, "上海 *******5678\n", "")


def test_the_number_is_in_no_file_that_the_example_leaves(project: Path) -> None:
    run(project)
    files = [p for p in project.iterdir() if p.suffix in {".db", ".json"} or "-wal" in p.name]
    assert {p.name for p in files} >= {"members.db", "gate.db", "keys.json"}
    for path in files:
        content = path.read_bytes()
        assert b"1234 5678" not in content
        assert b"12345678" not in content


def test_what_the_readme_says_is_denied_is_denied(project: Path) -> None:
    denied = 'store.issue(Actor("u-17", role="matchmaker"), purpose="registration")'
    assert denied in README
    with (project / "app.py").open("a", encoding="utf-8") as file:
        file.write(f"\n{denied}\n")
    assert "vaultstore.errors.IssueDenied" in run(project).stderr


@pytest.mark.parametrize("page", sorted({"README.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md"))}))
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not link.startswith(("http:", "https:", "mailto:")):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"

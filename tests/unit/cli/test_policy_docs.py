"""docs/policy.md leads a purpose from the idea to a published policy: each step is done here, in its order."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from vaultstore.cli import main

from .conftest import Run
from .test_policy_diff import edit, git

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "policy.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ vaultstore (policy .*)$|^vaultstore (policy .*)$|`vaultstore (policy [^`]*)`", PAGE, re.M)
[(WHERE, PURPOSE)] = re.findall(r"^```yaml (\S+)\n(.*?)^```", PAGE, re.M | re.S)


def block(command: str) -> list[str]:
    """What the page shows under a command."""
    shown = re.search(rf"^\$ vaultstore {re.escape(command)}\n(.*?)^(?:```|\$ )", PAGE, re.M | re.S)
    assert shown is not None
    return shown[1].splitlines()


@pytest.mark.parametrize("line", sorted({next(filter(None, found)) for found in COMMANDS}))
def test_a_command_on_the_page_exists_and_takes_its_options(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    group = main.get_command(click.Context(main), "policy")
    assert isinstance(group, click.Group)
    command = group.get_command(click.Context(group), words[1])
    assert command is not None, line
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


@pytest.fixture(scope="module")
def repository(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's folder as a repository with the shipped policy on `main`."""
    folder = tmp_path_factory.mktemp("walk") / "store"
    assert run("init", "--dir", folder).exit_code == 0
    shutil.rmtree(folder / "policies")
    shutil.copytree(ROOT / "policies", folder / "policies")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "policies")
    git(folder, "commit", "-qm", "The policy as it is")
    return folder


def test_the_walk_ends_in_a_published_policy(run: Run, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    (repository / WHERE).write_text(PURPOSE, "utf-8")
    first = run("policy", "check")
    assert first.exit_code == 0, first.output
    assert first.stdout.splitlines()[:-1] == block("policy check")

    edit(repository, "services.yaml", "purposes: [relay.telephony,", "purposes: [safety.warning, relay.telephony,")
    edit(
        repository,
        "purposes/safety.yaml",
        "approves: [safety.investigation",
        "approves: [safety.warning, safety.investigation",
    )
    assert "0 warnings" in run("policy", "check").stdout

    explain = next(line for line in PAGE.splitlines() if line.startswith("$ vaultstore policy explain"))
    told = run(*shlex.split(explain)[2:]).stdout.splitlines()
    for line, shown in zip(told, block(explain.removeprefix("$ vaultstore ")), strict=False):
        assert line.startswith(shown)

    wider = run("policy", "diff", "main")
    assert wider.exit_code == 2
    found = [line for line in wider.stdout.splitlines() if not line[:1].isdigit()]
    for line in block("policy diff main"):
        assert any(each.startswith(line) for each in found), line
    assert len(found) == len(block("policy diff main"))
    assert run("policy", "diff", "main", "--allow-widening").exit_code == 0

    for words in ("compile --out compiled", "apply --dry-run", "apply --yes", "verify", "publish", "schema"):
        result = run("policy", *words.split())
        assert result.exit_code == 0, (words, result.output)
    subject = "76cc0573-08ec-479a-a025-33dc0a68013d"
    asked = run("policy", "explain", "--purpose", "safety.warning", "--field", "Member.phone", "--subject", subject)
    assert "subject.unknown" in asked.stdout

    subprocess.run(["git", "-C", repository, "checkout", "-q", "main", "--", "policies"], check=True)
    (repository / WHERE).unlink()
    assert run("policy", "diff", "main").stdout == "nothing changed\n"
    assert run("policy", "apply", "--yes").exit_code == 0
    assert run("policy", "verify").exit_code == 0

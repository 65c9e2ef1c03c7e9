"""The page on the command line: every command on it exists, every option of ours is on it, and its examples run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from vaultstore.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
SHOWN = [line[2:] for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()
         if line.startswith("$ ")]  # fmt: skip


def leaves(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, *path, name)
    else:
        yield path, command


COMMANDS = dict(leaves(main))


def called(line: str) -> tuple[tuple[str, ...], list[str]]:
    """The command that a line calls, and the words after it."""
    words = shlex.split(re.search(r"vaultstore ([^|)]*)", line)[1])  # type: ignore[index] # fails where there is none
    path = next((path for path in COMMANDS if tuple(words[: len(path)]) == path), None)
    assert path is not None, f"no such command: {line}"
    return path, words[len(path) :]


@pytest.mark.parametrize("line", SHOWN)
def test_a_shown_command_exists_and_takes_its_options(line: str) -> None:
    path, words = called(line)
    known = {option for parameter in COMMANDS[path].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-") and word != "-"} <= known


def test_every_command_is_shown() -> None:
    assert {called(line)[0] for line in SHOWN} == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_is_named_on_the_page(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option):
            assert any(option in PAGE for option in parameter.opts), parameter.opts


def test_every_option_that_the_page_names_exists() -> None:
    known = {option for command in (main, *COMMANDS.values()) for p in command.params for option in p.opts}
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.M | re.S)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", prose)) <= known


@pytest.mark.soak  # ninety processes
def test_the_examples_run_in_order(tmp_path: Path) -> None:
    lines = (ROOT / "tests" / "data" / "members.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "members.csv").write_text("".join(lines[:40]), encoding="utf-8")
    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-euo", "pipefail"],
        input="\n".join(SHOWN),
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=900,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    shown = set(re.findall(r"^[│┃].*[│┃]$|^ok: |^error: .*$", done.stdout + done.stderr, re.M))
    assert "│ phone [contact]           │ care_card s │ sales_card │" in shown

"""The group: help at once, and whatever goes wrong as one line with an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from sqlalchemy.exc import IntegrityError

from vaultstore import cli
from vaultstore.cli import main
from vaultstore.cli.common import failure_of
from vaultstore.errors import BudgetExhausted, PolicyError, TokenInvalid, VaultstoreError

from .conftest import Run

COMMANDS = ("init", "demo", "members", "token", "policy", "show")


def test_help_names_every_command_and_imports_none_of_them() -> None:
    script = (
        "import sys\n"
        "from vaultstore.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name.startswith('vaultstore.cli.')])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    help_text, _, imported = done.stdout.rstrip().rpartition("\n")
    assert all(f"  {command} " in help_text for command in COMMANDS)
    assert imported == "['vaultstore.cli.common']"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_loads_and_has_help(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: main {command}")
    summary = cli._COMMANDS[command][1]
    assert summary.endswith(".")


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    result = run("shwo")
    assert result.exit_code == 2
    assert "No such command 'shwo'" in result.stderr


def test_python_m_vaultstore_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "vaultstore", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vaultstore ")


def failing(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def result_of(error: Exception, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, BaseException | None]:
    monkeypatch.setattr(cli._Main, "get_command", lambda self, ctx, name: failing(error))
    result = CliRunner().invoke(main, ["init"])
    assert result.stdout == ""
    return result.exit_code, result.stderr, result.exception


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TokenInvalid("forged"), "error: forged\n"),
        (PolicyError("no such word", file="p.yaml", line=3, column=9), "error: p.yaml:3:9: no such word\n"),
        (BudgetExhausted("used up", reason="budget.exhausted"), "error: used up\n"),
        (VaultstoreError("two\nlines"), "error: two lines\n"),
        (VaultstoreError("\x1b[2Jcleared"), "error: \\x1b[2Jcleared\n"),
        (VaultstoreError(), "error: VaultstoreError\n"),
        (click.ClickException("as click says it"), "error: as click says it\n"),
        (PermissionError(13, "Permission denied", "keys.json"), "error: keys.json: Permission denied\n"),
        (
            ModuleNotFoundError("x", name="psycopg"),
            "error: psycopg is not installed: pip install 'vaultstore[postgres]'\n",
        ),
    ],
)
def test_an_error_is_one_line_and_exit_code_one(error: Exception, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown, _ = result_of(error, monkeypatch)
    assert (code, shown) == (1, line)


def test_a_database_error_shows_no_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    error = IntegrityError("insert into members values (?)", {"phone": "13800000000"}, ValueError("13800000000"))
    code, shown, _ = result_of(error, monkeypatch)
    assert (code, shown) == (1, "error: the database failed (ValueError)\n")


def test_the_cause_of_an_error_is_not_shown_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, raised = result_of(TokenInvalid("forged"), monkeypatch)
    assert raised is not None
    assert raised.__cause__ is None


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    assert failure_of(RuntimeError("a bug")) is None
    assert failure_of(ModuleNotFoundError("x", name="vaultstore.nowhere")) is None


def test_errors_are_red_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli._Main, "get_command", lambda self, ctx, name: failing(TokenInvalid("forged")))
    assert CliRunner().invoke(main, ["init"], color=True).stderr == "\x1b[31merror: forged\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(main, ["init"], color=True).stderr == "error: forged\n"


def test_a_command_that_needs_a_store_says_how_to_get_one(run: Run, tmp_path: Path) -> None:
    result = run("token", "issue", "--dir", tmp_path, "--actor", "u", "--role", "r", "--purpose", "p")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "vaultstore init" in result.stderr

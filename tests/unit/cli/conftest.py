"""One embedded store for the commands that only look at it, and a way to run commands as a shell would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vaultstore.cli import main

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _no_token_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAULTSTORE_TOKEN", raising=False)


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a command line; `stdin` is what is piped into it."""

    def invoke(*arguments: object, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return invoke


@pytest.fixture(scope="session")
def made(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a store that `vaultstore init` made. Look, don't change."""
    folder = tmp_path_factory.mktemp("cli") / "store"
    result = run("init", "--dir", folder)
    assert result.exit_code == 0, result.output
    return folder

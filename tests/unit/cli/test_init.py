"""``vaultstore init`` makes a whole store or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultstore.cli.store import open_store
from vaultstore.errors import PolicyError
from vaultstore.members import schema
from vaultstore.settings import Settings

from .conftest import Run


def test_init_makes_a_store_that_opens(made: Path) -> None:
    assert {"vaultstore.toml", "keys.json", "policies", "members.db", "gate.db"} <= {
        part.name for part in made.iterdir()
    }
    with open_store(made) as store:
        assert "sales.outreach" in store.policy.purposes


def test_a_new_store_knows_which_migration_it_stands_at(made: Path) -> None:
    with schema.targets_of(f"sqlite:///{made / 'members.db'}") as targets:
        schema.check(targets)


def test_keys_and_folder_are_the_owners_alone(made: Path) -> None:
    assert (made / "keys.json").stat().st_mode & 0o777 == 0o600
    assert made.stat().st_mode & 0o777 == 0o700


def test_init_says_what_to_do_next(run: Run, tmp_path: Path) -> None:
    result = run("init", "--dir", tmp_path / "new")
    assert result.exit_code == 0
    assert f"vaultstore members import --dir {tmp_path / 'new'} FILE.csv" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("part", ["vaultstore.toml", "keys.json", "policies", "members.db", "gate.db"])
def test_init_overwrites_nothing(run: Run, tmp_path: Path, part: str) -> None:
    (tmp_path / part).write_text("mine")
    result = run("init", "--dir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path / part} is already there: nothing was touched\n"
    assert [part.name for part in tmp_path.iterdir()] == [part]
    assert (tmp_path / part).read_text() == "mine"


def test_init_twice_leaves_the_first_store_alone(run: Run, made: Path) -> None:
    before = (made / "keys.json").read_bytes()
    assert run("init", "--dir", made).exit_code == 1
    assert (made / "keys.json").read_bytes() == before


def test_an_init_that_fails_leaves_nothing_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Settings) -> Path:
        raise PolicyError("too late")

    monkeypatch.setattr(Settings, "save", fail)
    (tmp_path / "notes.txt").write_text("mine")
    result = run("init", "--dir", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "error: too late\n")
    assert [part.name for part in tmp_path.iterdir()] == ["notes.txt"]

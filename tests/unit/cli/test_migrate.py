"""A move from the command line: each step says what it did and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.legacy import CALLER, MOVER, NAME, POLICY, drop_column, moving_store, number, raw, sqlite_url
from vaultstore import LocalKeys
from vaultstore.settings import Settings

from .conftest import Run

ROWS = 12


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A store over a table of an old application's, with its encrypted columns added."""
    (tmp_path / "policy.yaml").write_text(POLICY, encoding="utf-8")
    Settings(folder=tmp_path, models="tests.support.legacy:Base", policy="policy.yaml").save()
    with LocalKeys.open(tmp_path / "keys.json") as keys, moving_store(sqlite_url(tmp_path), keys, rows=ROWS):
        yield tmp_path


@pytest.fixture
def token(folder: Path, run: Run) -> Callable[..., str]:
    def issue(actor: str = MOVER.id, role: str = "mover", purpose: str = "maintenance.moving") -> str:
        result = run("token", "issue", "--dir", folder, "--actor", actor, "--role", role, "--purpose", purpose)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    return issue


def test_a_move_from_start_to_drop(folder: Path, run: Run, token: Callable[..., str]) -> None:
    given = ("--dir", folder, NAME)
    result = run("migrate", "start", *given)
    assert result.stdout.splitlines() == [
        f"clients.phone is on its way to phone_sealed: {ROWS} rows to seal",
        f"next is `vaultstore migrate backfill {NAME}`",
    ]
    result = run("migrate", "backfill", *given, "--token", "-", "--workers", "2", stdin=token())
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith(f"{ROWS} sealed")
    result = run("migrate", "verify", *given, "--token", token())
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{ROWS} rows: each opens to what its plaintext holds")
    result = run("migrate", "status", *given)
    assert f"{NAME}: verified (clients.phone -> phone_sealed)" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(f"next is `vaultstore migrate cutover {NAME}`")
    result = run("migrate", "cutover", *given, "--token", token(), "--workers", "2")
    assert result.exit_code == 0, result.output
    result = run("migrate", "drop", *given, "--token", token())
    assert result.exit_code == 0, result.output
    assert "note: backups made until today hold the plaintext" in result.stdout
    assert result.stdout.splitlines()[-1].startswith(
        "drop the column with op.drop_plaintext_column('clients', 'phone')"
    )
    engine = sa.create_engine(sqlite_url(folder))
    assert len(raw(engine)) == ROWS
    drop_column(engine)
    engine.dispose()


@pytest.mark.parametrize("step", ["backfill", "verify", "cutover", "drop", "status"])
def test_a_step_before_the_first_says_what_is_the_first(
    folder: Path, run: Run, token: Callable[..., str], step: str
) -> None:
    more = () if step == "status" else ("--token", token())
    result = run("migrate", step, "--dir", folder, NAME, *more)
    assert result.exit_code == 1
    assert result.stderr.strip() == f"error: {NAME} was not started: vaultstore migrate start {NAME}"


def test_steps_out_of_order_are_refused_and_say_what_is_due(folder: Path, run: Run, token: Callable[..., str]) -> None:
    assert run("migrate", "start", "--dir", folder, NAME).exit_code == 0
    for step in ("verify", "cutover", "drop", "start"):
        more = () if step == "start" else ("--token", token())
        result = run("migrate", step, "--dir", folder, NAME, *more)
        assert result.exit_code == 1
        assert f"next is `vaultstore migrate backfill {NAME}`" in result.stderr


def test_rows_that_can_not_be_sealed_are_listed_and_end_with_1(
    folder: Path, run: Run, token: Callable[..., str]
) -> None:
    engine = sa.create_engine(sqlite_url(folder))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE clients SET phone = 'ask the boss' WHERE phone = ?", (number(3),))
    assert run("migrate", "start", "--dir", folder, NAME).exit_code == 0
    for step in ("backfill", "verify"):
        result = run("migrate", step, "--dir", folder, NAME, "--token", token())
        assert result.exit_code == 1
        [bad] = [key for key, row in raw(engine).items() if row[1] is None]
        assert bad.hex in result.stderr
        assert "boss" not in result.output
    engine.dispose()


@pytest.mark.parametrize(("name", "error"), [
    ("Client", "names no encrypted field: give it as Model.field"),
    ("Client.city", "names no encrypted field"),
    ("Nobody.phone", "names no encrypted field"),
])  # fmt: skip
def test_what_is_no_field_is_told(folder: Path, run: Run, name: str, error: str) -> None:
    result = run("migrate", "start", "--dir", folder, name)
    assert result.exit_code == 1
    assert error in result.stderr


def test_a_field_that_replaces_nothing_is_told_how_to(made: Path, run: Run) -> None:
    result = run("migrate", "start", "--dir", made, "Member.phone")
    assert result.exit_code == 1
    assert "declare phone: Encrypted[...] = encrypted_column(..., replaces='...')" in result.stderr


def test_a_token_of_another_purpose_is_refused(folder: Path, run: Run, token: Callable[..., str]) -> None:
    assert run("migrate", "start", "--dir", folder, NAME).exit_code == 0
    caller = token(CALLER.id, "caller", "calls")
    result = run("migrate", "backfill", "--dir", folder, NAME, "--token", caller)
    assert result.exit_code == 1
    assert "calls" in result.stderr
    assert run("migrate", "backfill", "--dir", folder, NAME).exit_code == 2  # no token

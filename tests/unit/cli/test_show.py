"""``vaultstore show``: one member, as each purpose sees them."""

from __future__ import annotations

import json
import shutil
import uuid
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from vaultstore import Actor
from vaultstore.cli.store import open_store
from vaultstore.members.models import Member

from .conftest import Run

ANNA, BO = uuid.UUID(int=0xA), uuid.UUID(int=0xB)


@pytest.fixture(scope="session")
def peopled(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two members, one of whom has consented to be advised."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("peopled") / "store"))
    with open_store(folder) as store:
        token = store.issue(Actor("registrar-1", "registrar"), "registration")
        with store.begin(token) as session:
            session.add_all(_member(subject) for subject in (ANNA, BO))
        store.consents.grant(ANNA, "matchmaking", notice_version="1")
    return folder


def _member(subject: uuid.UUID) -> Member:
    return Member(
        id=subject,
        nickname="小\x1b[31m安",
        gender="f",
        city="上海",
        store="sh-01",
        grade="A",
        name="欧阳安娜",
        phone="13812345678",
        birth_date=date(1990, 5, 17),
        monthly_income=Decimal("12345.67"),
    )


def token_for(run: Run, folder: Path, *options: str) -> str:
    result = run("token", "issue", "--dir", folder, *options)
    assert result.exit_code == 0, result.stderr
    return str(result.stdout).strip()


@pytest.fixture(scope="session")
def own(run: Run, peopled: Path) -> str:
    return token_for(run, peopled, "--actor", str(ANNA), "--role", "member", "--purpose", "member.self")


@pytest.fixture(scope="session")
def manager(run: Run, peopled: Path) -> str:
    options = ("--actor", "m-1", "--role", "store_manager", "--purpose", "sales.manage", "--attr", "store=sh-01")
    return token_for(run, peopled, *options)


def shown(run: Run, folder: Path, token: str, member: uuid.UUID = ANNA) -> dict[str, dict[str, Any]]:
    result = run("show", "--json", "--dir", folder, "--token", token, member)
    assert result.exit_code == 0, result.stderr
    return {line["field"]: line for line in json.loads(result.stdout)}


def test_a_member_sees_their_own_data_in_clear(run: Run, peopled: Path, own: str) -> None:
    fields = shown(run, peopled, own)
    assert (fields["phone"]["seen"], fields["phone"]["how"]) == ("13812345678", "clear")
    assert fields["birth_date"]["seen"] == "1990-05-17"
    assert fields["monthly_income"]["seen"] == "12345.67"
    assert (fields["email"]["seen"], fields["email"]["how"]) == (None, "clear")
    assert "short" not in fields["email"]
    assert (fields["city"]["seen"], fields["city"]["how"]) == ("上海", "open")


def test_a_manager_sees_the_card_and_why(run: Run, peopled: Path, manager: str) -> None:
    fields = shown(run, peopled, manager)
    assert fields["phone"]["how"] == "masked"
    assert fields["phone"]["seen"].endswith("5678")
    assert "138" not in fields["phone"]["seen"]
    assert "sales_card" in fields["phone"]["why"]
    assert (fields["wechat"]["seen"], fields["wechat"]["how"]) == (None, "masked")
    assert (fields["id_number"]["how"], fields["id_number"]["seen"]) == ("denied", None)
    assert "sales.manage reads sales_card" in fields["id_number"]["why"]


def test_columns_that_carry_masks_and_digests_are_not_shown_as_fields(run: Run, peopled: Path, own: str) -> None:
    assert not [name for name in shown(run, peopled, own) if name.endswith(("_card", "_bidx"))]


def test_without_consent_the_gate_says_why(run: Run, peopled: Path, manager: str) -> None:
    phone = shown(run, peopled, manager, BO)["phone"]
    assert phone["how"] == "denied"
    assert "consent" in phone["why"]


def test_the_table_is_plain_in_a_pipe_and_commands_no_terminal(run: Run, peopled: Path, own: str) -> None:
    result = run("show", "--dir", peopled, "--token", own, ANNA)
    assert result.exit_code == 0
    assert f"Member {ANNA} as member.self sees them" in result.stdout
    row = next(line for line in result.stdout.splitlines() if " phone " in line)
    assert "13812345678" in row
    assert "clear" in row
    assert "\x1b" not in result.stdout
    assert "小\\x1b[31m安" in result.stdout


def test_the_token_comes_from_stdin_or_the_environment(
    run: Run, peopled: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("show", "--dir", peopled, "--token", "-", ANNA, stdin=f"{own}\n").exit_code == 0
    assert run("show", "--dir", peopled, ANNA).exit_code == 2
    monkeypatch.setenv("VAULTSTORE_TOKEN", own)
    assert run("show", "--dir", peopled, ANNA).exit_code == 0


def test_another_member_is_not_seen_at_all(run: Run, peopled: Path, own: str) -> None:
    result = run("show", "--dir", peopled, "--token", own, BO)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: member.self sees no Member {BO}\n"


@pytest.mark.parametrize("token", ["x", "a.b.c", "x" * 9000])
def test_a_token_that_is_none_is_one_line_without_it(run: Run, peopled: Path, token: str) -> None:
    result = run("show", "--dir", peopled, "--token", token, ANNA)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert token == "x" or token not in result.stderr


def test_wrong_arguments_are_usage_errors(run: Run, peopled: Path, own: str) -> None:
    assert run("show", "--dir", peopled, "--token", own, "anna").exit_code == 2
    assert run("show", "--dir", peopled, "--token", own).exit_code == 2


def test_an_unknown_model_names_those_there_are(run: Run, peopled: Path, own: str) -> None:
    result = run("show", "--dir", peopled, "--token", own, "--model", "Person", ANNA)
    assert result.exit_code == 1
    assert "there is no model 'Person'; there are: ChatMessage" in result.stderr

"""``vaultstore token issue`` and ``inspect``."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from .conftest import Run

ISSUE = ("token", "issue", "--actor", "u-17", "--role", "matchmaker", "--purpose", "sales.pool")
MEMBER = "018df9a0-0000-7000-8000-00000000000a"


@pytest.fixture
def token(run: Run, made: Path) -> str:
    result = run(*ISSUE, "--dir", made, "--attr", "store=上海一店", "--ttl", "5m")
    assert (result.exit_code, result.stderr) == (0, "")
    return str(result.stdout)


def test_issue_prints_the_token_and_nothing_else(token: str) -> None:
    assert token.count("\n") == 1
    assert token.strip().count(".") == 2
    assert " " not in token


def test_issue_passes_everything_on(run: Run, made: Path) -> None:
    command = ("token", "issue", "--dir", made, "--actor", "t-1", "--role", "telephony", "--purpose", "relay.telephony")
    token = run(*command, "--subject", MEMBER, "--case", "c-1", "--ttl", "30s", "--attr", "a=1", "--attr", "b=2").stdout
    claims = json.loads(run("token", "inspect", "--json", "--dir", made, stdin=token).stdout)["claims"]
    assert claims["subjects"] == [MEMBER]
    assert claims["case"] == "c-1"
    assert claims["attrs"] == {"a": "1", "b": "2"}
    assert claims["exp"] - claims["iat"] == 30


def test_a_denied_token_says_what_is_open(run: Run, made: Path) -> None:
    result = run("token", "issue", "--dir", made, "--actor", "u", "--role", "matchmaker", "--purpose", "chat.delivery")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "open to 'matchmaker': sales.city, sales.outreach, sales.pool" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("--subject", "anna"),
        ("--ttl", "soon"),
        ("--attr", "store"),
        ("--attr", "a=1", "--attr", "a=2"),
        ("--colour", "red"),
    ],
)
def test_a_wrong_option_is_a_usage_error(run: Run, made: Path, wrong: tuple[str, ...]) -> None:
    result = run(*ISSUE, "--dir", made, *wrong)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_inspect_verifies_where_the_store_is(run: Run, made: Path, token: str) -> None:
    result = run("token", "inspect", "--dir", made, stdin=token)
    assert result.exit_code == 0
    assert result.stdout.startswith("verified: ")
    for shown in ("sales.pool", "u-17", "上海一店", "EdDSA", "UTC)"):
        assert shown in result.stdout
    assert token.strip() not in result.stdout
    assert token.strip().rpartition(".")[2] not in result.stdout


def test_inspect_takes_the_token_as_an_argument_too(run: Run, made: Path, token: str) -> None:
    assert run("token", "inspect", "--dir", made, token.strip()).stdout.startswith("verified: ")


def test_inspect_without_a_store_says_that_nothing_was_verified(run: Run, tmp_path: Path, token: str) -> None:
    result = run("token", "inspect", "--dir", tmp_path, stdin=token)
    assert result.exit_code == 0
    assert result.stdout.startswith("not verified: ")
    assert json.loads(run("token", "inspect", "--json", "--dir", tmp_path, stdin=token).stdout)["verified"] is None
    assert [part.name for part in tmp_path.iterdir()] == []


def test_inspect_shows_a_forged_token_as_one(run: Run, made: Path, token: str) -> None:
    head, _, _ = token.strip().rpartition(".")
    forged = f"{head}.{'A' * 86}"
    result = run("token", "inspect", "--dir", made, stdin=forged)
    assert result.exit_code == 1
    assert result.stdout.startswith("NOT verified")
    assert result.stderr == "error: the token's signature does not verify\n"
    assert json.loads(run("token", "inspect", "--json", "--dir", made, stdin=forged).stdout)["verified"] is False


def test_inspect_shows_any_claim_whatever_its_type(run: Run, tmp_path: Path) -> None:
    claims = {"exp": 10**30, "iat": True, "attrs": [1, {"a": "\u001b[2J"}], "sub": "\u001b[2J", "x": None}
    token = ".".join(_b64(json.dumps(part)) for part in ({"alg": "none"}, claims, "signature"))
    result = run("token", "inspect", "--dir", tmp_path, stdin=token)
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert str(10**30) in result.stdout


def _b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("text", ["x", "a.b.c", "..", "é.é.é", "A" * 20_000])
def test_what_is_no_token_is_one_line(run: Run, made: Path, text: str) -> None:
    result = run("token", "inspect", "--dir", made, stdin=text)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert text not in result.stderr or len(text) == 1


def test_no_token_at_all_is_a_usage_error(run: Run, made: Path) -> None:
    assert run("token", "inspect", "--dir", made, stdin="\n").exit_code == 2

"""``vaultstore policy compile``, ``apply`` and ``verify``: what they show, ask and end with. Planes of their own make
tell what servers would; on an embedded store the library's plane is the real one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vaultstore.cli import opening, planes
from vaultstore.cli.opening import Planes
from vaultstore.errors import KeyServiceUnavailable
from vaultstore.planes import Cell, Change, Difference, Probe
from vaultstore.policy import Policy

from .conftest import Run


@dataclass
class Told:
    """A plane that says what a test has it say, and writes down that it was applied."""

    name: str
    log: list[str]
    changes: list[Change] = field(default_factory=list)
    found: Sequence[Difference] = ()
    tried: Sequence[Probe] = ()
    fails: Exception | None = None

    def compile(self) -> str:
        return f"{self.name}\n"

    def plan(self) -> Sequence[Change]:
        self.log.append(f"plan {self.name}")
        return self.changes

    def apply(self) -> Sequence[Change]:
        self.log.append(f"apply {self.name}")
        if self.fails is not None:
            raise self.fails
        return self.changes

    def differences(self) -> Sequence[Difference]:
        return self.found

    def probes(self) -> Iterator[Probe]:
        self.log.append(f"probe {self.name}")
        yield from self.tried


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> dict[str, Told]:
    """The three planes that the commands will open."""
    three = {name: Told(name, log) for name in ("vault", "postgres", "library")}
    three["vault"].changes = [
        Change("create", "Transit key vs-cat-contact", "derived"),
        Change("change", "JWT role sales.pool", "bound_claims"),
    ]
    three["library"].changes = [Change("remove", "purpose sales.old", "its tokens stop working")]

    @contextmanager
    def open_planes(*_: object) -> Iterator[Planes]:
        yield Planes(tuple(three.values()))

    monkeypatch.setattr(opening, "open_planes", open_planes)
    return three


def cell(where: str, *, expected: bool, found: bool) -> Probe:
    return Probe(Cell("sales.pool", where, "SELECT"), expected, found)


def edited(folder: Path) -> None:
    """Give one purpose another batch."""
    sales = next((folder / "policies").rglob("sales.yaml"))
    sales.write_text(sales.read_text().replace("batch: 50", "batch: 40", 1))


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Path:
    """A store of a test's own."""
    folder = tmp_path / "shop"
    assert run("init", "--dir", folder).exit_code == 0
    return folder


# ---------------------------------------------------------------------------------------------------- apply


@pytest.mark.usefixtures("told")
def test_the_plan_comes_first_with_its_counts(run: Run, made: Path, log: list[str]) -> None:
    result = run("policy", "apply", "--dir", made, "--yes")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:6] == [
        "vault: 2 changes (1 to create, 1 to change)",
        "  + Transit key vs-cat-contact: derived",
        "  ~ JWT role sales.pool: bound_claims",
        "postgres: nothing to do",
        "library: 1 change (1 to remove)",
        "  - purpose sales.old: its tokens stop working",
    ]
    assert log[:3] == ["plan vault", "plan postgres", "plan library"]
    assert "\x1b" not in result.stdout


@pytest.mark.usefixtures("told")
def test_the_policy_is_published_last(run: Run, made: Path, log: list[str]) -> None:
    run("policy", "apply", "--dir", made, "--yes")
    assert log[3:] == ["apply vault", "apply postgres", "apply library"]


@pytest.mark.usefixtures("told")
def test_a_dry_run_changes_nothing(run: Run, made: Path, log: list[str]) -> None:
    result = run("policy", "apply", "--dir", made, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "+ Transit key vs-cat-contact" in result.stdout
    assert [line for line in log if line.startswith("apply")] == []


@pytest.mark.usefixtures("told")
def test_nothing_is_applied_where_nobody_can_be_asked(run: Run, made: Path, log: list[str]) -> None:
    result = run("policy", "apply", "--dir", made)
    assert result.exit_code == 1
    assert "--yes" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [line for line in log if line.startswith("apply")] == []


@pytest.mark.parametrize(("answer", "applied"), [("y\n", 3), ("n\n", 0), ("\n", 0)])
@pytest.mark.usefixtures("told")
def test_only_a_yes_applies(
    run: Run, made: Path, log: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, applied: int
) -> None:
    monkeypatch.setattr(planes, "_interactive", lambda: True)
    result = run("policy", "apply", "--dir", made, stdin=answer)
    assert "Make 3 changes?" in result.stdout
    assert result.exit_code == (0 if applied else 1)
    assert len([line for line in log if line.startswith("apply")]) == applied


def test_where_there_is_nothing_to_do_nobody_is_asked(run: Run, made: Path, told: dict[str, Told]) -> None:
    for plane in told.values():
        plane.changes = []
    result = run("policy", "apply", "--dir", made)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("nothing to do") == 3


def test_a_failure_half_way_says_how_far_it_came_and_what_to_do(
    run: Run, made: Path, told: dict[str, Told], log: list[str]
) -> None:
    told["postgres"].fails = KeyServiceUnavailable("no answer")
    told["postgres"].changes = [Change("create", "role vs_owner")]
    result = run("policy", "apply", "--dir", made, "--yes")
    assert result.exit_code == 1
    assert "vault: 2 changes made" in result.stdout
    assert "error: postgres: no answer" in result.stderr
    assert "run `vaultstore policy apply` again" in result.stderr
    assert "apply library" not in log


def test_a_defect_half_way_keeps_its_traceback_and_says_what_to_do(run: Run, made: Path, told: dict[str, Told]) -> None:
    told["library"].fails = ZeroDivisionError()
    result = run("policy", "apply", "--dir", made, "--yes")
    assert isinstance(result.exception, ZeroDivisionError)
    assert "run `vaultstore policy apply` again" in result.stderr


def test_a_name_can_not_drive_the_terminal(run: Run, made: Path, told: dict[str, Told]) -> None:
    told["vault"].changes = [Change("create", "JWT role x\x1b[2J", "[red]y[/red]")]
    told["vault"].found = [Difference("different", "role \x1b[2J", "a\nb", "[bold]c")]
    shown = run("policy", "apply", "--dir", made, "--dry-run").stdout
    shown += run("policy", "verify", "--dir", made).stdout
    assert "\x1b" not in shown
    assert "[red]y[/red]" in shown
    assert "expected a\\nb, found [bold]c" in shown


@pytest.mark.usefixtures("told")
def test_a_policy_with_an_error_is_not_rolled_out(run: Run, shop: Path, log: list[str]) -> None:
    sales = next((shop / "policies").rglob("sales.yaml"))
    sales.write_text(
        sales.read_text().replace('field: phone, expect: "masked:sales_card"', "field: phone, expect: clear")
    )
    result = run("policy", "apply", "--dir", shop, "--yes")
    assert result.exit_code == 1
    assert "sales.yaml:" in result.stderr
    assert log == []


# ---------------------------------------------------------------------------------------------------- verify


def test_planes_that_agree_end_with_zero(run: Run, made: Path, told: dict[str, Told]) -> None:
    told["postgres"].tried = [cell("members.city", expected=True, found=True)]
    result = run("policy", "verify", "--dir", made)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert re.search(r"│ postgres +│ +1 │ +1 │ +0 │ +0 │ +0 │ ✓ │", result.stdout)
    assert "✗" not in result.stdout


@pytest.mark.parametrize("expected", [True, False], ids=["too closed", "too open"])
def test_one_cell_that_differs_ends_with_one_and_is_named(
    run: Run, made: Path, told: dict[str, Told], expected: bool
) -> None:
    told["postgres"].tried = [
        cell("members.city", expected=True, found=True),
        cell("members.phone", expected=expected, found=not expected),
    ]
    result = run("policy", "verify", "--dir", made)
    assert result.exit_code == 1
    verdict = "too closed" if expected else "too open"
    assert f"✗ postgres: sales.pool: SELECT members.phone is {verdict}: expected " in result.stdout
    assert result.stdout.count("✗ postgres: ") == 1
    assert result.stderr == "error: the planes are not what the policy says: 1 difference\n"


def test_one_fact_that_differs_ends_with_one_and_is_named(run: Run, made: Path, told: dict[str, Told]) -> None:
    told["vault"].found = [Difference("different", "config transit/keys", "disable_upsert true", "false")]
    result = run("policy", "verify", "--dir", made)
    assert result.exit_code == 1
    line = "✗ vault: config transit/keys is different: expected disable_upsert true, found false"
    assert line in result.stdout.splitlines()


def test_without_probes_only_facts_are_compared(run: Run, made: Path, told: dict[str, Told], log: list[str]) -> None:
    told["vault"].tried = [cell("x", expected=True, found=False)]
    result = run("policy", "verify", "--dir", made, "--no-probes")
    assert (result.exit_code, log) == (0, [])
    assert "cells tried" not in result.stdout
    assert (
        json.loads(run("policy", "verify", "--dir", made, "--no-probes", "--json").stdout)["planes"][0]["cells"] is None
    )


def test_json_holds_the_counts_and_every_difference(run: Run, made: Path, told: dict[str, Told]) -> None:
    told["vault"].tried = [cell("category contact", expected=False, found=True), cell("y", expected=True, found=True)]
    told["library"].found = [Difference("too open", "purpose sales.old", "no such purpose", "version 1")]
    result = run("policy", "verify", "--dir", made, "--json")
    assert result.exit_code == 1
    data: Any = json.loads(result.stdout)
    assert data["ok"] is False
    by_name = {plane["plane"]: plane for plane in data["planes"]}
    assert by_name["vault"]["cells"] == {"tried": 2, "agreeing": 1, "too_open": 1, "too_closed": 0}
    assert by_name["vault"]["differences"] == [
        {
            "verdict": "too open",
            "thing": "sales.pool: SELECT category contact",
            "expected": "refused",
            "found": "allowed",
        }
    ]
    assert by_name["library"]["facts"] == {"differing": 1}
    assert by_name["postgres"]["differences"] == []


# ---------------------------------------------------------------------------------------------------- an embedded store


def test_an_embedded_store_has_the_librarys_plane_and_says_why_no_other(run: Run, made: Path) -> None:
    for command in (("apply",), ("verify",)):
        result = run("policy", *command, "--dir", made)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        assert "there is no Vault plane" in result.stdout
        assert "no PostgreSQL plane" in result.stdout
    data = json.loads(run("policy", "verify", "--dir", made, "--json").stdout)
    assert [plane["plane"] for plane in data["planes"]] == ["library"]
    assert data["planes"][0]["cells"]["tried"] > 1000
    assert len(data["absent"]) == 2


@pytest.mark.parametrize("target", ["vault", "postgres"])
@pytest.mark.parametrize("command", ["apply", "verify"])
def test_a_plane_that_the_store_does_not_have_can_not_be_named(run: Run, made: Path, command: str, target: str) -> None:
    result = run("policy", command, "--dir", made, "--target", target)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_an_edited_policy_turns_verify_red_until_it_is_applied(run: Run, shop: Path) -> None:
    edited(shop)
    red = run("policy", "verify", "--dir", shop)
    assert red.exit_code == 1
    assert "✗ library: purpose sales.pool is different: expected version " in red.stdout
    result = run("policy", "apply", "--dir", shop, "--target", "library", "--yes")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "library: 1 change made" in result.stdout
    assert run("policy", "verify", "--dir", shop).exit_code == 0


@pytest.mark.parametrize("missing", ["gate.db", "keys.json"])
def test_a_store_that_is_not_whole_is_said_to_be_so_and_not_made_anew(run: Run, shop: Path, missing: str) -> None:
    (shop / missing).unlink()
    result = run("policy", "apply", "--dir", shop, "--yes")
    assert result.exit_code == 1
    assert f"{missing} is missing" in result.stderr
    assert not (shop / missing).exists()


# ---------------------------------------------------------------------------------------------------- compile


def test_compile_needs_no_store_and_no_server(run: Run, made: Path) -> None:
    source = ("--policies", made / "policies", "--models", "vaultstore.members.models:Base")
    result = run("policy", "compile", "--target", "library", *source)
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == len(Policy.load(made / "policies").purposes)
    assert all(line.startswith("sha256:") for line in result.stdout.splitlines())


def test_compile_writes_files_where_it_is_told_to(run: Run, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    result = run("policy", "compile", "--dir", made, "--target", "library", "--out", out)
    assert (result.exit_code, result.stdout) == (0, f"{out / 'purposes.txt'}\n")
    assert (out / "purposes.txt").read_text() == run("policy", "compile", "--dir", made, "--target", "library").stdout


@pytest.mark.parametrize("command", ["compile", "apply", "verify"])
def test_a_plane_that_does_not_exist_is_a_usage_error(run: Run, made: Path, command: str) -> None:
    assert run("policy", command, "--dir", made, "--target", "oracle").exit_code == 2


@pytest.mark.parametrize("command", ["compile", "apply", "verify"])
def test_a_missing_policy_is_named(run: Run, tmp_path: Path, command: str) -> None:
    result = run("policy", command, "--dir", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "policies is missing" in result.stderr


def test_a_password_in_a_url_is_never_shown(run: Run, shop: Path) -> None:
    url = "postgresql://operator:SesameOpen77@127.0.0.1:1/none"
    for command in (("apply", "--yes"), ("verify",)):
        result = run("policy", *command, "--dir", shop, "--target", "library", "--database", url)
        assert result.exit_code == 1
        assert "SesameOpen77" not in result.output
        assert result.stderr.startswith("error: ")

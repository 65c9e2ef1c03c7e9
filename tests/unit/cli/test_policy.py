"""``vaultstore policy check``, ``matrix``, ``explain``, ``schema``, ``lock`` and ``publish``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vaultstore import Actor
from vaultstore.cli.store import open_store
from vaultstore.errors import TokenInvalid
from vaultstore.policy import Policy
from vaultstore.policy.schema import schema

from .conftest import Run

PURPOSES = len(Policy.load(Path(__file__).parents[3] / "policies").purposes)


@pytest.fixture
def policies(made: Path, tmp_path: Path) -> Path:
    """A copy of the shipped policy, to be spoiled."""
    return Path(shutil.copytree(made / "policies", tmp_path / "policies"))


def test_the_shipped_policy_is_in_order(run: Run, made: Path) -> None:
    result = run("policy", "check", "--dir", made)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert f"ok: {PURPOSES} purposes, " in result.stdout
    assert result.stdout.endswith(" 0 warnings\n")


def test_check_shows_every_error_with_its_place(run: Run, policies: Path) -> None:
    sales = next(policies.rglob("sales.yaml"))
    text = sales.read_text().replace("rows: own_store", "rows: own_shop", 1)
    sales.write_text(text.replace('field: phone, expect: "masked:sales_card"', "field: phone, expect: clear", 1))
    result = run("policy", "check", "--dir", policies.parent)
    assert result.exit_code == 1
    line = next(n for n, text in enumerate(sales.read_text().splitlines(), 1) if "own_shop" in text)
    assert f"sales.yaml:{line}:" in result.stdout
    assert "own_shop" in result.stdout
    assert result.stderr.startswith("error: the policy has ")
    assert result.stderr.count("\n") == 1


def test_a_warning_is_shown_and_is_no_error(run: Run, policies: Path) -> None:
    categories = policies / "categories.yaml"
    categories.write_text(categories.read_text().replace("roles:\n", "roles:\n  idler: does nothing\n", 1))
    result = run("policy", "check", "--dir", policies.parent)
    assert result.exit_code == 0, result.output
    assert "idler" in result.stdout
    assert "1 warning" in result.stdout


def test_check_says_where_a_file_does_not_parse(run: Run, policies: Path) -> None:
    (policies / "broken.yaml").write_text("version: 1\npurposes: [\n")
    result = run("policy", "check", "--dir", policies.parent)
    assert result.exit_code == 1
    assert "broken.yaml:" in result.stderr
    assert result.stderr.count("\n") == 1


def test_check_binds_the_models_it_is_told(run: Run, policies: Path) -> None:
    result = run("policy", "check", "--policies", policies, "--models", "no_such_module_at_all:Base")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no module 'no_such_module_at_all'" in result.stderr


def test_the_matrix_shows_who_sees_a_phone_number(run: Run, made: Path) -> None:
    result = run("policy", "matrix", "--dir", made)
    assert (result.exit_code, result.stderr) == (0, "")
    row = next(line for line in result.stdout.splitlines() if "phone [contact]" in line)
    assert "sales_card" in row
    assert "clear" in row
    assert "\x1b" not in result.stdout
    assert "…" not in result.stdout


def test_the_matrix_as_json_has_a_cell_for_each_purpose_and_field(run: Run, made: Path) -> None:
    cells = json.loads(run("policy", "matrix", "--json", "--dir", made).stdout)
    by_key = {(cell["purpose"], cell["model"], cell["field"]): cell for cell in cells}
    assert by_key["sales.outreach", "Member", "phone"]["read"] == "masked:sales_card"
    assert by_key["sales.outreach", "ChatMessage", "body"]["read"] == "denied"
    assert len(by_key) == len(cells) == PURPOSES * (15 + 1 + 3 + 2)


def test_the_matrix_can_be_narrowed(run: Run, made: Path) -> None:
    narrow = ("policy", "matrix", "--json", "--dir", made, "--model", "Member", "--purpose", "sales.pool")
    cells = json.loads(run(*narrow).stdout)
    assert {(cell["purpose"], cell["model"]) for cell in cells} == {("sales.pool", "Member")}
    for wrong in (("--model", "Membre"), ("--purpose", "sales.pol")):
        result = run("policy", "matrix", "--dir", made, *wrong)
        assert result.exit_code == 1
        assert wrong[1] in result.stderr


def test_explain_gives_the_decision_and_the_line_behind_it(run: Run, made: Path) -> None:
    result = run("policy", "explain", "--dir", made, "--purpose", "sales.outreach", "--field", "Member.phone")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("sales.outreach gets Member.phone: masked:sales_card\n")
    assert "sales.yaml:" in result.stdout
    assert "read: {Member: {categories: [sales_card], rows: claimed_by_actor}}" in result.stdout
    assert "requires: consent matchmaking" in result.stdout
    assert "limit on disclose: 100 per day by actor" in result.stdout


def test_explain_says_why_something_is_denied(run: Run, made: Path) -> None:
    result = run("policy", "explain", "--dir", made, "--purpose", "sales.outreach", "--field", "ChatMessage.body")
    assert result.exit_code == 0
    assert result.stdout.startswith("sales.outreach gets ChatMessage.body: denied\n")


@pytest.mark.parametrize("field", ["phone", "Member.", ".phone", ""])
def test_a_field_without_its_model_is_a_usage_error(run: Run, made: Path, field: str) -> None:
    assert run("policy", "explain", "--dir", made, "--purpose", "sales.pool", "--field", field).exit_code == 2


@pytest.mark.parametrize(("purpose", "field"), [("sales.pol", "Member.phone"), ("sales.pool", "Member.fone")])
def test_explain_names_the_nearest_word(run: Run, made: Path, purpose: str, field: str) -> None:
    result = run("policy", "explain", "--dir", made, "--purpose", purpose, "--field", field)
    assert result.exit_code == 1
    assert "sales.pool" in result.stderr or "phone" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_changed_mask_is_an_error_until_it_is_locked(run: Run, policies: Path) -> None:
    run("policy", "lock", "--dir", policies.parent)
    assert run("policy", "check", "--dir", policies.parent).exit_code == 0
    lock = policies / "fields.lock"
    lock.write_text(lock.read_text().replace("mask pool_card ", "mask pool_card another_", 1))
    result = run("policy", "check", "--dir", policies.parent)
    assert result.exit_code == 1
    assert "fields.lock:" in result.stdout
    assert "Member.birth_date: locked mask pool_card another_age_band" in result.stdout
    result = run("policy", "lock", "--dir", policies.parent)
    assert result.exit_code == 0
    assert "Member.birth_date" in result.stdout
    assert run("policy", "check", "--dir", policies.parent).exit_code == 0


def test_a_single_file_has_no_place_for_a_lock(run: Run, policies: Path) -> None:
    whole = policies.parent / "one.yaml"
    whole.write_text("version: 1\n")
    result = run("policy", "lock", "--policies", whole)
    assert result.exit_code == 1
    assert "name a folder" in result.stderr


def test_an_edited_policy_is_decided_by_once_it_is_published(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    assert run("init", "--dir", folder).exit_code == 0
    sales = next((folder / "policies").rglob("sales.yaml"))
    before = sales.read_text()
    sales.write_text(before.replace("batch: 50", "batch: 40"))
    with open_store(folder) as store:
        edited = store.verify(store.issue(Actor("u-17", role="matchmaker"), "sales.pool"))
        with pytest.raises(TokenInvalid, match="not the published one"):
            store.gate.check(edited)
    result = run("policy", "publish", "--dir", folder)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert result.stdout.startswith(f"{PURPOSES} purposes published")
    with open_store(folder) as store:
        store.gate.check(edited)


def test_a_policy_with_an_error_is_not_published(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    run("init", "--dir", folder)
    with open_store(folder) as store:
        good = store.verify(store.issue(Actor("u-17", role="matchmaker"), "sales.pool"))
    sales = next((folder / "policies").rglob("sales.yaml"))
    spoiled = sales.read_text().replace('field: phone, expect: "masked:sales_card"', "field: phone, expect: clear")
    sales.write_text(spoiled)
    result = run("policy", "publish", "--dir", folder)
    assert result.exit_code == 1
    assert "sales.yaml:" in result.stdout
    with open_store(folder) as store:
        store.gate.check(good)


def test_the_schema_is_printed_for_editors(run: Run) -> None:
    result = run("policy", "schema")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == schema()

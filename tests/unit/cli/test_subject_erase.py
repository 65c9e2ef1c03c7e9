"""``vaultstore subject erase``, ``subject certificate`` and ``audit check-certificate``."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from vaultstore.cli.store import open_store

ROWS = Path(__file__).parents[2] / "data" / "members.csv"


@pytest.fixture
def shop(run: Run, tmp_path: Path) -> Path:
    """A store with a few members in it."""
    folder, rows = tmp_path / "shop", tmp_path / "members.csv"
    rows.write_text("".join(ROWS.read_text(encoding="utf-8").splitlines(keepends=True)[:4]), encoding="utf-8")
    assert run("init", "--dir", folder).exit_code == 0
    assert run("members", "import", "--dir", folder, rows).exit_code == 0
    (folder / "log.keys").write_text(run("audit", "keys", "--dir", folder).output, encoding="utf-8")
    return folder


@pytest.fixture
def member(shop: Path) -> uuid.UUID:
    return uuid.UUID(ROWS.read_text(encoding="utf-8").splitlines()[1].split(",")[0])


def test_it_asks_and_without_a_yes_nothing_happens(run: Run, shop: Path, member: uuid.UUID) -> None:
    refused = run("subject", "erase", "--dir", shop, member, "--reason", "asked", stdin="n\n")
    assert refused.exit_code == 1
    with open_store(shop) as store:
        assert store.subjects.state(member) == "active"
    done = run("subject", "erase", "--dir", shop, member, "--reason", "asked", stdin="y\n")
    assert done.exit_code == 0, done.output
    assert f"{member} is erased: 8 data keys destroyed" in done.output


def test_it_tells_what_went_and_what_stays_and_writes_the_certificate(
    run: Run, shop: Path, member: uuid.UUID, tmp_path: Path
) -> None:
    out = tmp_path / "certificate.json"
    done = run("subject", "erase", "--dir", shop, member, "--reason", "asked", "--yes", "--as", "chen", "--out", out)
    assert done.exit_code == 0, done.output
    for words in ("1 of Member emptied: city,", "kept of Member: created_at, store:", "vault snapshots", "written"):
        assert words in done.output
    checked = run("audit", "check-certificate", out, "--keys", shop / "log.keys")
    assert checked.exit_code == 0, checked.output
    for words in (f"{member} was erased at", ": asked", "8 data keys were destroyed", "the seal holds"):
        assert words in checked.output
    again = run("subject", "erase", "--dir", shop, member, "--reason", "twice", "--yes")
    assert again.exit_code == 0
    assert "nothing was left to destroy" in again.output
    whole = run("audit", "verify", "--dir", shop)
    assert whole.exit_code == 0, whole.output
    assert "lines are erased, as the acts of erasure say" in whole.output


def test_a_certificate_that_was_altered_ends_with_1_and_what_is_wrong(
    run: Run, shop: Path, member: uuid.UUID, tmp_path: Path
) -> None:
    run("subject", "erase", "--dir", shop, member, "--reason", "asked", "--yes")
    out = tmp_path / "certificate.json"
    assert run("subject", "certificate", "--dir", shop, member, "--out", out).exit_code == 0
    out.write_text(out.read_text(encoding="utf-8").replace("asked", "was told"), encoding="utf-8")
    refused = run("audit", "check-certificate", out, "--keys", shop / "log.keys")
    assert refused.exit_code == 1
    assert "act 1: its body is not the one that its entry in the audit log was made with" in refused.output


def test_a_certificate_tells_what_a_case_holds_and_when_it_let_go(
    run: Run, shop: Path, member: uuid.UUID, tmp_path: Path
) -> None:
    out, thread = tmp_path / "certificate.json", uuid.uuid4()
    with open_store(shop) as store:
        case = store.cases.open("inquiry", assigned_to="a-1", subjects=[member], scopes={member: [thread]})
    done = run("subject", "erase", "--dir", shop, member, "--reason", "asked", "--yes", "--out", out)
    assert f"held by case {case} until it closes: 0 keys of {thread}" in done.output
    held = run("audit", "check-certificate", out, "--keys", shop / "log.keys")
    assert f"case {case} holds 0 keys of {thread} still: ask for a later certificate" in held.output
    with open_store(shop) as store:
        store.cases.close(case)
    assert run("subject", "certificate", "--dir", shop, member, "--out", out).exit_code == 0
    later = run("audit", "check-certificate", out, "--keys", shop / "log.keys")
    assert f"when case {case} was closed" in later.output


def test_whom_nobody_knows_is_not_erased_by_a_slip(run: Run, shop: Path) -> None:
    stranger = uuid.uuid4()
    refused = run("subject", "erase", "--dir", shop, stranger, "--reason", "asked", "--yes")
    assert refused.exit_code == 1
    assert "nobody is registered by the id" in refused.output
    with open_store(shop) as store:
        assert store.subjects.state(stranger) is None
    refused = run("subject", "certificate", "--dir", shop, stranger, "--out", shop / "c.json")
    assert refused.exit_code == 1
    assert "was not erased, so there is nothing to certify" in refused.output

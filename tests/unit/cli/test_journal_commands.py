"""``vaultstore journal`` and ``vaultstore keyring``: what they print, and how they end."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vaultstore.cli import main
from vaultstore.cli.store import open_store


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store in a folder that keeps a journal and checkpoints elsewhere."""
    folder = tmp_path / "shop"
    assert run("init", "--dir", str(folder)).exit_code == 0
    with (folder / "vaultstore.toml").open("a") as file:
        file.write('journal = "../apart/journal.jsonl"\nkept_checkpoints = "../kept"\n')
    (tmp_path / "kept").mkdir()
    return folder


def backup(folder: Path, to: Path) -> None:
    to.mkdir(exist_ok=True)
    for name in ("members.db", "gate.db"):
        with closing(sqlite3.connect(folder / name)) as source, closing(sqlite3.connect(to / name)) as target:
            source.backup(target)


def restore(folder: Path, tape: Path) -> None:
    for path in folder.glob("*.db*"):
        path.unlink()
    for name in ("members.db", "gate.db"):
        shutil.copy(tape / name, folder / name)


def test_a_restored_store_opens_for_no_command_until_its_journal_is_replayed(folder: Path, tmp_path: Path) -> None:
    member, where = uuid.uuid4(), ("--dir", str(folder))
    with open_store(folder) as store:
        store.subjects.register(member)
    backup(folder, tmp_path / "tape")
    with open_store(folder) as store:
        store.subjects.erase(member, reason="asked for")
        store.revoke(jti="t-1")
    assert run("audit", "checkpoint", *where, "--publish", str(tmp_path / "kept")).exit_code == 0
    assert run("journal", "status", *where).exit_code == 0
    restore(folder, tmp_path / "tape")
    for words in (
        ("token", "issue", *where, "--actor", "u-1", "--role", "matcher", "--purpose", "matching"),
        ("show", *where, str(member), "--token", "x"),
        ("keyring", "export", *where, str(tmp_path / "k")),
        ("jobs", "list", *where),
        ("audit", "checkpoint", *where),
    ):
        refused = run(*words)
        assert refused.exit_code == 1, words
        assert "It does not open: run `vaultstore journal replay`" in refused.output
    status = run("journal", "status", *where)
    assert status.exit_code == 1
    assert "not applied: 2 of the journal's lines" in status.output
    dry = run("journal", "replay", *where, "--dry-run")
    assert "2 missing from the store; nothing was done" in dry.output
    assert run("journal", "status", *where).exit_code == 1
    replayed = run("journal", "replay", *where, "--as", "chen")
    assert replayed.exit_code == 0, replayed.output
    assert "erase: 1 applied, 0 were done already\nrevoke: 1 applied" in replayed.output
    assert "THE AUDIT LOG LOST ENTRIES" in replayed.output
    assert run("journal", "status", *where).exit_code == 0
    assert "nothing was missing" in run("journal", "replay", *where).output
    with open_store(folder) as store:
        assert store.subjects.state(member) == "erased"
    [kept] = (tmp_path / "kept").iterdir()
    verified = run("audit", "verify", *where, "--checkpoint", str(kept))
    assert verified.exit_code == 1
    assert "says that it was restored from a backup" in verified.output


def test_verify_names_the_place_where_a_journal_was_changed(folder: Path, tmp_path: Path) -> None:
    where = ("--dir", str(folder))
    assert run("journal", "verify", *where).exit_code == 1
    with open_store(folder) as store:
        for jti in ("t-1", "t-2", "t-3"):
            store.revoke(jti=jti)
    journal = tmp_path / "apart" / "journal.jsonl"
    whole = run("journal", "verify", *where)
    assert whole.exit_code == 0
    assert "4 lines hold together: 3 revoke" in whole.output
    assert run("journal", "verify", str(journal)).exit_code == 0
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    for words in ((*where,), (str(journal),)):
        found = run("journal", "verify", *words)
        assert found.exit_code == 1
        assert "journal.jsonl:3: this line does not follow the one before" in found.output
    journal.write_bytes(b"".join(lines[:3]))
    assert run("journal", "verify", str(journal)).exit_code == 0  # nobody can tell from the file alone
    found = run("journal", "verify", *where)
    assert found.exit_code == 1
    assert "its end was cut off, or an older copy was put in its place" in found.output


def test_a_lost_journal_is_given_up_on_purpose_only_and_a_new_one_begun(folder: Path, tmp_path: Path) -> None:
    where = ("--dir", str(folder))
    with open_store(folder) as store:
        store.revoke(jti="t-1")
    (tmp_path / "apart" / "journal.jsonl").unlink()
    refused = run("jobs", "list", *where)
    assert refused.exit_code == 1
    assert "or give it up as lost with `vaultstore journal lost`" in refused.output
    assert run("journal", "lost", *where).exit_code == 2
    assert "given up: journal" in run("journal", "lost", *where, "--yes").output
    assert "no journal is missing" in run("journal", "lost", *where, "--yes").output
    with open_store(folder) as store:
        store.revoke(jti="t-2")
        with store.parts.gate_engine.connect() as connection:
            kinds = connection.exec_driver_sql("SELECT kind, actor FROM vs_entries").fetchall()
    assert [kind for kind, _ in kinds].count("journal") == 1
    assert run("journal", "status", *where).exit_code == 0


def test_a_replay_stops_at_what_it_does_not_know(folder: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    where = ("--dir", str(folder))
    with open_store(folder) as store:
        store.revoke(jti="t-1")
        file = store.parts.journal.file  # type: ignore[attr-defined] # it keeps one
    lines = list(file.lines())
    last = file.append(lines[-1].position, "revoke", datetime.now(UTC), {"jti": "t-2"})
    # As a later version writes it.
    with file._open(exclusive=True) as raw:
        strange = file._write(raw, last.position, "forget", datetime.now(UTC), {"subject": "x"})
        file._write(raw, strange.position, "revoke", datetime.now(UTC), {"jti": "t-3"})
    refused = run("journal", "replay", *where)
    assert refused.exit_code == 1
    assert "journal.jsonl:4: this version does not know 'forget'" in refused.output
    assert "not applied: 2 of the journal's lines" in run("journal", "status", *where).output


def test_a_torn_last_line_is_taken_away_by_a_replay(folder: Path, tmp_path: Path) -> None:
    where = ("--dir", str(folder))
    with open_store(folder) as store:
        store.revoke(jti="t-1")
    with (tmp_path / "apart" / "journal.jsonl").open("ab") as file:
        file.write(b'{"at":"2026-')
    assert "ends in the middle" in run("jobs", "list", *where).output
    assert "was cut short, and was taken away" in run("journal", "replay", *where).output
    assert run("jobs", "list", *where).exit_code == 0


def test_a_keyring_goes_out_and_comes_back(folder: Path, tmp_path: Path) -> None:
    where, file = ("--dir", str(folder)), tmp_path / "keyring.jsonl"
    members = Path(__file__).parents[2] / "data" / "members.csv"
    assert run("members", "import", *where, str(members)).exit_code == 0
    exported = run("keyring", "export", *where, str(file), "--as", "chen")
    assert exported.exit_code == 0, exported.output
    assert "keys" in exported.output
    again = run("keyring", "export", *where, str(file))
    assert again.exit_code == 1
    assert "is there already, and whole" in again.output
    with closing(sqlite3.connect(folder / "members.db")) as raw:
        raw.execute("DELETE FROM vs_keyring")
        raw.commit()
    imported = run("keyring", "import", *where, str(file))
    assert imported.exit_code == 0, imported.output
    assert "0 were there already" in imported.output
    with closing(sqlite3.connect(folder / "members.db")) as raw:
        raw.execute("UPDATE vs_keyring SET wrapped = replace(wrapped, 'v1:', 'v1:A')")
        raw.commit()
    refused = run("keyring", "import", *where, str(file))
    assert refused.exit_code == 1
    assert "another wrap" in refused.output
    assert run("keyring", "import", *where, str(file), "--replace").exit_code == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('retention_data_backups = "a month"', r"vaultstore.toml: retention_data_backups must be how long"),
        ('retention_vault_snapshots = "30"', r"vaultstore.toml: retention_vault_snapshots must be how long"),
        ("retention_wal_archives = 7", r"retention_wal_archives must be a string"),
    ],
)
def test_a_retention_that_is_none_is_named_with_its_place(folder: Path, line: str, why: str) -> None:
    with (folder / "vaultstore.toml").open("a") as file:
        file.write(line + "\n")
    refused = run("jobs", "list", "--dir", str(folder))
    assert refused.exit_code == 1
    assert why in refused.output

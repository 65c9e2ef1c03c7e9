"""What keeps a store from opening: checkpoints that were kept, and a database that does not know of its journal."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.profiles import REGISTRAR, SHIPPED_POLICY, Profile, embedded
from vaultstore import LocalKeys, Policy, Store
from vaultstore.audit.log import note_keys
from vaultstore.errors import SettingsError, UnsupportedOperation
from vaultstore.evidence.publish import to_folder
from vaultstore.lifecycle.journal import FileJournal
from vaultstore.lifecycle.retention import Retention
from vaultstore.lifecycle.standing import KEYS_FILE, require_current
from vaultstore.members.models import Base

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    folder = tmp_path / "store"
    folder.mkdir()
    with embedded(folder) as made:
        yield made


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    return folder


def publish(profile: Profile, kept: Path) -> Path:
    """One entry more, and a checkpoint of it in the folder."""
    profile.add_members(1)
    return to_folder(profile.store.parts.log().checkpoint(profile.keys, datetime.now(UTC)), kept)


def open_again(profile: Profile, **options: object) -> Store:
    return Store.open(profile.url, keys=profile.keys, policy=Policy.load(SHIPPED_POLICY), models=Base, **options)


def test_a_log_that_continues_the_newest_kept_checkpoint_opens(profile: Profile, kept: Path) -> None:
    open_again(profile, kept_checkpoints=kept).close()  # nothing was kept yet
    for _ in range(3):
        publish(profile, kept)
    profile.add_members(1)
    open_again(profile, kept_checkpoints=kept).close()


def test_a_log_of_other_entries_does_not_open_though_it_is_long_enough(
    profile: Profile, kept: Path, tmp_path: Path
) -> None:
    publish(profile, kept)
    tape = tmp_path / "tape"
    shutil.copytree(profile.folder, tape)
    publish(profile, kept)
    with embedded(tape) as second:  # restored, gone on with unseen, and longer than what was kept by now
        second.add_members(1)
        second.add_members(1)
        second.store.parts.log().sequence()
        with pytest.raises(SettingsError, match="does not continue the kept checkpoint of 2: "):
            open_again(second, kept_checkpoints=kept)


def test_a_folder_that_is_not_there_is_not_an_empty_one(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"there is no folder .*kept_checkpoints"):
        open_again(profile, kept_checkpoints=tmp_path / "nowhere")


@pytest.mark.parametrize("change", ["size", "name", "unsigned", "nonsense"])
def test_a_checkpoint_that_does_not_hold_is_named_and_nothing_opens(profile: Profile, kept: Path, change: str) -> None:
    path = publish(profile, kept)
    text = path.read_text()
    lines = text.split("\n")
    if change == "name":
        path.rename(path.with_name("checkpoint-0.note"))
    else:
        changed = {
            "size": text.replace(f"\n{lines[1]}\n", "\n0\n", 1),
            "unsigned": "\n".join(lines[:4]),
            "nonsense": "hello",
        }
        path.write_text(changed[change])
    with pytest.raises(SettingsError, match=r"checkpoint-\d+\.note: "):
        open_again(profile, kept_checkpoints=kept)


def test_the_folders_own_keys_are_taken_before_the_key_service_is_asked(profile: Profile, kept: Path) -> None:
    publish(profile, kept)
    keys = note_keys(profile.keys, profile.store.parts.origin)
    (kept / KEYS_FILE).write_text("# of the log\n" + "\n".join(map(str, keys)) + "\n")
    open_again(profile, kept_checkpoints=kept).close()
    with LocalKeys.memory() as stranger:
        stranger.provision(profile.store.policy.key_access("vaultstore"))
        other = note_keys(stranger, profile.store.parts.origin)
    (kept / KEYS_FILE).write_text("\n".join(map(str, other)) + "\n")
    with pytest.raises(SettingsError, match=r"checkpoint-1\.note: "):
        open_again(profile, kept_checkpoints=kept)
    (kept / KEYS_FILE).write_text("hello\n")
    with pytest.raises(SettingsError, match=r"log\.keys: "):
        open_again(profile, kept_checkpoints=kept)


def test_an_empty_database_does_not_pass_for_a_store_that_has_a_journal(tmp_path: Path, profile: Profile) -> None:
    journal = FileJournal(tmp_path / "j", profile.store.parts.origin)
    with profile.store.parts.ledger.gate() as connection:
        journal.append("erase", connection=connection, subject=os.urandom(16))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SettingsError, match="the database has no table for how far it is applied"):
        Store.open(
            f"sqlite:///{empty / 'members.db'}",
            keys=profile.keys,
            policy=Policy.load(SHIPPED_POLICY),
            models=Base,
            journal=journal.file.path,
        )
    require_current(profile.store.parts.gate_engine, journal, None)


def _die_before_the_commit(url: str, keys: str, journal: str, member: bytes) -> None:
    with LocalKeys.open(keys) as own:
        store = Store.open(url, keys=own, policy=Policy.load(SHIPPED_POLICY), models=Base, journal=journal)
        append = FileJournal.append

        def dying(self: FileJournal, kind: str, **facts: object) -> None:
            append(self, kind, **facts)  # type: ignore[arg-type] # as it was called
            os._exit(9)

        FileJournal.append = dying  # type: ignore[assignment,method-assign] # in this process alone
        store.subjects.erase(member, reason="asked for")


def test_a_process_that_dies_between_its_line_and_its_commit_has_its_erasure_done_by_a_replay(
    profile: Profile, tmp_path: Path
) -> None:
    [member], journal = profile.add_members(1), tmp_path / "apart" / "journal.jsonl"
    context = multiprocessing.get_context("spawn")
    key_file = str(profile.folder / "keys.json")
    process = context.Process(target=_die_before_the_commit, args=(profile.url, key_file, str(journal), member.bytes))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert profile.store.subjects.state(member) == "active"
    with pytest.raises(SettingsError, match=r"journal\.jsonl:2: the store has not applied its journal"):
        open_again(profile, journal=journal)
    with open_again(profile, journal=journal, replaying=True) as behind:
        assert behind.journal.replay(operator="keeper").replayed.applied == {"erase": 1}
    with open_again(profile, journal=journal) as store:
        assert store.subjects.state(member) == "erased"
        with store.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM vs_keyring").scalar_one() == 0


def test_a_members_file_that_was_restored_alone_loses_the_keys_of_the_erased_again(
    profile: Profile, tmp_path: Path
) -> None:
    ids = profile.add_members(2)
    journal = tmp_path / "journal.jsonl"
    with (
        closing(sqlite3.connect(profile.folder / "members.db")) as live,
        closing(sqlite3.connect(tmp_path / "m")) as to,
    ):
        live.backup(to)
    with open_again(profile, journal=journal) as store:
        store.subjects.erase(ids[0], reason="asked for")
    profile.store.close()
    for path in profile.folder.glob("members.db*"):
        path.unlink()
    shutil.copy(tmp_path / "m", profile.folder / "members.db")
    with open_again(profile, journal=journal, replaying=True) as behind:
        outcome = behind.journal.replay(operator="keeper")
        assert (outcome.replayed.applied.total(), outcome.replayed.leftovers) == (0, 1)
        with behind.engine.connect() as connection:
            query = "SELECT DISTINCT subject FROM vs_keyring"
            assert list(connection.exec_driver_sql(query).scalars()) == [ids[1].bytes]


def test_a_store_opened_to_be_replayed_takes_no_token(profile: Profile) -> None:
    token = profile.token(REGISTRAR, "registration")
    with open_again(profile, replaying=True) as store:
        for act in (store.verify, store.session, store.parts.opened):
            with pytest.raises(UnsupportedOperation, match="it takes no tokens"):
                act(token)
    with pytest.raises(UnsupportedOperation, match="opened with replaying=True"):
        profile.store.journal.replay(operator="keeper")


def test_the_horizon_is_the_last_of_all_kinds_and_unknown_where_one_is() -> None:
    day = timedelta(days=1)
    known = Retention(vault_snapshots=7 * day, keyring_backups=day, data_backups=0 * day, wal_archives=14 * day)
    assert known.overall(NOW) == NOW + 14 * day
    assert known.horizon(NOW)["data_backups"] == NOW
    assert known.unknown == ()
    partly = Retention(keyring_backups=day)
    assert partly.horizon(NOW) == {
        "vault_snapshots": None, "keyring_backups": NOW + day, "data_backups": None, "wal_archives": None
    }  # fmt: skip
    assert partly.overall(NOW) is None
    assert partly.unknown == ("vault_snapshots", "data_backups", "wal_archives")
    with pytest.raises(SettingsError, match="wal_archives can't be negative"):
        Retention(wal_archives=-day)

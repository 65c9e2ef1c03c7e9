"""An erased member's wraps are in no file of an embedded store: bytes are looked for, not rows."""

from __future__ import annotations

import multiprocessing
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tests.support.profiles import REGISTRAR, Profile, embedded
from vaultstore.records.keyring import vs_keyring


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    with embedded(tmp_path) as made:
        yield made


def wraps_of(profile: Profile, member: uuid.UUID) -> list[bytes]:
    """The wraps of a member: what follows the version, which is different in each."""
    with profile.store.engine.connect() as connection:
        rows = connection.execute(vs_keyring.select().where(vs_keyring.c.subject == member.bytes))
        return [row.wrapped.rpartition(":")[2].encode() for row in rows]


def files_with(folder: Path, wraps: list[bytes]) -> set[str]:
    """Names of the files that hold any of these bytes."""
    return {path.name for path in folder.iterdir() if path.is_file() for wrap in wraps if wrap in path.read_bytes()}


def test_the_wraps_are_in_no_file_after_the_erasure(profile: Profile) -> None:
    ids = profile.add_members(3)
    wraps, others = wraps_of(profile, ids[1]), wraps_of(profile, ids[0])
    assert len(wraps) >= 5
    assert files_with(profile.folder, wraps)
    profile.store.subjects.erase(ids[1], reason="asked for")
    assert files_with(profile.folder, wraps) == set()
    assert files_with(profile.folder, others) == {"members.db"}


def test_a_reader_in_this_process_holds_them_in_the_log_and_no_longer_than_it_reads(profile: Profile) -> None:
    ids = profile.add_members(2)
    wraps = wraps_of(profile, ids[0])
    with closing(sqlite3.connect(profile.folder / "members.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM vs_keyring").fetchone()
        profile.store.subjects.erase(ids[0], reason="asked for")
        assert files_with(profile.folder, wraps)
        reader.execute("COMMIT")
        # The gate's next step, whatever it is, empties the log.
        profile.store.gate.check(profile.store.verify(profile.token(REGISTRAR, "registration")))
        assert files_with(profile.folder, wraps) == set()


def _read_on(path: str, reading: Event, go_on: Event) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM vs_keyring").fetchone()
        reading.set()
        go_on.wait(30)
        reader.execute("COMMIT")


def test_a_reader_in_another_process_does_not_hold_the_erasure_up(profile: Profile) -> None:
    ids = profile.add_members(2)
    wraps = wraps_of(profile, ids[0])
    context = multiprocessing.get_context("spawn")
    reading, go_on = context.Event(), context.Event()
    process = context.Process(target=_read_on, args=(str(profile.folder / "members.db"), reading, go_on))
    process.start()
    try:
        assert reading.wait(30)
        profile.store.subjects.erase(ids[0], reason="asked for")
        assert profile.store.subjects.state(ids[0]) == "erased"
    finally:
        go_on.set()
        process.join(30)
    assert process.exitcode == 0
    profile.store.close()
    assert files_with(profile.folder, wraps) == set()

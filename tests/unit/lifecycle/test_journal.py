"""A store and its journal: what is written when, what a store does that is behind, and what a journal refuses."""

from __future__ import annotations

import logging
import shutil
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.errors import AuditError, ProofError, SettingsError, UnsupportedOperation
from vaultstore.lifecycle import Revocations
from vaultstore.lifecycle.journal import FileJournal, NoJournal
from vaultstore.lifecycle.journal_file import Head
from vaultstore.lifecycle.standing import behind, require_current, standing_of
from vaultstore.records import journal as records

ORIGIN = "example.com/members"


@pytest.fixture
def journal(tmp_path: Path) -> FileJournal:
    return FileJournal(tmp_path / "apart" / "journal.jsonl", ORIGIN)


def kinds(journal: FileJournal) -> list[str]:
    return [line.kind for line in journal.file.lines()]


def erase(world: World, journal: FileJournal, subject: uuid.UUID) -> None:
    with world.ledger.gate() as connection:
        journal.append("erase", connection=connection, subject=subject)


def missing(world: World, journal: FileJournal) -> int:
    return len(behind(journal, standing_of(world.gate_engine)))


def test_a_line_is_written_before_the_change_commits_and_applied_with_it(world: World, journal: FileJournal) -> None:
    revocations = Revocations(world.ledger, journal)
    revocations.revoke(jti="t-1")
    revocations.revoke(actor="u-17", before=datetime(2026, 11, 22, 8, tzinfo=UTC))
    lines = list(journal.file.lines())
    assert [dict(line.facts) for line in lines[1:]] == [
        {"jti": "t-1"},
        {"actor": "u-17", "before": "2026-11-22T08:00:00.000000Z"},
    ]
    standing = standing_of(world.gate_engine)
    assert standing is not None
    assert list(standing.journals.values()) == [lines[-1].position]
    require_current(world.gate_engine, journal, None)


def test_what_is_rolled_back_is_taken_back_in_the_journal_too(world: World, journal: FileJournal) -> None:
    with pytest.raises(ZeroDivisionError), world.ledger.gate() as connection:
        journal.append("erase", connection=connection, subject=uuid.uuid4())
        journal.append("erase", connection=connection, subject=uuid.uuid4())
        raise ZeroDivisionError
    assert kinds(journal) == ["begin", "erase", "erase", "void"]
    assert missing(world, journal) == 0
    erase(world, journal, uuid.uuid4())
    assert kinds(journal)[-1] == "erase"
    assert missing(world, journal) == 0


def test_a_process_that_ends_before_its_commit_leaves_a_line_to_replay(world: World, journal: FileJournal) -> None:
    erase(world, journal, uuid.uuid4())
    head = journal.head()
    assert head is not None
    last = list(journal.file.lines())[-1]
    journal.file.append(last.position, "erase", datetime.now(UTC), {"subject": str(uuid.uuid4())})  # and then it died
    assert missing(world, journal) == 1
    with pytest.raises(SettingsError, match=r"journal\.jsonl:3: .* not applied its journal .* `vaultstore journal"):
        require_current(world.gate_engine, journal, None)
    with pytest.raises(AuditError, match="has not applied this line"):
        erase(world, journal, uuid.uuid4())


def test_a_commit_that_is_under_way_elsewhere_is_waited_for(world: World, journal: FileJournal) -> None:
    erase(world, journal, uuid.uuid4())
    written, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with world.ledger.gate() as connection:
            journal.append("erase", connection=connection, subject=uuid.uuid4())
            written.set()
            go_on.wait(10)

    thread = threading.Thread(target=slowly)
    thread.start()
    assert written.wait(10)
    assert missing(world, journal) == 1
    threading.Timer(0.3, go_on.set).start()
    require_current(world.gate_engine, journal, None)
    thread.join()


def test_those_who_append_at_once_stand_in_the_order_of_their_commits(world: World, journal: FileJournal) -> None:
    subjects = [uuid.uuid4() for _ in range(12)]
    threads = [threading.Thread(target=erase, args=(world, journal, subject)) for subject in subjects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = list(journal.file.lines())
    assert sorted(line.facts["subject"] for line in lines[1:]) == sorted(map(str, subjects))
    assert missing(world, journal) == 0


@pytest.mark.integration
def test_a_journal_that_another_begins_meanwhile_is_gone_on_with(
    pg: World, journal: FileJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not there when this one looked, and the database knows of it when this one asks."""
    look, overtaken = FileJournal.head, []

    def overtake(self: FileJournal) -> Head | None:
        head = look(self)
        if not overtaken:
            overtaken.append(True)
            erase(pg, journal, uuid.uuid4())
        return head

    monkeypatch.setattr(FileJournal, "head", overtake)
    Revocations(pg.ledger, journal).revoke(jti="t-1")
    assert kinds(journal) == ["begin", "erase", "revoke"]
    assert missing(pg, journal) == 0


def test_a_journal_whose_file_was_deleted_is_missed(world: World, journal: FileJournal) -> None:
    erase(world, journal, uuid.uuid4())
    journal.file.path.unlink()
    with pytest.raises(SettingsError, match=r"keeps the journal .* is gone: put the file back"):
        require_current(world.gate_engine, journal, None)
    with pytest.raises(AuditError, match="is gone, so nothing was done"):
        erase(world, journal, uuid.uuid4())
    assert not journal.file.path.exists()


def test_a_store_that_kept_a_journal_is_not_changed_without_it(world: World, journal: FileJournal) -> None:
    erase(world, journal, uuid.uuid4())
    with pytest.raises(UnsupportedOperation, match="this store keeps a journal"):
        Revocations(world.ledger, NoJournal()).revoke(jti="t-1")
    assert world.rows("vs_revocations") == 0
    if world.dialect == "sqlite":
        with pytest.raises(SettingsError, match="it is opened with none"):
            require_current(world.gate_engine, None, None)


def test_another_journal_in_its_place_is_refused(world: World, journal: FileJournal, tmp_path: Path) -> None:
    erase(world, journal, uuid.uuid4())
    other = FileJournal(tmp_path / "other", ORIGIN)
    other.file.begin(ORIGIN, None, datetime.now(UTC))
    shutil.copy(other.file.path, journal.file.path)
    with pytest.raises(SettingsError, match=r"keeps the journal .* is another"):
        require_current(world.gate_engine, journal, None)
    foreign = FileJournal(tmp_path / "foreign", "example.com/somebody-else")
    foreign.file.begin(foreign.store, None, datetime.now(UTC))
    shutil.copy(foreign.file.path, journal.file.path)
    with pytest.raises(SettingsError, match="the journal of another store"):
        require_current(world.gate_engine, journal, None)


def test_an_older_copy_of_the_file_does_not_open_the_store(world: World, journal: FileJournal, tmp_path: Path) -> None:
    erase(world, journal, uuid.uuid4())
    shutil.copy(journal.file.path, tmp_path / "older")
    erase(world, journal, uuid.uuid4())
    shutil.copy(tmp_path / "older", journal.file.path)
    with pytest.raises(SettingsError, match="its end was cut off, or an older copy"):
        require_current(world.gate_engine, journal, None)
    with pytest.raises(ProofError, match="its end was cut off"):
        erase(world, journal, uuid.uuid4())


def test_a_journal_that_was_given_up_is_not_asked_for_and_takes_no_more_lines(
    world: World, journal: FileJournal
) -> None:
    erase(world, journal, uuid.uuid4())
    head = journal.head()
    assert head is not None
    with world.ledger.gate() as connection:
        records.forget(connection, [head.journal], world.ledger.now)
    with pytest.raises(AuditError, match="could not be written"):
        erase(world, journal, uuid.uuid4())
    journal.file.path.unlink()
    require_current(world.gate_engine, journal, None)
    erase(world, journal, uuid.uuid4())
    assert missing(world, journal) == 0


def test_a_disk_that_takes_no_line_lets_nothing_be_done(world: World, journal: FileJournal) -> None:
    erase(world, journal, uuid.uuid4())
    journal.file.path.rename(journal.file.path.with_name("kept"))
    journal.file.path.mkdir()
    with pytest.raises(AuditError, match="the journal could not be written, so nothing was done"):
        Revocations(world.ledger, journal).revoke(jti="t-1")
    assert world.rows("vs_revocations") == 0


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("rename", {}),
        ("erase", {"subject": b"short"}),
        ("erase", {"subject": uuid.UUID(int=1), "name": "somebody"}),
        ("erase", {"subject": uuid.UUID(int=1), "at": datetime(2026, 1, 1)}),
        ("revoke", {"jti": "x" * 301}),
        ("revoke", {"before": 3}),
    ],
)
def test_a_journal_takes_ids_names_and_times_of_what_it_knows(
    world: World, journal: FileJournal, kind: str, facts: dict[str, object]
) -> None:
    with pytest.raises(UnsupportedOperation), world.ledger.gate() as connection:
        journal.append(kind, connection=connection, **facts)
    with pytest.raises(UnsupportedOperation, match="takes the connection"):
        journal.append("erase", subject=uuid.uuid4())


def test_without_a_journal_it_says_so_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    revocations = Revocations(world.ledger, NoJournal())
    with caplog.at_level(logging.WARNING):
        revocations.revoke(jti="t-1")
        revocations.revoke(jti="t-2")
    assert [record.message for record in caplog.records] == [
        "no journal is kept: a backup that is restored undoes this (setting journal)"
    ]


@pytest.mark.integration
def test_a_login_keeps_journals_in_its_own_name_alone(pg: World, journal: FileJournal, tmp_path: Path) -> None:
    name = f"keeper_{uuid.uuid4().hex[:8]}"
    functions = (
        "vs_standing()",
        "vs_journal_hold(text,bytea,bigint,text)",
        "vs_journal_done(text,bigint,bytea,bigint)",
    )
    with pg.gate_engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        for function in functions:
            connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {function} TO {name}")
    erase(pg, journal, uuid.uuid4())
    operators = journal.head()
    assert operators is not None
    assert operators.keeper is None
    engine = sa.create_engine(pg.gate_engine.url.set(username=name))
    try:
        own = FileJournal(tmp_path / "own", ORIGIN)
        with engine.begin() as connection:
            own.append("withdraw", connection=connection, subject=uuid.uuid4(), consent="matchmaking")
        head = own.head()
        assert head is not None
        assert head.keeper == name
        standing = standing_of(engine)
        assert standing is not None
        assert set(standing.journals) == {head.journal}
        theirs = operators.journal
        for statement in (
            f"SELECT vs_journal_done('{theirs}', 99, '\\x{'00' * 32}', 9999)",
            f"SELECT vs_journal_hold('{theirs}', '\\x{'00' * 32}', 9, '{name}')",
            f"SELECT vs_journal_hold('{uuid.uuid4()}', '\\x{'00' * 32}', 9, 'another')",
            f"SELECT vs_journal_done('{head.journal}', 0, '\\x{'00' * 32}', 1)",  # back again
            "SELECT * FROM vs_journal",
            "UPDATE vs_journal SET number = 0",
            "INSERT INTO vs_restored VALUES (1, '', '')",
        ):
            with pytest.raises(sa.exc.ProgrammingError), engine.begin() as connection:
                connection.exec_driver_sql(statement)
        require_current(pg.gate_engine, journal, None)
        require_current(engine, own, None)
    finally:
        engine.dispose()
        with pg.gate_engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")

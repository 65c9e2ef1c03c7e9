"""The journal's file: a chain of lines, and everything that can be done to it behind our backs."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vaultstore.errors import ProofError, SettingsError, UnsupportedOperation
from vaultstore.lifecycle.journal_file import JournalFile, Line, unsettled

NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> JournalFile:
    file = JournalFile(tmp_path / "apart" / "journal.jsonl")
    file.begin("example.com/members", None, NOW)
    return file


def written(journal: JournalFile, *subjects: str) -> list[Line]:
    """Erasures of `subjects`, written one after the other as a store does that applies each."""
    lines = list(journal.lines())
    for subject in subjects:
        lines.append(journal.append(lines[-1].position, "erase", NOW, {"subject": subject}))
    return lines


def rewrite(journal: JournalFile, change: object) -> None:
    """Replace the file's lines by what `change` makes of them."""
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(change(lines)))  # type: ignore[operator] # a function, each test's own


def test_a_journal_says_what_it_is_and_is_begun_once(journal: JournalFile) -> None:
    first = journal.head()
    assert first is not None
    assert first == journal.begin("example.com/members", None, datetime.now(UTC))
    assert (first.store, first.keeper, first.line.number) == ("example.com/members", None, 0)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert JournalFile(journal.path.with_name("other")).head() is None


def test_each_line_carries_the_hash_of_the_one_before(journal: JournalFile) -> None:
    lines = written(journal, "a", "b")
    texts = journal.path.read_text().splitlines()
    assert [json.loads(text)["prev"] for text in texts[1:]] == [line.hash.hex() for line in lines[:-1]]
    assert list(journal.lines()) == lines
    assert list(journal.lines(lines[1].position)) == lines[2:]
    assert lines[-1].ends == journal.path.stat().st_size


def test_a_line_that_was_removed_edited_or_moved_is_found_where_it_was(journal: JournalFile) -> None:
    written(journal, "a", "b", "c")
    whole = journal.path.read_bytes()
    attacks = {
        3: lambda lines: [*lines[:2], *lines[3:]],  # removed in the middle
        2: lambda lines: [lines[0], lines[2], lines[1], lines[3]],  # reordered
        4: lambda lines: [*lines[:2], lines[2].replace(b'"b"', b'"x"'), lines[3]],  # edited: the next one tells
    }
    for place, attack in attacks.items():
        journal.path.write_bytes(whole)
        rewrite(journal, attack)
        with pytest.raises(ProofError, match=rf"journal\.jsonl:{place}: .*does not follow the one before"):
            list(journal.lines())


def test_a_line_that_is_cut_short_is_named_and_can_be_taken_away(journal: JournalFile) -> None:
    lines = written(journal, "a", "b")
    os.truncate(journal.path, lines[-1].ends - 5)
    with pytest.raises(ProofError, match=r"journal\.jsonl:3: .* ends in the middle"):
        list(journal.lines())
    with pytest.raises(ProofError, match="ends in the middle"):
        journal.append(lines[1].position, "erase", NOW, {"subject": "c"})
    assert journal.cut_torn_end()
    assert list(journal.lines()) == lines[:2]
    assert not journal.cut_torn_end()


def test_lines_that_the_store_has_applied_are_missed_when_they_are_gone(journal: JournalFile) -> None:
    before = written(journal, "a")
    older = journal.path.with_name("older")
    shutil.copy(journal.path, older)
    applied = written(journal, "b", "c")[-1].position
    newer = journal.path.read_bytes()
    shutil.copy(older, journal.path)
    with pytest.raises(ProofError, match=r"journal\.jsonl:4: .* its end was cut off, or an older copy"):
        list(journal.lines(applied))
    # A second history: as many lines, other ones.
    journal.append(before[-1].position, "erase", NOW, {"subject": "x"})
    written(journal, "y")
    with pytest.raises(ProofError, match=r"journal\.jsonl:4: this is not the line that the store has applied"):
        list(journal.lines(applied))
    journal.path.write_bytes(newer)
    assert list(journal.lines(applied)) == []
    journal.path.unlink()
    with pytest.raises(ProofError, match="is gone"):
        list(journal.lines(applied))


@pytest.mark.parametrize(
    "line", [b"{}", b"not json", b"[]", b'{"at":"x","facts":{},"kind":"erase","n":1,"prev":""}', b"x" * 5000]
)
def test_what_is_no_line_is_named(journal: JournalFile, line: bytes) -> None:
    with journal.path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ProofError, match=r"journal\.jsonl:2: this "):
        list(journal.lines())


def test_a_journal_of_another_version_or_form_is_refused(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "j")
    journal.begin("s", None, NOW)
    rewrite(journal, lambda lines: [lines[0].replace(b'"version":"1"', b'"version":"2"')])
    with pytest.raises(SettingsError, match="version 2"):
        journal.head()
    journal.path.write_text("hello\n")
    with pytest.raises(ProofError, match="not a line of a journal"):
        journal.head()


def test_nothing_is_written_behind_lines_that_were_not_applied(journal: JournalFile) -> None:
    first = written(journal)[0]
    written(journal, "a")
    with pytest.raises(ProofError, match=r"journal\.jsonl:2: the store has not applied this line"):
        journal.append(first.position, "erase", NOW, {"subject": "b"})


def test_what_was_undone_is_taken_back_and_the_next_line_follows(journal: JournalFile) -> None:
    first = written(journal)[0]
    undone = written(journal, "a", "b")
    journal.void(1, undone[-1].position, NOW)
    assert unsettled(journal.lines(first.position)) == []
    line = journal.append(first.position, "erase", NOW, {"subject": "c"})
    assert unsettled(journal.lines(first.position)) == [line]
    # A void speaks of what stands right before it: nothing is taken back once something else was written.
    journal.void(1, undone[-1].position, NOW)
    assert list(journal.lines())[-1] == line


def test_a_line_has_a_limit_and_is_not_left_in_half(journal: JournalFile) -> None:
    at = written(journal, "a")[-1]
    with pytest.raises(UnsupportedOperation, match="at most 4096 bytes"):
        journal.append(at.position, "erase", NOW, {"subject": "x" * 5000})
    assert list(journal.lines())[-1] == at


def _append_many(path: str, count: int) -> None:
    journal = JournalFile(Path(path))
    done = 0
    while done < count:
        last = list(journal.lines())[-1]
        try:
            journal.append(last.position, "erase", NOW, {"subject": f"{os.getpid()}-{done}"})
            done += 1
        except ProofError:  # somebody else was faster: a store would wait for them in its database
            continue


def test_several_processes_append_to_one_chain(journal: JournalFile) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(str(journal.path), 20)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    lines = list(journal.lines())
    assert [line.number for line in lines] == list(range(61))
    assert len({line.facts["subject"] for line in lines[1:]}) == 60

"""Whatever an administrator does to the log, checking it tells; what can't be told without a checkpoint is said so."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.unit.audit.conftest import ORIGIN, Log
from vaultstore import LocalKeys
from vaultstore.errors import ProofError
from vaultstore.policy.access import KeyAccess
from vaultstore.signed_note import Note, NoteKey, sign_note


def filled(log: Log) -> Note:
    """Ten disclosures, signed in two steps; the first checkpoint."""
    log.fill(5)
    first = log.signed()
    log.fill(5)
    log.signed()
    return first


def test_a_log_that_nobody_touched_is_whole(log: Log) -> None:
    first = filled(log)
    log.fill(1)
    result = log.verify(first)
    assert result.whole
    assert (result.signed, result.covered, result.checkpoint.size) == (2, log.log.size, log.log.size)
    assert result.waiting > 0  # not in the tree yet
    assert [kept.size for kept in result.kept] == [int(first.text.split("\n")[1])]


def test_an_empty_log_is_whole(log: Log) -> None:
    assert log.verify().whole


EDITS = {
    "the leaf": ("UPDATE vs_entries SET leaf = replace(leaf, 'clerk', 'chief') WHERE seq = {seq}", "it was edited"),
    "the leaf's form": ("UPDATE vs_entries SET leaf = leaf || ' ' WHERE seq = {seq}", "it was edited"),
    "the time beside it": ("UPDATE vs_entries SET kind = 'check' WHERE seq = {seq}", "is another than in it"),
    "the lines": ("UPDATE vs_entries SET lines = substr(lines, 58) WHERE seq = {seq}", "its lines were changed"),
    "the outcomes": ("UPDATE vs_entries SET outcomes = '[\"x\"]' WHERE seq = {seq}", "its lines were changed"),
    "the entry": ("DELETE FROM vs_entries WHERE seq = {seq}", "was deleted"),
    "its place": ("DELETE FROM vs_log WHERE entry = {seq}", "missing from the tree"),
    "the hashes": ("UPDATE vs_log SET nodes = CAST(nodes || nodes AS {blob}) WHERE entry = {seq}", "the tree's hashes"),
}


@pytest.mark.parametrize("edited", EDITS)
@pytest.mark.parametrize("position", [0, 3, 8])
def test_an_edit_is_found_and_the_first_bad_entry_is_named(log: Log, edited: str, position: int) -> None:
    filled(log)
    # The entry at the position, or the next one with lines.
    while True:
        seq, name = log.entry(position)
        with log.world.gate_engine.connect() as connection:
            size = connection.execute(
                sa.text("SELECT length(lines) FROM vs_entries WHERE seq = :s"), {"s": seq}
            ).scalar()
        if size:
            break
        position += 1
    change, says = EDITS[edited]
    log.tamper(change.format(seq=seq, blob="bytea" if log.world.dialect == "postgresql" else "BLOB"))
    first = log.verify().findings[0]
    assert says in first.what
    if edited == "its place":
        assert first.what == f"entries {position} to {position} are missing from the tree"
    else:
        assert first.position == position
        assert first.entry in (name, None)


REWRITES = {
    "edited": "UPDATE vs_entries SET leaf = replace(leaf, 'clerk', 'chief') WHERE seq = {seq}",
    "deleted": "DELETE FROM vs_entries WHERE seq = {seq}",
    "put in": "INSERT INTO vs_entries (seq, id, time, kind, actor, leaf, lines, outcomes)"
    " SELECT -1, 'x', time, kind, actor, leaf, lines, outcomes FROM vs_entries WHERE seq = {seq}",
}


@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_tree_that_was_made_anew_does_not_fit_the_signed_checkpoint(log: Log, rewrite: str) -> None:
    first = filled(log)
    size = int(first.text.split("\n")[1])
    log.tamper(REWRITES[rewrite].format(seq=log.entry(size + 2)[0]))
    log.rebuild("e.seq")
    begins = 0 if rewrite == "put in" else size
    assert any(f"entry {begins}: from here" in line or "its end was cut off" in line for line in log.found())
    assert log.verify().kept == []


def test_entries_that_changed_places_are_found(log: Log) -> None:
    filled(log)
    (one, _), (two, _) = log.entry(4), log.entry(9)
    log.tamper(
        f"UPDATE vs_log SET entry = -1 WHERE entry = {one}",
        f"UPDATE vs_log SET entry = {one} WHERE entry = {two}",
        f"UPDATE vs_log SET entry = {two} WHERE entry = -1",
    )
    assert log.verify().findings[0].position == 4
    log.rebuild()
    assert any("reordered" in line for line in log.found())


def test_an_entry_that_was_written_past_the_log_is_named(log: Log) -> None:
    filled(log)
    seq, _ = log.entry(3)
    log.tamper(
        "INSERT INTO vs_entries (id, time, kind, actor, leaf, lines, outcomes)"
        f" SELECT 'planted', time, kind, actor, leaf, lines, outcomes FROM vs_entries WHERE seq = {seq}"
    )
    assert log.found() == ["the log (planted): is neither in the log nor waiting to be"]


def test_an_entry_that_is_dated_back_is_found(log: Log) -> None:
    log.fill(2)
    log.signed(after=timedelta(hours=1))  # the clock of the signer has moved on
    log.fill(1)
    log.signed(after=timedelta(hours=2))
    assert any("it was inserted later" in line for line in log.found())


def test_a_cut_end_is_found_by_the_checkpoint_in_the_database_and_else_by_one_kept_elsewhere(log: Log) -> None:
    first = filled(log)
    last = log.log.latest()
    assert last is not None
    size = int(first.text.split("\n")[1])
    cut = (
        f"DELETE FROM vs_entries WHERE seq IN (SELECT entry FROM vs_log WHERE position >= {size})",
        f"DELETE FROM vs_log WHERE position >= {size}",
    )
    log.tamper(*cut)
    assert any("its end was cut off" in line for line in log.found())
    log.tamper(f"DELETE FROM vs_checkpoints WHERE size > {size}")
    assert log.verify().whole  # a shorter log with its own older checkpoint: nothing here tells
    assert log.verify(first).whole
    assert any("its end was cut off" in line for line in log.found(last))


def test_a_second_history_is_found_by_a_checkpoint_of_the_first(log: Log) -> None:
    first = filled(log)
    last = log.log.latest()
    assert last is not None
    size = int(first.text.split("\n")[1])
    log.tamper(
        f"DELETE FROM vs_entries WHERE seq IN (SELECT entry FROM vs_log WHERE position >= {size})",
        f"DELETE FROM vs_log WHERE position >= {size}",
        f"DELETE FROM vs_checkpoints WHERE size > {size}",
    )
    log.fill(20)  # whoever has the signing key too goes on from there
    log.signed()
    assert log.verify().whole
    assert any("this is another log" in line for line in log.found(last))


def test_a_checkpoint_in_the_database_that_was_altered_is_told(log: Log) -> None:
    filled(log)
    log.tamper("UPDATE vs_checkpoints SET note = replace(note, 'example.com', 'example.org')")
    assert sum("the stored checkpoint of" in line for line in log.found()) == 2


def test_a_checkpoint_from_elsewhere_must_be_signed_by_the_logs_key(log: Log) -> None:
    filled(log)
    other = LocalKeys.memory()
    other.provision(KeyAccess("iss", frozenset(), (), {}))
    text = log.log.state(3).text
    public = next(iter(other.public_keys("audit").values()))
    foreign = sign_note(text, [(NoteKey(ORIGIN, public), lambda t: other.sign("audit", t).value)])
    with pytest.raises(ProofError, match="no key that is trusted here"):
        log.verify(foreign)


def test_an_erasures_lines_are_counted_and_harm_nothing(log: Log) -> None:
    filled(log)
    member = log.world.last().lines[0].subject
    log.world.subjects.erase(member, reason="asked")
    result = log.verify()
    assert result.whole
    assert result.erased_lines >= 1


def test_a_line_that_no_certificate_accounts_for_is_found(log: Log) -> None:
    filled(log)
    from vaultstore.audit import erase_line

    told = log.world.last()
    with log.world.gate_engine.begin() as connection:
        row = connection.execute(sa.text("SELECT seq, lines FROM vs_entries ORDER BY seq DESC LIMIT 1")).one()
        outcomes = sorted({line.outcome for line in told.lines})
        kept = erase_line(row.lines, outcomes, told.content["categories"], told.lines[0].subject)
        connection.execute(sa.text("UPDATE vs_entries SET lines = :l WHERE seq = :s"), {"l": kept, "s": row.seq})
    result = log.verify()
    assert [finding.what for finding in result.findings] == [
        "1 lines are erased, and the certificates of erasure account for 0"
    ]
    assert result.erased_lines == 1


def test_memory_does_not_grow_with_the_log(log: Log) -> None:
    if log.world.dialect == "postgresql":
        claims = """'{"jti":"j","actor":"a","role":"r","purpose":"p","attributes":{}}'"""
        rest = "'e' || i, 'seal', 'sealed', '{}', NULL, '{}', NULL, '', '{}', vsx_root('{}')"
        many = f"DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM vsx_write({claims}, {rest}); END LOOP; END $$"
        with log.world.gate_engine.begin() as connection:
            connection.exec_driver_sql(many)
    else:
        log.fill(300)
    log.signed()
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        assert log.verify().whole
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 40_000_000

"""The log's tree on both databases: places, proofs, checkpoints, and one sequencer at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.unit.audit.conftest import ORIGIN
from tests.unit.gate.world import World, postgres_world
from vaultstore import LocalKeys, merkle, records
from vaultstore.audit.checkpoint import Checkpoint, LeafProof, read_checkpoint
from vaultstore.audit.log import AuditLog, note_keys
from vaultstore.errors import AccessDenied, AuditError, ProofError, UnsupportedOperation
from vaultstore.gate import OpenGrant
from vaultstore.records import log as stored
from vaultstore.signed_note import Note

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def log_of(world: World) -> AuditLog:
    return AuditLog(world.gate_engine, ORIGIN)


def fill(world: World, count: int) -> None:
    """`count` more entries, some with lines."""
    opened, members = world.open("care"), world.members(2, "contact")
    for _ in range(count):
        world.disclose(opened, members, "contact")


def leaves(world: World) -> list[bytes]:
    return [told.leaf.encode() for told in world.entries()]


def test_entries_get_places_in_the_order_in_which_they_were_committed(world: World) -> None:
    fill(world, 7)
    log = log_of(world)
    assert log.sequence() == len(leaves(world))
    assert log.sequence() == 0
    expected = merkle.root([merkle.leaf_hash(leaf) for leaf in leaves(world)])
    assert log.state(log.size) == Checkpoint(ORIGIN, len(leaves(world)), expected)
    fill(world, 6)
    log.sequence()
    assert log.state(log.size).root == merkle.root([merkle.leaf_hash(leaf) for leaf in leaves(world)])


def test_a_checkpoint_is_signed_by_the_audit_key_and_kept(world: World, keys: LocalKeys) -> None:
    fill(world, 3)
    log = log_of(world)
    note = log.checkpoint(keys, NOW)
    checkpoint, signed = read_checkpoint(Note.parse(str(note)), ORIGIN, note_keys(keys, ORIGIN))
    assert (checkpoint, len(signed)) == (log.state(log.size), 1)
    assert log.latest() == note
    assert log.checkpoint(keys, NOW) == note  # nothing was added: nothing is signed anew


def test_every_entry_is_proved_by_the_newest_checkpoint_alone(world: World, keys: LocalKeys) -> None:
    fill(world, 9)
    log = log_of(world)
    log.checkpoint(keys, NOW)
    ids = [told.content["id"] for told in world.entries()]
    fill(world, 1)
    proofs = log.prove([*ids, "no-such-entry", world.last().content["id"]])
    assert list(proofs) == ids
    for leaf, proof in proofs.values():
        assert LeafProof.parse(str(proof)).verify(leaf.encode(), ORIGIN, note_keys(keys, ORIGIN)).size == len(ids)


def test_a_later_log_is_proved_to_begin_with_an_earlier_one(world: World) -> None:
    log, states = log_of(world), []
    for _ in range(4):
        fill(world, 3)
        log.sequence()
        states.append(log.state(log.size))
    for earlier in states:
        for later in states:
            if earlier.size <= later.size:
                proof = log.consistency(earlier.size, later.size)
                merkle.verify_consistency(earlier.size, later.size, proof, earlier.root, later.root)
    with pytest.raises(ProofError, match="fewer entries"):
        log.consistency(3, 10_000)


def test_a_proof_reads_as_many_rows_as_the_logarithm_of_the_log(world: World, keys: LocalKeys) -> None:
    fill(world, 100)
    log = log_of(world)
    log.checkpoint(keys, NOW)
    read: list[str] = []
    sa.event.listen(world.gate_engine, "before_cursor_execute", lambda c, cu, sql, *rest: read.append(sql))
    log.prove([world.entries()[50].content["id"]])
    assert len([sql for sql in read if "vs_log" in sql]) == 2  # its place, and the nodes of the path in one query


def test_a_log_that_lost_its_past_is_not_signed(world: World, keys: LocalKeys) -> None:
    fill(world, 5)
    log = log_of(world)
    log.checkpoint(keys, NOW)
    with world.gate_engine.begin() as connection:
        if world.dialect == "postgresql":
            connection.exec_driver_sql("ALTER TABLE vs_log DISABLE TRIGGER ALL")
        else:
            connection.exec_driver_sql("DROP TRIGGER vs_log_delete")
        connection.exec_driver_sql("DELETE FROM vs_log WHERE position >= 3")
    with pytest.raises(AuditError):
        log.checkpoint(keys, NOW)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vs_entries SET leaf = leaf || ' '",
        "UPDATE vs_entries SET seq = seq + 1000",
        "DELETE FROM vs_entries",
        "UPDATE vs_log SET nodes = nodes",
        "DELETE FROM vs_log",
        "UPDATE vs_checkpoints SET size = 1",
        "DELETE FROM vs_checkpoints",
    ],
)
def test_the_database_itself_refuses_to_change_the_past(world: World, keys: LocalKeys, change: str) -> None:
    fill(world, 2)
    log_of(world).checkpoint(keys, NOW)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), world.gate_engine.begin() as connection:
        connection.exec_driver_sql(change.replace("nodes = nodes", "nodes = '\\x00'") if "nodes" in change else change)


def test_lines_may_be_erased_and_the_tree_stays(world: World, keys: LocalKeys) -> None:
    fill(world, 2)
    log = log_of(world)
    before = log.checkpoint(keys, NOW)
    with world.gate_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vs_entries SET lines = lines, scopes = NULL")
    assert log.checkpoint(keys, NOW) == before


def test_nothing_is_disclosed_while_no_witness_has_signed_lately(world: World, keys: LocalKeys) -> None:
    log, member = log_of(world), world.member("contact")
    log.require_checkpoint_within(timedelta(minutes=15))
    answers = [("care", lambda opened: world.disclose(opened, [member], "contact"))]
    answers.append(("lookup", lambda opened: world.gate.search(opened, "Member", "phone", [b"x"])))

    def refused(purpose: str, ask: Callable[[OpenGrant], object]) -> bool:
        with contextlib.suppress(AccessDenied):
            ask(world.open(purpose))
            return False
        with pytest.raises(AccessDenied, match="audit checkpoint") as caught:
            ask(world.open(purpose))
        return caught.value.reason == "log.unwitnessed"

    def witnessed(ago: timedelta) -> None:
        now = datetime.now(UTC)
        log.checkpoint(keys, now)
        with world.gate_engine.begin() as connection:
            stored.save_checkpoint(connection, log.size, str(log.latest()), now, now - ago)

    assert all(refused(*answer) for answer in answers)
    assert world.last().content["outcome"] == "refused:log.unwitnessed"
    witnessed(timedelta(minutes=16))
    assert all(refused(*answer) for answer in answers)
    witnessed(timedelta(minutes=14))
    assert not any(refused(*answer) for answer in answers)
    world.member("contact")  # what is written needs no witness
    log.require_checkpoint_within(None)
    assert not any(refused(*answer) for answer in answers)
    with pytest.raises(UnsupportedOperation):
        log.require_checkpoint_within(timedelta(0))


@pytest.mark.integration
def test_two_sequencers_and_eight_writers_lose_and_double_nothing(pg_database: str, keys: LocalKeys) -> None:
    engine = sa.create_engine(pg_database)
    records.create_all(engine, engine)
    with postgres_world(pg_database) as world:
        opened, members = world.open("care"), world.members(8, "contact")
        done = threading.Event()

        def write(at: int) -> None:
            for _ in range(25):
                world.disclose(opened, members[at : at + 1], "contact")

        def sequence() -> None:
            while not done.is_set():
                AuditLog(world.gate_engine, ORIGIN).sequence()

        sequencers = [threading.Thread(target=sequence) for _ in range(2)]
        writers = [threading.Thread(target=write, args=(at,)) for at in range(8)]
        for thread in (*sequencers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in sequencers:
            thread.join()
        log = log_of(world)
        log.sequence()
        with engine.connect() as connection:
            order = connection.execute(sa.text("SELECT entry FROM vs_log ORDER BY position")).scalars().all()
            entries = connection.execute(sa.text("SELECT seq FROM vs_entries ORDER BY seq")).scalars().all()
        assert sorted(order) == list(entries)
        assert log.size == len(entries)
    engine.dispose()

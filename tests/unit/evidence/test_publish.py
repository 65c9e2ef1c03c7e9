"""Checkpoints that leave the house: files, and witnesses who hold the log to what they signed."""

from __future__ import annotations

import http.client
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.unit.audit.conftest import ORIGIN, Log
from vaultstore.audit.checkpoint import encode, read_checkpoint
from vaultstore.errors import AuditError, SettingsError
from vaultstore.evidence.publish import Witness, to_folder, to_witnesses
from vaultstore.records import log as stored
from vaultstore.signed_note import Note, NoteKey
from vaultstore.testing.witness import WitnessServer


def witness_of(log: Log, folder: Path, name: str = "witness.example/w1", **more: object) -> WitnessServer:
    return WitnessServer(name, {ORIGIN: log.public}, folder / f"{name.replace('/', '-')}.json", **more)  # type: ignore[arg-type]


def post(server: WitnessServer, body: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    connection.request("POST", "/add-checkpoint", body.encode())
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_witnesses_sign_what_continues_what_they_signed(log: Log, tmp_path: Path) -> None:
    with witness_of(log, tmp_path) as one, witness_of(log, tmp_path, "witness.example/w2") as two:
        witnesses = [Witness.parse(str(one)), Witness.parse(str(two))]
        for _ in range(3):
            log.fill(3)
            note, failed = to_witnesses(log.world.gate_engine, log.log, log.signed(), witnesses)
            assert not failed
            checkpoint, signed = read_checkpoint(Note.parse(str(note)), ORIGIN, [*log.public, one.key, two.key])
            assert [s.key.name for s in signed] == [ORIGIN, "witness.example/w1", "witness.example/w2"]
        with log.world.gate_engine.connect() as connection:
            last = next(stored.checkpoints(connection, newest=True, witnessed=True))
        assert last.size == checkpoint.size
        assert last.note == str(note)
        assert last.witnessed_at is not None
        assert abs((datetime.now(UTC) - last.witnessed_at).total_seconds()) < 60
    assert log.verify().whole


def test_a_witness_does_not_sign_a_second_history(log: Log, tmp_path: Path) -> None:
    with witness_of(log, tmp_path) as server:
        witness = Witness.parse(str(server))
        log.fill(5)
        to_witnesses(log.world.gate_engine, log.log, log.signed(), [witness])
        size = log.log.size
        log.tamper(
            "DELETE FROM vs_checkpoints",
            f"UPDATE vs_entries SET leaf = replace(leaf, 'clerk', 'chief') WHERE seq = {log.entry(size - 1)[0]}",
        )
        log.rebuild()
        _note, failed = to_witnesses(log.world.gate_engine, log.log, log.signed(), [witness])
        assert "another history" in failed[witness.key.name]
        log.fill(4)
        _, failed = to_witnesses(log.world.gate_engine, log.log, log.signed(), [witness])
        assert failed[witness.key.name] == "it answered with status 422"
        with log.world.gate_engine.connect() as connection:
            assert not list(stored.checkpoints(connection, witnessed=True))


def test_one_silent_witness_of_two_leaves_a_quorum_of_one(log: Log, tmp_path: Path) -> None:
    log.fill(1)
    with witness_of(log, tmp_path) as one:
        witnesses = [Witness.parse(str(one)), Witness(one.key, "http://127.0.0.1:1")]
        _note, failed = to_witnesses(log.world.gate_engine, log.log, log.signed(), witnesses, quorum=1)
        assert list(failed) == [one.key.name]
        with log.world.gate_engine.connect() as connection:
            assert next(stored.checkpoints(connection, newest=True)).witnessed_at is not None


@pytest.mark.parametrize("ahead", [10**9, 2**63 - 1])
def test_a_witness_whose_clock_is_ahead_gives_no_longer_time(log: Log, tmp_path: Path, ahead: int) -> None:
    log.fill(1)
    with witness_of(log, tmp_path, clock=lambda: min(time.time() + ahead, 2**63 - 1)) as server:
        _, failed = to_witnesses(log.world.gate_engine, log.log, log.signed(), [Witness.parse(str(server))])
    assert not failed
    with log.world.gate_engine.connect() as connection:
        witnessed_at = next(stored.checkpoints(connection, witnessed=True)).witnessed_at
    assert witnessed_at is not None
    assert witnessed_at <= datetime.now(UTC)


def test_an_answer_of_somebody_else_is_no_signature(log: Log, tmp_path: Path) -> None:
    log.fill(1)
    with witness_of(log, tmp_path) as server, witness_of(log, tmp_path, "witness.example/other") as other:
        note, failed = to_witnesses(log.world.gate_engine, log.log, log.signed(), [Witness(other.key, server.url)])
        assert "no key that is trusted here" in failed[other.key.name]
        assert len(note.signatures) == 1


def test_the_statuses_are_those_of_the_specification(log: Log, tmp_path: Path) -> None:
    log.fill(3)
    note = str(log.signed())
    state = log.log.state(2)
    with witness_of(log, tmp_path) as server:
        assert post(server, f"old 0\n\n{note}")[0] == 200
        assert post(server, f"old 0\n\n{note}") == (409, f"{log.log.size}\n")
        assert post(server, f"old 999\n\n{note}")[0] == 400
        assert post(server, f"old {log.log.size}\n{encode(state.root)}\n\n{note}")[0] == 422
        assert post(server, f"old 0\n\n{note.replace(ORIGIN, 'example.com/other')}")[0] == 404
        assert post(server, "nonsense")[0] == 400
        assert post(server, f"old 01\n\n{note}")[0] == 400
    with WitnessServer("w", {ORIGIN: [NoteKey(ORIGIN, bytes(32))]}, tmp_path / "x.json") as stranger:
        assert post(stranger, f"old 0\n\n{note}")[0] == 403


def test_a_file_holds_a_checkpoint_and_never_two_histories(log: Log, tmp_path: Path) -> None:
    log.fill(2)
    note = log.signed()
    path = to_folder(note, tmp_path / "kept")
    assert path.name == f"checkpoint-{log.log.size}.note"
    assert Note.parse(path.read_bytes()) == note
    assert to_folder(note, tmp_path / "kept") == path
    lines = note.text.split("\n")
    other = Note("\n".join([lines[0], lines[1], encode(bytes(32)), ""]), note.signatures)
    with pytest.raises(AuditError, match="another history"):
        to_folder(other, tmp_path / "kept")
    assert Note.parse(path.read_bytes()) == note


@pytest.mark.parametrize(
    "text", ["", "x", "https://w.example", "KEY@https://w.example", "{key}", "{key}@http://w.example"]
)
def test_what_is_no_witness_is_refused(text: str, log: Log) -> None:
    key = NoteKey("w.example", bytes(range(32)), 4)
    with pytest.raises(SettingsError):
        Witness.parse(text.format(key=key))
    assert Witness.parse(f"{key}@https://w.example/path/").url == "https://w.example/path"

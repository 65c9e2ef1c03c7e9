"""Checkpoints leave the database: to files, and to witnesses by the protocol of c2sp.org/tlog-witness.

Only a checkpoint that lies where the log's operator can't reach it holds the operator to it.
"""

from __future__ import annotations

import http.client
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import sqlalchemy as sa

from vaultstore.audit.checkpoint import Checkpoint, encode, number
from vaultstore.audit.log import AuditLog
from vaultstore.errors import AuditError, ProofError, SettingsError
from vaultstore.records import log as stored
from vaultstore.signed_note import COSIGNATURE, Note, NoteKey, NoteSignature

__all__ = ["Witness", "to_folder", "to_witnesses"]

_LARGEST_ANSWER = 64 * 1024
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody else who signs that the log only grows: their key, and where they take checkpoints."""

    key: NoteKey
    url: str

    @classmethod
    def parse(cls, text: str) -> Witness:
        """Read ``KEY@URL``: a note key of a cosigner in text form, and the prefix that ``/add-checkpoint`` goes behind.

        Raises SettingsError.
        """
        key, at, url = text.partition("@")
        try:
            parsed = NoteKey.parse(key)
        except ProofError as flaw:
            raise SettingsError(f"a witness is KEY@URL: {flaw}") from None
        if parsed.kind != COSIGNATURE:
            raise SettingsError(f"the key of the witness {parsed.name} is not one of a cosigner")
        split = urlsplit(url)
        if not at or not split.hostname or not (split.scheme == "https" or _is_near(split)):
            raise SettingsError(f"the witness {parsed.name} takes an https URL behind its key and an @")
        return cls(parsed, url.rstrip("/"))


def to_folder(note: Note, folder: Path) -> Path:
    """Write a checkpoint to ``checkpoint-<size>.note`` in `folder`, whole or not at all; the file's path.

    One of that name stays where it says the same. Raises AuditError where it says something else of as many entries:
    then there are two histories.
    """
    checkpoint = Checkpoint.parse(note.text)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{checkpoint.size}.note"
    if path.exists() and Note.parse(path.read_bytes()).text != note.text:
        raise AuditError(f"{path} is of another log, or of another history of this one: keep both, and find out why")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("w", encoding="utf-8") as file:
        file.write(str(note))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def to_witnesses(
    engine: sa.Engine, log: AuditLog, note: Note, witnesses: Sequence[Witness], *, quorum: int | None = None
) -> tuple[Note, dict[str, str]]:
    """Ask each witness to sign a checkpoint that the log has stored; the note with what they signed, and who did not.

    Where at least `quorum` of them signed (default: all), it is stored as witnessed: at the earliest of their times,
    now at the latest. The second value is name -> why, of those that gave no valid signature.
    """
    failed: dict[str, str] = {}
    times: list[int] = []
    for witness in witnesses:
        try:
            signatures, time = _cosigned(log, note, witness)
        except (AuditError, OSError, http.client.HTTPException) as error:
            failed[witness.key.name] = str(error) or type(error).__name__
            continue
        note = note.with_signatures(signatures)
        times.append(time)
    enough = bool(times) and len(times) >= (len(witnesses) if quorum is None else quorum)
    with engine.begin() as connection:
        now = datetime.now(UTC)
        # A witness whose clock is ahead must not make the checkpoint count for longer than it is old.
        witnessed = datetime.fromtimestamp(min(*times, int(now.timestamp())), UTC) if enough else None
        stored.save_checkpoint(connection, Checkpoint.parse(note.text).size, str(note), now, witnessed)
    return note, failed


def _cosigned(log: AuditLog, note: Note, witness: Witness) -> tuple[list[NoteSignature], int]:
    checkpoint = Checkpoint.parse(note.text)
    old = 0
    for _ in range(3):  # once to learn how far the witness is; again where somebody else was faster
        status, answer = _post(witness, _request(log, checkpoint, note, old))
        if status != http.HTTPStatus.CONFLICT:
            break
        known = number(answer.rstrip("\n"), "the size that the witness knows")
        if known > checkpoint.size or known == old:
            raise AuditError(f"it has signed {known} entries of this log, or another history of it")
        old = known
    if status != http.HTTPStatus.OK:
        raise AuditError(f"it answered with status {status}")
    answered = Note.parse(f"{note.text}\n{answer}")
    times = [one.time for one in answered.verify([witness.key]) if one.time is not None]
    own = [s for s in answered.signatures if (s.name, s.id) == (witness.key.name, witness.key.id)]
    return own, max(times)


def _request(log: AuditLog, checkpoint: Checkpoint, note: Note, old: int) -> str:
    proof = log.consistency(old, checkpoint.size) if old else []
    return "".join(f"{line}\n" for line in (f"old {old}", *map(encode, proof), "")) + str(note)


def _post(witness: Witness, body: str) -> tuple[int, str]:
    url = urlsplit(witness.url)
    connection = _connect(url)
    try:
        connection.request("POST", f"{url.path}/add-checkpoint", body.encode(), {"Content-Type": "text/plain"})
        response = connection.getresponse()
        answer = response.read(_LARGEST_ANSWER + 1)
    finally:
        connection.close()
    if len(answer) > _LARGEST_ANSWER:
        raise AuditError("its answer is too long")
    try:
        return response.status, answer.decode()
    except UnicodeDecodeError:
        raise AuditError("its answer is not text") from None


def _connect(url: SplitResult) -> http.client.HTTPConnection:
    host = url.hostname or ""
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=10, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, url.port, timeout=10)


def _is_near(url: SplitResult) -> bool:
    return url.scheme == "http" and url.hostname in _LOOPBACK

"""The audit log as a tree: one sequencer gives entries their places, and signs how far it has come.

Entries commit by themselves, before anything is disclosed; the sequencer only puts what is committed into the tree, in
an order that never changes after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from vaultstore import merkle
from vaultstore.audit.checkpoint import Checkpoint, LeafProof
from vaultstore.errors import AuditError, ProofError, UnsupportedOperation
from vaultstore.keys.protocols import Signer
from vaultstore.records import log as stored
from vaultstore.records import subject_lines
from vaultstore.records.sqlite import IMMEDIATE
from vaultstore.signed_note import Note, NoteKey, sign_note

__all__ = ["SIGNING_KEY", "AuditLog", "note_keys"]

SIGNING_KEY = "audit"
"""Name of the key that signs checkpoints."""

_BATCH = 2000


def note_keys(signer: Signer, origin: str) -> list[NoteKey]:
    """The keys that checkpoints of the log called `origin` may be signed with: every version that still verifies."""
    return [NoteKey(origin, public) for public in signer.public_keys(SIGNING_KEY).values()]


class AuditLog:
    """The log in one database. `origin` names it in every checkpoint, as ``example.com/members``: without a scheme.

    `engine` is the gate's, or an auditor's on the same tables. Safe to use from several threads and processes.
    """

    def __init__(self, engine: sa.Engine, origin: str) -> None:
        self._engine, self.origin = engine.execution_options(**{IMMEDIATE: True}), origin

    def __repr__(self) -> str:
        return f"<AuditLog {self.origin}>"

    # ------------------------------------------------------------------------------------------------ sequencing

    def sequence(self, progress: Callable[[int], None] | None = None) -> int:
        """Put every committed entry into the tree, in batches of their own transactions; how many it were.

        Where another process is at it, nothing is done: 0. `progress` is told the number of each batch.
        """
        done = 0
        while True:
            with self._engine.begin() as connection:
                count = self._sequence(connection, _BATCH)
            done += count
            if progress is not None:
                progress(count)
            if count < _BATCH:
                return done

    def _sequence(self, connection: sa.Connection, limit: int) -> int:
        if not stored.lock(connection):
            return 0
        waiting = stored.pending(connection, limit)
        if waiting:
            size = stored.size(connection)
            grown = _grow(size, self._peaks(connection, size), [merkle.leaf_hash(leaf.encode()) for _, leaf in waiting])
            stored.append(
                connection,
                [(size + at, seq, nodes) for at, ((seq, _), nodes) in enumerate(zip(waiting, grown, strict=True))],
            )
            subject_lines.note(connection, [seq for seq, _ in waiting])
        return len(waiting)

    def checkpoint(self, signer: Signer, now: datetime) -> Note:
        """Sequence what is committed, sign the tree, and keep the note. The newest one where nothing was added.

        Raises AuditError where the log no longer continues its own last checkpoint: then nothing is signed.
        """
        self.sequence()
        with self._engine.begin() as connection:
            size = stored.size(connection)
            last = next(stored.checkpoints(connection, newest=True), None)
            checkpoint = self._state(connection, size)
            if last is not None:
                note = Note.parse(last.note)
                self._check_continues(connection, Checkpoint.parse(note.text), checkpoint)
                if last.size == size:
                    return note
            signature = signer.sign(SIGNING_KEY, checkpoint.text.encode())
            public = signer.public_keys(SIGNING_KEY)[signature.key_id]
            note = sign_note(checkpoint.text, [(NoteKey(self.origin, public), lambda text: signature.value)])
            note.verify([NoteKey(self.origin, public)])
            stored.save_checkpoint(connection, size, str(note), now)
            return note

    def _check_continues(self, connection: sa.Connection, last: Checkpoint, now: Checkpoint) -> None:
        if last.size > now.size or self._state(connection, last.size).root != last.root:
            raise AuditError(
                f"the log does not continue its checkpoint of {last.size} entries and is not signed: run audit verify"
            )

    def require_checkpoint_within(self, within: timedelta | None) -> None:
        """Have the gate refuse disclosures and searches while no witnessed checkpoint is younger than this.

        It holds for every process that uses the database, from its next request on. None lifts it.
        Raises UnsupportedOperation for less than a second.
        """
        seconds = None if within is None else int(within.total_seconds())
        if seconds is not None and not 1 <= seconds < 2**31:
            raise UnsupportedOperation("a witnessed checkpoint can be required within a second, or longer")
        with self._engine.begin() as connection:
            stored.require_witnessed(connection, seconds)

    # -------------------------------------------------------------------------------------------------- proving

    @property
    def size(self) -> int:
        """How many entries the tree has."""
        with self._engine.connect() as connection:
            return stored.size(connection)

    def latest(self) -> Note | None:
        """The newest checkpoint, or None where there is none."""
        with self._engine.connect() as connection:
            last = next(stored.checkpoints(connection, newest=True), None)
        return None if last is None else Note.parse(last.note)

    def prove(self, entries: Sequence[str]) -> dict[str, tuple[str, LeafProof]]:
        """Entry id -> (leaf, proof that it is in the log of the newest checkpoint).

        Entries that are not in that checkpoint's tree are left out. Raises ProofError where there is no checkpoint.
        """
        with self._engine.connect() as connection:
            last = next(stored.checkpoints(connection, newest=True), None)
            if last is None:
                raise ProofError("there is no checkpoint yet: make one with `vaultstore audit checkpoint`")
            places = {entry: stored.position(connection, entry) for entry in entries}
            inside = {e: found for e, found in places.items() if found is not None and found[0] < last.size}
            wanted = {n for at, _ in inside.values() for part in merkle.inclusion_nodes(at, last.size) for n in part}
            nodes = stored.nodes(connection, wanted)
        note = Note.parse(last.note)
        return {
            entry: (leaf, LeafProof(at, tuple(merkle.inclusion_proof(at, last.size, _whole(nodes, wanted))), note))
            for entry, (at, leaf) in inside.items()
        }

    def consistency(self, size1: int, size2: int) -> list[bytes]:
        """The proof that the first `size2` entries begin with the first `size1`. Raises ProofError."""
        with self._engine.connect() as connection:
            wanted = {node for part in merkle.consistency_nodes(size1, size2) for node in part}
            return merkle.consistency_proof(size1, size2, _whole(stored.nodes(connection, wanted), wanted))

    def state(self, size: int) -> Checkpoint:
        """The unsigned checkpoint of the first `size` entries. Raises ProofError where there are fewer."""
        with self._engine.connect() as connection:
            return self._state(connection, size)

    def _state(self, connection: sa.Connection, size: int) -> Checkpoint:
        return Checkpoint(self.origin, size, merkle.root_of_peaks(self._peaks(connection, size)))

    def _peaks(self, connection: sa.Connection, size: int) -> list[bytes]:
        wanted = merkle.peaks(size)
        nodes = _whole(stored.nodes(connection, wanted), wanted)
        return [nodes[node] for node in wanted]


def _grow(size: int, peaks: Sequence[bytes], leaves: Sequence[bytes]) -> list[bytes]:
    """For each new leaf of a tree, the perfect nodes that it completes, from itself upwards, in one piece."""
    stack, grown = list(peaks), []
    for at, node in enumerate(leaves, size):
        completed = [node]
        while at & 1:
            node = merkle.node_hash(stack.pop(), node)
            completed.append(node)
            at >>= 1
        stack.append(node)
        grown.append(b"".join(completed))
    return grown


def _whole(
    nodes: dict[merkle.Node, bytes], wanted: Sequence[merkle.Node] | set[merkle.Node]
) -> dict[merkle.Node, bytes]:
    if len(nodes) < len({*wanted}):
        raise ProofError("the log's tree has fewer entries than that, or rows of it are missing: run audit verify")
    return nodes

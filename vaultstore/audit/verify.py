"""Checking a whole log: every entry against its leaf, every hash against the tree, every checkpoint against its key.

Streams the log in chunks: memory does not grow with it. What a database administrator can do to a log falls in two
kinds. Whatever touches entries that a checkpoint was signed over is found here, by the checkpoint in the database
itself. Cutting the log's end, going back to an older copy, or keeping two logs can only be found against a checkpoint
that was kept elsewhere; without one it is not checked, and the result says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from vaultstore import merkle
from vaultstore.audit.checkpoint import Checkpoint, read_checkpoint
from vaultstore.audit.entry import verify_entry
from vaultstore.audit.erased import beyond_certificates, false_acts, lines_after
from vaultstore.errors import AuditError, ProofError
from vaultstore.records import journal as restored
from vaultstore.records import log as stored
from vaultstore.records import pseudonyms
from vaultstore.records.log import LogRow
from vaultstore.signed_note import Note, NoteKey

__all__ = ["Finding", "Verified", "verify_log"]

_MOST = 20
"""Findings after which looking on would add nothing."""

_LATE = timedelta(minutes=10)
"""An entry dated so long before a checkpoint that came before it was inserted later."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written. `position` is the place in the log, from 0, where there is one."""

    position: int | None
    entry: str | None
    what: str

    def __str__(self) -> str:
        where = "the log" if self.position is None else f"entry {self.position}"
        return f"{where}{f' ({self.entry})' if self.entry else ''}: {self.what}"


@dataclass(slots=True)
class Verified:
    """What was checked, and what was found. The log is whole where `findings` is empty."""

    checkpoint: Checkpoint
    """The log as it is now, unsigned."""
    waiting: int = 0
    """Entries that are not in the tree yet."""
    erased_lines: int = 0
    erased_actors: int = 0
    """Entries that an erasure took the actor's name from: a member's own acts."""
    signed: int = 0
    """Checkpoints in the database that hold."""
    covered: int = 0
    """Entries that a checkpoint in the database is signed over."""
    kept: list[Checkpoint] = field(default_factory=list)
    """Checkpoints from elsewhere that the log continues."""
    findings: list[Finding] = field(default_factory=list)
    """In the order of the log; the first one names the first bad entry."""

    @property
    def whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def verify_log(
    engine: sa.Engine,
    origin: str,
    keys: Sequence[NoteKey],
    kept: Iterable[Note] = (),
    progress: Callable[[int], None] | None = None,
) -> Verified:
    """Check every entry, line, hash and checkpoint of a log.

    `keys` are the public keys of the log (and of witnesses); `kept` are checkpoints from outside of this database.
    `progress` is told the number of entries of each chunk. Raises ProofError for a kept checkpoint that was not signed
    by `keys`: it says nothing about the log.
    """
    outside = sorted((read_checkpoint(note, origin, keys)[0] for note in kept), key=lambda c: c.size)
    with engine.connect() as connection:
        inside, odd = _stored(connection, origin, keys)
        known = restored.restored(connection)
        walk = _Walk(pseudonyms.key_of(connection), [*inside, *((c, None) for c in outside)], known)
        for chunk in stored.rows(connection):
            for row in chunk:
                walk.entry(row)
            if progress is not None:
                progress(len(chunk))
            if len(walk.findings) >= _MOST:
                break
        waiting, strays = stored.strays(connection, _MOST)
        gone = beyond_certificates(connection, walk.erased_lines, walk.erased_actors)
        past = [*false_acts(connection), *lines_after(connection, _MOST)]
    result = Verified(Checkpoint(origin, walk.size, walk.root()), waiting, walk.erased_lines, walk.erased_actors)
    over = [c for c, _ in inside if c.size <= walk.size]
    result.signed, result.covered = len(over), max((c.size for c in over), default=0)
    result.kept = [c for c in outside if walk.roots.get(c.size) == c.root]
    result.findings = walk.findings[:_MOST]
    if len(walk.findings) < _MOST:
        result.findings += [*odd, *walk.beyond()]
        result.findings += [Finding(None, None, gone)] if gone is not None else []
        result.findings += [Finding(None, entry, what) for entry, what in past[:_MOST]]
        result.findings += [Finding(None, entry, "is neither in the log nor waiting to be") for entry in strays]
    return result


def _stored(
    connection: sa.Connection, origin: str, keys: Sequence[NoteKey]
) -> tuple[list[tuple[Checkpoint, datetime | None]], list[Finding]]:
    """The database's own checkpoints that are signed, with their times, and what is wrong with the others."""
    good: list[tuple[Checkpoint, datetime | None]] = []
    odd: list[Finding] = []
    for one in stored.checkpoints(connection):
        try:
            checkpoint, _ = read_checkpoint(Note.parse(one.note), origin, keys)
            if checkpoint.size != one.size:
                raise ProofError("its note is of another size")
            good.append((checkpoint, one.made_at))
        except ProofError as flaw:
            odd.append(Finding(None, None, f"the stored checkpoint of {one.size} entries does not hold: {flaw}"))
    return good, odd


class _Walk:
    """The way through the log, entry by entry."""

    def __init__(
        self,
        secret: bytes,
        checkpoints: list[tuple[Checkpoint, datetime | None]],
        restored: Mapping[tuple[int, bytes], str],
    ) -> None:
        self._secret, self._restored = secret, restored
        self.size = self.erased_lines = self.erased_actors = 0
        self.findings: list[Finding] = []
        self.roots: dict[int, bytes] = {}
        self._peaks: list[bytes] = []
        self._wanted = sorted(checkpoints, key=lambda pair: pair[0].size)
        self._passed = 0
        self._good = 0
        self._after: datetime | None = None
        self._check()

    def root(self) -> bytes:
        """The root over the entries so far."""
        return merkle.root_of_peaks(self._peaks)

    def entry(self, row: LogRow) -> None:
        """Check one row, and go on."""
        if row.position != self.size:
            self._found(None, None, f"entries {self.size} to {row.position - 1} are missing from the tree")
            # What comes after can't be placed: its hashes were made over what is missing.
            self.size, self._peaks = row.position, []
        completed = self._completed(self._leaf(row))
        if completed is not None and completed != row.nodes:
            self._found(row.position, row.id, "the tree's hashes are not those of this entry and the ones before it")
        self.size += 1
        self._check()

    def beyond(self) -> Iterator[Finding]:
        """Checkpoints of a longer log than this one."""
        for checkpoint, _ in self._wanted[self._passed :]:
            yield Finding(
                None,
                None,
                f"it has {self.size} entries, and a signed checkpoint says {checkpoint.size}: its end was cut off, or"
                f" an older copy was put in its place{self._told(checkpoint)}",
            )

    def _told(self, checkpoint: Checkpoint) -> str:
        """What the log itself says of a checkpoint that it does not continue: it is no excuse, and a place to look."""
        entry = self._restored.get((checkpoint.size, checkpoint.root))
        return f"; entry {entry} says that it was restored from a backup then" if entry else ""

    def _leaf(self, row: LogRow) -> bytes:
        """The hash of the leaf as it should be: of the entry, or where that is gone the one on record."""
        if row.leaf is None or row.lines is None or row.outcomes is None:
            self._found(row.position, None, "was deleted")
            return row.nodes[: merkle.HASH_SIZE]
        hashed = merkle.leaf_hash(row.leaf.encode())
        if hashed != row.nodes[: merkle.HASH_SIZE]:
            self._found(row.position, row.id, "its leaf is not the one that was logged: it was edited")
            return row.nodes[: merkle.HASH_SIZE]
        try:
            content = verify_entry(row.leaf, row.lines, json.loads(row.outcomes))
        except (AuditError, ValueError) as flaw:
            self._found(row.position, row.id, f"its lines were changed: {flaw}")
            return hashed
        self.erased_lines += row.lines[56::57].count(b"\xff")
        self.erased_actors += row.actor == ""
        actor = pseudonyms.pseudonym(self._secret, row.actor) if row.actor else content["actor"]
        beside = (row.id, row.kind, row.time, actor)
        if beside != (content["id"], content["kind"], datetime.fromisoformat(content["time"]), content["actor"]):
            self._found(row.position, row.id, "its id, kind, time or actor beside the leaf is another than in it")
        if self._after is not None and row.time is not None and row.time < self._after - _LATE:
            self._found(
                row.position, row.id, "is dated before a checkpoint that was signed ahead of it: it was inserted later"
            )
        return hashed

    def _completed(self, leaf: bytes) -> bytes | None:
        """The nodes that this leaf completes; None after a gap, where they can't be known."""
        missing = self.size.bit_count() - len(self._peaks)
        node, completed, at = leaf, [leaf], self.size
        while at & 1 and self._peaks:
            node = merkle.node_hash(self._peaks.pop(), node)
            completed.append(node)
            at >>= 1
        if at & 1:
            return None
        self._peaks.append(node)
        return None if missing else b"".join(completed)

    def _check(self) -> None:
        """Hold what was walked so far against the checkpoints of this size."""
        while self._passed < len(self._wanted) and self._wanted[self._passed][0].size == self.size:
            checkpoint, made_at = self._wanted[self._passed]
            self._passed += 1
            self.roots[self.size] = self.root()
            if checkpoint.root != self.roots[self.size]:
                self._found(
                    self._good if self._good < self.size else None,
                    None,
                    f"from here to entry {self.size - 1} is not what the checkpoint of {self.size} entries was signed"
                    " over: entries were edited, put in or reordered, or this is another log"
                    f"{self._told(checkpoint)}",
                )
            elif made_at is not None:
                self._after = made_at if self._after is None else max(self._after, made_at)
            self._good = self.size

    def _found(self, position: int | None, entry: str | None, what: str) -> None:
        self.findings.append(Finding(position, entry, what))

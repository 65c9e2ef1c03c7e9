"""Two logs of the same thing, kept by programs that don't trust each other, held against each other.

Our audit log says what the gate admitted; Vault's says which data keys it unwrapped, for whom, and under which of our
entries. An unwrap without an entry is a read past the gate. Neither log is held in memory: they can have any length.
"""

from __future__ import annotations

import sqlite3
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from vaultstore.audit import parse_lines, read_leaf
from vaultstore.errors import AuditError
from vaultstore.evidence.vault_log import Unwrap, VaultLog
from vaultstore.gate.scopes import unpack_pairs
from vaultstore.records import entries
from vaultstore.records.entries import StoredEntry

__all__ = ["Mismatch", "Reconciled", "reconcile"]

_CHUNK = 500
_WARM = 300
"""Seconds that an opened data key may be used again under its grant: then an entry has no unwrap of its own."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that one log has and the other has not, or has otherwise."""

    kind: str
    """``no entry``, ``other purpose``, ``other token``, ``other subject``, ``other category``, ``other scope``,
    ``no purpose``, ``no unwrap`` or ``entry unreadable``."""
    text: str
    """What and where, in a sentence; ids only."""


@dataclass(slots=True)
class Reconciled:
    """How the logs compare. They agree where `found` is empty."""

    unwraps: int = 0
    refused: int = 0
    """Unwraps that Vault did not give out."""
    matched: int = 0
    entries: int = 0
    """Disclosures of ours in the time that Vault's log covers."""
    from_open_keys: int = 0
    """Disclosures that needed no unwrap: their keys had been opened, or made, under the same token just before."""
    found: Counter[str] = field(default_factory=Counter)
    """Kind of mismatch -> how many."""


def reconcile(
    engine: sa.Engine,
    vault_log: VaultLog,
    tell: Callable[[Mismatch], None],
    progress: Callable[[int], None] | None = None,
) -> Reconciled:
    """Match every unwrap of Vault's log with an entry of ours, and every disclosure of ours with an unwrap.

    Each mismatch is told at once; what is returned are counts. `progress` is told of so many unwraps at a time.
    Disclosures outside of the time that Vault's log covers are left out: it says nothing of them. Raises AuditError for
    what is no such log.
    """
    result = Reconciled()

    def found(kind: str, text: str) -> None:
        result.found[kind] += 1
        tell(Mismatch(kind, text))

    with _notebook() as book, engine.connect() as connection:
        for chunk in _chunks(vault_log):
            _match(connection, chunk, result, found)
            book.executemany(
                "INSERT INTO unwrapped VALUES (?, ?, ?, ?)",
                [(u.reference, u.jti, u.subject, u.time.timestamp()) for u in chunk if u.opened],
            )
            if progress is not None:
                progress(len(chunk))
        covered = vault_log.covers()
        if covered is not None:
            book.execute("CREATE INDEX by_reference ON unwrapped (reference)")
            book.execute("CREATE INDEX by_token ON unwrapped (jti, subject, time)")
            _other_way(connection, book, covered[0].timestamp(), covered[1].timestamp(), result, found)
    return result


_Found = Callable[[str, str], None]


def _match(connection: sa.Connection, chunk: list[Unwrap], result: Reconciled, found: _Found) -> None:
    """Vault's side: an entry for each unwrap, which admitted exactly this."""
    known = entries.by_id(connection, {u.reference for u in chunk if u.reference})
    admitted = {name: _admitted(entry) for name, entry in known.items()}
    for unwrap in chunk:
        result.unwraps += 1
        if not unwrap.opened:
            result.refused += 1
            continue
        where = f"Vault's line {unwrap.line} at {unwrap.time:%Y-%m-%d %H:%M:%S} UTC"
        what = f"a key of {_name(unwrap.subject)}, category {unwrap.category}"
        by = f"by {unwrap.purpose or 'a login that is no purpose'}"
        if unwrap.reference is None or unwrap.reference not in admitted:
            entry = f"under the entry {unwrap.reference}, which is not ours" if unwrap.reference else "under no entry"
            found("no entry", f"{where}: {what} was unwrapped {by} {entry}: somebody went past the gate")
            continue
        content = admitted[unwrap.reference]
        if content is None:
            found("entry unreadable", f"entry {unwrap.reference} can't be read: run audit verify")
            continue
        kind = content.differs(unwrap)
        if kind is None:
            result.matched += 1
        else:
            found(kind, f"{where}: {what} was unwrapped {by} under entry {unwrap.reference}, which did not admit that")


@dataclass(frozen=True, slots=True)
class _Content:
    """What an entry admitted, for comparing."""

    kind: str
    purpose: str
    jti: str
    categories: frozenset[str]
    subjects: frozenset[bytes]
    pairs: frozenset[tuple[bytes, bytes]] | None
    erased: bool

    def differs(self, unwrap: Unwrap) -> str | None:
        """The kind of mismatch with an unwrap, or None."""
        if unwrap.purpose is None:
            return "no purpose"
        if self.purpose != unwrap.purpose:
            return "other purpose"
        if self.jti != unwrap.jti:
            return "other token"
        if self.kind != "disclose" or unwrap.category not in self.categories:
            return "other category"
        if self.erased:  # who it was about is gone, as it should be
            return None
        if unwrap.subject not in self.subjects:
            return "other subject"
        pair = (unwrap.subject, unwrap.scope)
        return None if (pair in self.pairs if self.pairs is not None else not unwrap.scope) else "other scope"


def _admitted(entry: StoredEntry) -> _Content | None:
    try:
        leaf = read_leaf(entry.leaf)
        stored = parse_lines(entry.lines, entry.outcomes)
    except AuditError:
        return None
    return _Content(
        leaf["kind"],
        leaf["purpose"],
        leaf["jti"],
        frozenset(leaf["categories"]),
        frozenset(one.line.subject for one in stored if one.line is not None and one.line.outcome == "disclosed"),
        None if entry.scopes is None else unpack_pairs(entry.scopes),
        any(one.line is None for one in stored),
    )


def _other_way(
    connection: sa.Connection, book: sqlite3.Connection, first: float, last: float, result: Reconciled, found: _Found
) -> None:
    """Our side: an unwrap for each disclosure, or keys that were open under the same token."""
    after = 0
    while True:
        read = entries.read(connection, after, _CHUNK)
        if not read:
            return
        after = read[-1][0]
        for _, entry in read:
            moment = entry.time.timestamp()
            if moment < first - _WARM or moment > last:
                continue
            content = _admitted(entry)
            if content is None:
                found("entry unreadable", f"entry {entry.id} can't be read: run audit verify")
                continue
            if content.kind == "seal":  # whoever made a key has it open
                made = frozenset(
                    s.line.subject
                    for s in parse_lines(entry.lines, entry.outcomes)
                    if s.line and s.line.outcome == "sealed"
                )
                book.executemany(
                    "INSERT INTO unwrapped VALUES (NULL, ?, ?, ?)", [(content.jti, subject, moment) for subject in made]
                )
            if content.kind != "disclose" or not content.subjects or moment < first:
                continue
            result.entries += 1
            if book.execute("SELECT 1 FROM unwrapped WHERE reference = ?", (entry.id,)).fetchone():
                continue
            if all(_was_open(book, content.jti, subject, moment) for subject in content.subjects):
                result.from_open_keys += 1
            else:
                found(
                    "no unwrap",
                    f"entry {entry.id} of {entry.time:%Y-%m-%d %H:%M:%S} UTC: {content.purpose} was let in, and Vault"
                    " unwrapped nothing for it: the key service had failed, or Vault's log is not whole",
                )


def _was_open(book: sqlite3.Connection, jti: str, subject: bytes, moment: float) -> bool:
    query = "SELECT 1 FROM unwrapped WHERE jti = ? AND subject = ? AND time BETWEEN ? AND ? LIMIT 1"
    return book.execute(query, (jti, subject, moment - _WARM, moment + 1)).fetchone() is not None


@contextmanager
def _notebook() -> Iterator[sqlite3.Connection]:
    """A file for what was seen, so that memory stays flat; gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="vaultstore-") as folder,
        closing(sqlite3.connect(Path(folder) / "seen.db", isolation_level=None)) as book,
    ):
        book.execute("PRAGMA journal_mode = OFF")
        book.execute("PRAGMA synchronous = OFF")
        book.execute("CREATE TABLE unwrapped (reference TEXT, jti TEXT, subject BLOB, time REAL)")
        book.execute("BEGIN")
        yield book


def _chunks(unwraps: Iterable[Unwrap]) -> Iterator[list[Unwrap]]:
    rest = iter(unwraps)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _name(subject: bytes | None) -> str:
    return str(uuid.UUID(bytes=subject)) if subject is not None and len(subject) == 16 else "an unknown subject"

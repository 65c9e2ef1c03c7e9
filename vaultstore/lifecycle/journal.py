"""The journal: what must hold after a restore, too, written down apart from the databases.

A backup of the databases is older than the last erasures. Put back, it would bring members to life again who were
erased since. So erasures and their like go to a file of their own, before the transaction that does them commits, and
the database notes with them how far that file is applied.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from vaultstore.errors import AuditError, SettingsError, UnsupportedOperation, VaultstoreError
from vaultstore.lifecycle.journal_file import Head, JournalFile
from vaultstore.records import journal as records
from vaultstore.records.base import rfc3339
from vaultstore.records.journal import Position, Standing

__all__ = ["KINDS", "FileJournal", "Journal", "NoJournal", "facts_of"]

KINDS: dict[str, frozenset[str]] = {
    "erase": frozenset({"subject"}),
    "close": frozenset({"case"}),
    "withdraw": frozenset({"subject", "consent"}),
    "restrict": frozenset({"subject"}),
    "lift": frozenset({"subject"}),
    "revoke": frozenset({"jti", "actor", "before"}),
}
"""What is taken down -> the names of its facts. `lifecycle.journal_replay` knows how to do each of them again.

An application adds kinds of its own there (`journal_replay.journaled`).
"""

_LONGEST_FACT = 300
_log = logging.getLogger("vaultstore.journal")


class Journal(Protocol):
    """Takes down erasures, withdrawals, restrictions, suppressions and revocations."""

    def append(self, kind: str, *, connection: sa.Connection | None = None, **facts: object) -> None:
        """Write one down, before the transaction that does it commits. Facts are ids, names and times.

        `connection` is in that transaction, on the gate's side: how far the journal is applied commits with it.
        """


class NoJournal:
    """A store without a journal. It says so once, where something happens that a restore would undo."""

    def __init__(self) -> None:
        self._said = False

    def append(self, kind: str, *, connection: sa.Connection | None = None, **facts: object) -> None:
        """Write nothing. Raises UnsupportedOperation where the database knows of a journal."""
        if connection is not None and (known := _standing(connection)) is not None and known.journals:
            raise UnsupportedOperation(
                "this store keeps a journal: open it with journal=..., or nothing here would hold after a restore"
            )
        if not self._said:
            self._said = True
            _log.warning("no journal is kept: a backup that is restored undoes this (setting journal)")


@dataclass(slots=True)
class _Written:
    """What one transaction wrote, to be taken back if it is undone."""

    first: int
    last: Position
    committing: bool = False


class FileJournal:
    """A journal in a file. Safe to use from several threads, and the file from several processes.

    While a transaction that appended is open, others that append to the same journal wait for it: lines stand in the
    order in which they were committed.
    """

    def __init__(self, path: Path | str, store: str) -> None:
        """`store` names the store whose journal it is: the origin of its audit log."""
        self.file = JournalFile(Path(path).absolute())
        self.store = store
        self._open: WeakKeyDictionary[sa.Connection, _Written] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<FileJournal {self.file.path}>"

    def head(self) -> Head | None:
        """What the file begins with, or None. Raises SettingsError where it is another store's, ProofError."""
        head = self.file.head()
        if head is not None and head.store != self.store:
            raise SettingsError(f"{self.file.path} is the journal of another store, {head.store}")
        return head

    def append(self, kind: str, *, connection: sa.Connection | None = None, **facts: object) -> None:
        """Write a line, which is on disk when this returns.

        Raises AuditError where it can't be written down: then the transaction must not commit.
        """
        if connection is None:
            raise UnsupportedOperation("a journal takes the connection of the transaction that it is written for")
        at, named = facts_of(kind, facts)
        try:
            head = self._head(connection)
            after = records.hold(connection, head.journal, head.line.position, head.keeper)
            written = self._open.get(connection)
            line = self.file.append(after, kind, at, named)
        except AuditError:
            raise
        except (OSError, SettingsError, sa.exc.SQLAlchemyError) as error:
            reason = getattr(error, "strerror", None) or _reason(error)
            raise AuditError(f"the journal could not be written, so nothing was done: {reason}") from None
        if written is None:
            written = self._open[connection] = _Written(line.number, line.position)
            sa.event.listen(connection, "commit", self._committing)
            sa.event.listen(connection, "rollback", self._undone)
        written.last = line.position
        records.done(connection, head.journal, line.position)

    def _head(self, connection: sa.Connection) -> Head:
        head = self.head()
        if head is not None:
            return head
        known = _standing(connection)
        if known is None:
            raise SettingsError("the database has no table for it: run the migrations")
        if known.journals:
            begun = self.head()  # by another process, since the look above
            if begun is None:
                raise AuditError(f"the journal {self.file.path} is gone, so nothing was done")
            return begun
        return self.file.begin(self.store, known.keeper, datetime.now().astimezone())

    def _committing(self, connection: sa.Connection) -> None:
        # From here on a failure may mean either: the line stays, and a replay does what was perhaps not done.
        written = self._open.get(connection)
        if written is not None:
            written.committing = True

    def _undone(self, connection: sa.Connection) -> None:
        written = self._open.pop(connection, None)
        if written is not None and not written.committing:
            with suppress(OSError, VaultstoreError):  # the rollback goes on; the line is replayed, or asked about
                self.file.void(written.first, written.last, datetime.now().astimezone())


def facts_of(kind: str, facts: Mapping[str, object]) -> tuple[datetime, dict[str, str]]:
    """The time of a line and its facts as text. Raises UnsupportedOperation for what no journal takes down."""
    if kind not in KINDS:
        raise UnsupportedOperation(f"a journal takes down {', '.join(sorted(KINDS))}, not {kind!r}")
    # A reason is what people write, and people write names: the journal outlives the member's data.
    given = {name: fact for name, fact in facts.items() if fact is not None and name != "reason"}
    at = given.pop("at", None) or datetime.now().astimezone()
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise UnsupportedOperation("the time of a line of the journal is an aware datetime")
    if given.keys() - KINDS[kind]:
        raise UnsupportedOperation(f"a journal takes down of {kind!r}: {', '.join(sorted(KINDS[kind]))}")
    return at, {name: _text(name, fact) for name, fact in given.items()}


def _text(name: str, fact: object) -> str:
    if isinstance(fact, bytes) and len(fact) == 16:
        return str(uuid.UUID(bytes=fact))
    if isinstance(fact, uuid.UUID):
        return str(fact)
    if isinstance(fact, datetime) and fact.tzinfo is not None:
        return rfc3339(fact)
    if isinstance(fact, str) and len(fact) <= _LONGEST_FACT:
        return fact
    raise UnsupportedOperation(f"a fact of the journal is an id, a name or an aware time: {name} is not")


def _standing(connection: sa.Connection) -> Standing | None:
    """The database's standing within a transaction that goes on whatever the answer; None where it gives none."""
    if connection.dialect.name != "postgresql":
        return records.standing(connection)
    try:
        with connection.begin_nested():
            return records.standing(connection)
    except sa.exc.ProgrammingError:
        return None


def _reason(error: Exception) -> str:
    cause = getattr(error, "orig", None)
    return (getattr(cause, "sqlstate", None) or type(cause).__name__) if cause is not None else str(error)

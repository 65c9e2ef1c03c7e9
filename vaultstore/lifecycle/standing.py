"""Whether a store may be opened: not while it is behind its journal, or behind a checkpoint of its log that was kept.

A database that was restored from a backup has forgotten what happened since, erasures among it. It must not disclose
anything before that is done again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from vaultstore.audit.checkpoint import Checkpoint, read_checkpoint
from vaultstore.audit.log import AuditLog
from vaultstore.errors import ProofError, SettingsError
from vaultstore.lifecycle.journal import FileJournal
from vaultstore.lifecycle.journal_file import Line, unsettled
from vaultstore.orm.role import NOT_PRIVILEGED, sqlstate
from vaultstore.records import journal as records
from vaultstore.records.journal import Standing
from vaultstore.signed_note import Note, NoteKey

__all__ = ["KEYS_FILE", "KeptCheckpoints", "behind", "require_current", "standing_of"]

KEYS_FILE = "log.keys"
"""In a folder of kept checkpoints: public keys of the log, one a line, as `vaultstore audit keys` prints them."""

_NOTE = re.compile(r"checkpoint-(\d{1,19})\.note", re.ASCII)
_PATIENCE = 2.0
"""Seconds that another process gets to commit what it has written down already."""

_REPLAY = "run `vaultstore journal replay`"


@dataclass(frozen=True, slots=True)
class KeptCheckpoints:
    """A folder of checkpoints, as ``vaultstore audit checkpoint --publish`` writes them.

    `keys` gives the public keys of the log; a file ``log.keys`` in the folder goes before it.
    """

    folder: Path
    log: AuditLog
    keys: Callable[[], Collection[NoteKey]]

    def newest_first(self) -> Iterator[Checkpoint]:
        """The checkpoints of this log, the largest first. Raises SettingsError where one does not hold."""
        if not self.folder.is_dir():
            raise SettingsError(f"there is no folder {self.folder} of kept checkpoints (setting kept_checkpoints)")
        found = [(int(match[1]), path) for path in self.folder.iterdir() if (match := _NOTE.fullmatch(path.name))]
        keys = self._keys() if found else []
        for size, path in sorted(found, reverse=True):
            try:
                checkpoint, _ = read_checkpoint(Note.parse(path.read_bytes()), self.log.origin, keys)
                if checkpoint.size != size:
                    raise ProofError("it is of another size than its name says")
            except ProofError as flaw:
                raise SettingsError(f"{path}: {flaw}") from None
            yield checkpoint

    def lost(self, standing: Standing) -> list[Checkpoint]:
        """Those that the log does not continue, the largest first, but for those that a restore is known to have lost.

        Checkpoints of more entries than the log has; where this login may read the log, others of it too.
        """
        lost: list[Checkpoint] = []
        for kept in self.newest_first():
            if (kept.size, kept.root) in standing.restored:
                continue
            if kept.size <= standing.size and self._continues(kept):
                break  # what it continues, it has all of
            lost.append(kept)
        return lost

    def _continues(self, kept: Checkpoint) -> bool:
        try:
            return self.log.state(kept.size).root == kept.root
        except ProofError:
            return False
        except sa.exc.ProgrammingError as error:
            if sqlstate(error) != NOT_PRIVILEGED:
                raise
            return True  # a service may not read the log: `audit verify` is for whoever may

    def _keys(self) -> list[NoteKey]:
        file = self.folder / KEYS_FILE
        if not file.exists():
            return list(self.keys())
        lines = file.read_text(encoding="utf-8").splitlines()
        try:
            return [NoteKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
        except ProofError as flaw:
            raise SettingsError(f"{file}: {flaw}") from None


def standing_of(engine: sa.Engine) -> Standing | None:
    """How far a database has come; None where it has no tables, or does not tell this login."""
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        return None
    try:
        with engine.connect() as connection:
            return records.standing(connection)
    except sa.exc.ProgrammingError:
        return None


def require_current(engine: sa.Engine, journal: FileJournal | None, kept: KeptCheckpoints | None) -> None:
    """Raise SettingsError where the store is behind its journal or its log, or its journal is not to be had.

    `engine` is the gate's. Without a journal and kept checkpoints, a PostgreSQL database is not asked at all.
    """
    if journal is None and kept is None and engine.dialect.name == "postgresql":
        return
    until = time.monotonic() + _PATIENCE
    while True:
        standing = standing_of(engine)
        try:
            left = behind(journal, standing)
        except ProofError as flaw:
            raise SettingsError(f"{flaw}. This store does not open: see `vaultstore journal status`") from None
        if not left or time.monotonic() > until:
            break
        time.sleep(0.1)
    if standing is None and left:
        raise SettingsError(
            f"{left[0].kind} and more stand in the journal, and the database has no table for how far it is applied, or"
            " does not tell this login: run the migrations, apply the policy, or begin a new store with a new journal"
        )
    if left and journal is not None:
        raise SettingsError(
            f"{journal.file.path}:{left[0].number + 1}: the store has not applied its journal from this line on,"
            f" {len(left)} of them: it was restored from a backup, or a process ended in between. It does not open:"
            f" {_REPLAY}"
        )
    if kept is not None and standing is not None and (lost := kept.lost(standing)):
        raise SettingsError(
            f"the log has {standing.size} entries and does not continue the kept checkpoint of {lost[0].size}: the"
            f" database was restored from a backup, or its log was cut. It does not open: {_REPLAY}"
        )
    if kept is not None and standing is None and next(kept.newest_first(), None) is not None:
        raise SettingsError(
            f"there are checkpoints of a log in {kept.folder}, and the database has no table for it or does not tell"
            " this login: run the migrations, apply the policy"
        )


def behind(journal: FileJournal | None, standing: Standing | None) -> list[Line]:
    """The lines that a store has not applied. Raises SettingsError where it has another journal, or none; ProofError.

    `standing` is what its database says, or None where that knows of no journals.
    """
    known = {} if standing is None else standing.journals
    head = None if journal is None else journal.head()
    others = sorted(known.keys() - ({head.journal} if head else set()))
    if others:
        have = "it is opened with none" if journal is None else f"{journal.file.path} is " + (
            "another" if head else "gone"
        )  # fmt: skip
        raise SettingsError(
            f"this store keeps the journal {others[0]}, and {have}: put the file back from where it is kept, name it in"
            " the setting journal, or give it up as lost with `vaultstore journal lost`"
        )
    if journal is None or head is None:
        return []
    return unsettled(journal.file.lines(known.get(head.journal, head.line.position)))

"""`store.journal`: how the store stands to its journal, and doing again what a restore undid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from vaultstore.audit.checkpoint import Checkpoint
from vaultstore.audit.log import AuditLog, note_keys
from vaultstore.errors import SettingsError, UnsupportedOperation, VaultstoreError
from vaultstore.keys import Signer
from vaultstore.lifecycle.journal import FileJournal, Journal, NoJournal
from vaultstore.lifecycle.journal_file import Line
from vaultstore.lifecycle.journal_replay import Facades, Replayed, Replaying, missing, replay
from vaultstore.lifecycle.operator_entry import write_entry
from vaultstore.lifecycle.standing import KeptCheckpoints, behind, require_current, standing_of
from vaultstore.orm.role import operators_only
from vaultstore.records import journal as records

__all__ = ["Journals", "LogLoss", "Outcome", "Status", "held_to", "require_open"]

OnLine = Callable[[FileJournal, Line, bool], None]


@dataclass(frozen=True, slots=True)
class LogLoss:
    """The audit log lost entries: a checkpoint of `kept` entries was signed, and the log had `log` of those left."""

    kept: int
    root: bytes
    log: int
    entry: str | None
    """The entry that says so, kind ``restored``; None where it was only looked at."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay did."""

    replayed: Replayed
    log: LogLoss | None
    """None: no kept checkpoint says that the log lost anything."""
    torn: tuple[Path, ...] = ()
    """Journals whose last line was cut short by a failure of power, and was taken away."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a store stands to its journal and its kept checkpoints. It opens where `why` is None."""

    path: Path | None
    journal: str | None
    lines: int
    applied: int | None
    """Number of the last line that is applied; None where the database knows of no such journal."""
    missing: int
    log: int | None
    kept: int | None
    """Entries of the newest kept checkpoint."""
    lost: int | None
    """Entries of the newest kept checkpoint that the log does not continue."""
    why: str | None


class Journals:
    """Looks at the store's journal, and replays it."""

    def __init__(self, facades: Facades) -> None:
        self._facades = facades

    def __repr__(self) -> str:
        return "<Journals>"

    def status(self) -> Status:
        """How the store stands. Of a store that does not open it says why."""
        parts = self._facades.parts
        journal, kept = _held(parts.journal)
        standing = standing_of(parts.gate_engine)
        head, lines, left, why = None, 0, 0, None
        newest = lost = None
        try:
            head = None if journal is None else journal.head()
            left = len(behind(journal, standing))
            lines = sum(1 for _ in journal.file.lines()) if journal is not None else 0
            why = f"not applied: {left} of the journal's lines: run `vaultstore journal replay`" if left else None
            if kept is not None:
                newest = next(kept.newest_first(), None)
                gone = [] if standing is None else kept.lost(standing)
                lost = gone[0] if gone else None
            if lost is not None and why is None:
                why = f"the log does not continue the kept checkpoint of {lost.size}: run `vaultstore journal replay`"
        except VaultstoreError as flaw:
            why = str(flaw)
        known = None if standing is None or head is None else standing.journals.get(head.journal)
        return Status(
            path=None if journal is None else journal.file.path,
            journal=None if head is None else head.journal,
            lines=lines,
            applied=None if known is None else known.number,
            missing=left,
            log=None if standing is None else standing.size,
            kept=None if newest is None else newest.size,
            lost=None if lost is None else lost.size,
            why=why,
        )

    def missing(self, files: Sequence[Path] = ()) -> list[tuple[Path, Line]]:
        """The lines that are not applied, of `files`, or of the store's own journal. Raises ProofError."""
        with operators_only("read how far journals are applied"):
            found = missing(self._facades.parts, self._journals(files))
        return [(journal.file.path, line) for journal, _, lines in found for line in lines]

    def replay(self, files: Sequence[Path] = (), *, operator: str, on_line: OnLine | None = None) -> Outcome:
        """Do again what the journal says and the store has not done, and write down that it was.

        `files` are journals, of this host and others; none: the store's own. The store was opened with
        ``replaying=True``. Harmless when repeated. For operators: UnsupportedOperation for others. Raises ProofError
        with its place for a journal that was changed, or for a line that this version does not know.
        """
        parts = self._facades.parts
        if not isinstance(parts.journal, Replaying):
            raise UnsupportedOperation("a journal is replayed into a store that was opened with replaying=True")
        journals = self._journals(files)
        torn = tuple(journal.file.path for journal in journals if journal.file.cut_torn_end())
        with operators_only("replay a journal"):
            done = replay(self._facades, parts.journal, journals, on_line)
            return Outcome(done, self._write_down(done, parts.journal.kept, operator), torn)

    def give_up(self, journals: Sequence[str] = (), *, operator: str) -> list[str]:
        """Give up as lost every journal that the store asks for and whose file is not there; their ids.

        `journals` names them instead: a service's, by the id that it asks for.

        What stood in them alone is not done again by any replay. It is audited. The next line begins a new journal.
        """
        parts = self._facades.parts
        journal, _ = _held(parts.journal)
        standing, head = standing_of(parts.gate_engine), None if journal is None else journal.head()
        known = set() if standing is None else set(standing.journals)
        lost = sorted({*journals} or known - ({head.journal} if head else set()))
        with operators_only("give a journal up"), parts.ledger.gate() as connection:
            if lost:
                records.forget(connection, lost, parts.now)
                write_entry(
                    connection,
                    "journal",
                    "lost",
                    operator=operator,
                    now=parts.now,
                    counts={"journals": len(lost)},
                    attributes={f"journal_{at}": name for at, name in enumerate(lost)},
                )
        return lost

    def _journals(self, files: Sequence[Path]) -> list[FileJournal]:
        if files:
            return [FileJournal(path, self._facades.parts.origin) for path in files]
        own, _ = _held(self._facades.parts.journal)
        if own is None:
            raise SettingsError("no journal is kept (setting journal): name the file that is to be replayed")
        return [own] if own.file.path.exists() else []

    def _write_down(self, done: Replayed, kept: KeptCheckpoints | None, operator: str) -> LogLoss | None:
        parts = self._facades.parts
        standing = standing_of(parts.gate_engine)
        lost = [] if kept is None or standing is None else kept.lost(standing)
        if not lost and not done.applied and not done.leftovers:
            return None
        attributes, counts = _evidence(lost[0] if lost else None), _counts(done)
        if lost and standing is not None:
            counts |= {"kept": lost[0].size, "log": standing.size}
        with parts.ledger.gate() as connection:
            entry = write_entry(
                connection,
                "restored",
                "restored",
                operator=operator,
                now=parts.now,
                counts=counts,
                attributes=attributes,
            )
            records.save_restored(connection, [(one.size, one.root) for one in lost], entry)
        if not lost or standing is None:
            return None
        return LogLoss(lost[0].size, lost[0].root, standing.size, entry)


def held_to(
    gate: sa.Engine,
    origin: str,
    keys: Signer,
    journal: str | Path | None,
    kept_checkpoints: str | Path | None,
    *,
    replaying: bool,
) -> Journal:
    """The journal of a store that is being opened, if it may be. Raises SettingsError that says what to run."""
    own = FileJournal(journal, origin) if journal else None
    kept = None
    if kept_checkpoints:
        kept = KeptCheckpoints(Path(kept_checkpoints), AuditLog(gate, origin), lambda: note_keys(keys, origin))
    if replaying:
        return Replaying(own, kept)
    require_current(gate, own, kept)
    return own or NoJournal()


def require_open(journal: Journal) -> None:
    """Raise UnsupportedOperation in a store that is opened to be replayed."""
    if isinstance(journal, Replaying):
        raise UnsupportedOperation("this store is opened to replay its journal: it takes no tokens")


def _held(journal: Journal) -> tuple[FileJournal | None, KeptCheckpoints | None]:
    if isinstance(journal, Replaying):
        return journal.own, journal.kept
    return (journal if isinstance(journal, FileJournal) else None), None


def _evidence(lost: Checkpoint | None) -> dict[str, str]:
    return {} if lost is None else {"checkpoint_size": str(lost.size), "checkpoint_root": lost.root.hex()}


def _counts(done: Replayed) -> dict[str, int]:
    """Counts of an entry: lines that changed something, by kind, and subjects whose keys had come back."""
    counts = dict(sorted(done.applied.items()))
    return counts | ({"leftovers": done.leftovers} if done.leftovers else {})

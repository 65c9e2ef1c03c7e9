"""Doing again what the journal says: after a restore, before the store opens.

Each line is done by the facade that did it the first time, in one transaction with the note that it is applied. Doing
one again that is done already changes nothing.
"""

from __future__ import annotations

import heapq
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from vaultstore.errors import ApprovalMissing, ProofError, SubjectErased, UnsupportedOperation
from vaultstore.lifecycle.cases import Cases
from vaultstore.lifecycle.consents import Consents
from vaultstore.lifecycle.journal import KINDS, FileJournal
from vaultstore.lifecycle.journal_file import Head, Line, unsettled
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.revocations import Revocations
from vaultstore.lifecycle.standing import KeptCheckpoints
from vaultstore.lifecycle.subjects import Subjects
from vaultstore.records import journal as records
from vaultstore.records.keyring import vs_keyring
from vaultstore.records.revocations import vs_revocations
from vaultstore.records.subjects import ERASED, vs_subjects

__all__ = ["Facades", "Replayed", "Replaying", "journaled", "missing", "replay"]

REASON = "replayed from the journal"


@dataclass(frozen=True, slots=True)
class Facades:
    """What lines are done with."""

    parts: Parts
    subjects: Subjects
    consents: Consents
    cases: Cases
    revocations: Revocations


@dataclass(slots=True)
class Replayed:
    """What a replay did."""

    applied: Counter[str] = field(default_factory=Counter)
    """Kind -> lines that changed something."""
    already: Counter[str] = field(default_factory=Counter)
    """Kind -> lines that were done already."""
    leftovers: int = 0
    """Subjects that were erased already, and whose keys were there again."""
    journals: dict[str, int] = field(default_factory=dict)
    """File -> lines of it that were missing."""


class Replaying:
    """The journal of a store that is opened to be replayed: it writes nothing, and notes the line that is done."""

    def __init__(self, own: FileJournal | None, kept: KeptCheckpoints | None = None) -> None:
        """`own` is the journal of the store's settings, `kept` the checkpoints that its log is held to."""
        self.own, self.kept = own, kept
        self._doing: tuple[Head, Line] | None = None
        self.noted = False

    def __repr__(self) -> str:
        return f"<Replaying {self.own!r}>"

    def doing(self, head: Head, line: Line) -> None:
        """From now on this line is being done."""
        self._doing, self.noted = (head, line), False

    def append(self, kind: str, *, connection: sa.Connection | None = None, **facts: object) -> None:
        """Note in the transaction that does it that the line is applied."""
        if connection is not None and self._doing is not None and not self.noted:
            self.note(connection)
            self.noted = True

    def note(self, connection: sa.Connection) -> None:
        """Note that the line is applied."""
        assert self._doing is not None
        head, line = self._doing
        records.replayed(connection, head.journal, head.keeper, head.line.position, line.position, self._lost_at(head))

    def _lost_at(self, head: Head) -> datetime | None:
        """Not None for an operators' journal that is not the settings' own: replayed once, and not asked for again."""
        if head.keeper is not None:
            return None
        own = None if self.own is None else self.own.head()
        return None if own is not None and own.journal == head.journal else datetime.now(UTC)


def missing(parts: Parts, journals: Iterable[FileJournal]) -> list[tuple[FileJournal, Head, list[Line]]]:
    """Of each journal, its head and the lines that the store has not applied. Raises ProofError, SettingsError."""
    found = []
    for journal in journals:
        head = journal.head()
        if head is None:
            raise ProofError(f"the journal {journal.file.path} is gone")
        with parts.gate_engine.connect() as connection:
            at = records.position(connection, head.journal) or head.line.position
        found.append((journal, head, unsettled(journal.file.lines(at))))
    return found


def replay(
    store: Facades,
    replaying: Replaying,
    journals: Iterable[FileJournal],
    on_line: Callable[[FileJournal, Line, bool], None] | None = None,
) -> Replayed:
    """Do what is missing, in order of time over all journals and in the journal's own order within each.

    Then destroy keys that came back of subjects who are erased. `on_line` is told of each line, and whether it changed
    anything. Raises ProofError, naming the place, for a journal that was changed, and for a line of a kind that this
    version does not know; what stands before it is done then.
    """
    result = Replayed()
    todo = missing(store.parts, journals)
    for journal, _, lines in todo:
        result.journals[str(journal.file.path)] = len(lines)
    streams = [[(line.at, line.number, at, line) for line in lines] for at, (_, _, lines) in enumerate(todo)]
    for _, _, at, line in heapq.merge(*map(_in_own_order, streams)):
        journal, head, _ = todo[at]
        place = f"{journal.file.path}:{line.number + 1}"
        act = _ACTS.get(line.kind)
        if act is None:
            raise ProofError(f"{place}: this version does not know {line.kind!r}; the lines before it are applied")
        replaying.doing(head, line)
        try:
            changed = act(store, line.facts, line.at)
        except (KeyError, ValueError):
            raise ProofError(f"{place}: this line lacks a fact that {line.kind!r} has") from None
        if not replaying.noted:
            with store.parts.ledger.gate() as connection:
                replaying.note(connection)
        (result.applied if changed else result.already)[line.kind] += 1
        if on_line is not None:
            on_line(journal, line, changed)
    result.leftovers = _sweep(store)
    return result


_Timed = tuple[datetime, int, int, Line]


def _in_own_order(stream: list[_Timed]) -> list[_Timed]:
    """A journal's lines with times that never go back: a clock that did must not change their order."""
    latest: datetime | None = None
    ordered = []
    for at, number, which, line in stream:
        latest = at if latest is None else max(latest, at)
        ordered.append((latest, number, which, line))
    return ordered


def _sweep(store: Facades) -> int:
    """Destroy keys of erased subjects, which a restored members' file brings back. How many subjects had any."""
    found = 0
    with store.parts.gate_engine.connect() as gate:
        erased = gate.scalars(sa.select(vs_subjects.c.subject).where(vs_subjects.c.state == ERASED)).all()
    for subject in erased:
        with store.parts.engine.connect() as members:
            there = members.execute(sa.select(sa.literal(1)).where(vs_keyring.c.subject == subject).limit(1)).first()
        if there is not None:
            found += 1
            store.subjects.erase(subject, reason=REASON)
    return found


# ---------------------------------------------------------------------------------------------------- what is done

_Act = Callable[[Facades, Mapping[str, str], datetime], bool]


def _erase(store: Facades, facts: Mapping[str, str], at: datetime) -> bool:
    subject = uuid.UUID(facts["subject"])
    was = store.subjects.state(subject)
    store.subjects.erase(subject, reason=REASON)
    return was != ERASED


def _close(store: Facades, facts: Mapping[str, str], at: datetime) -> bool:
    try:
        store.cases.close(facts["case"])
    except ApprovalMissing:
        return False
    return True


def _withdraw(store: Facades, facts: Mapping[str, str], at: datetime) -> bool:
    subject, kind = uuid.UUID(facts["subject"]), facts["consent"]
    try:
        return bool(store.consents.withdraw(subject, kind))
    except SubjectErased:
        return False


def _restrict(store: Facades, facts: Mapping[str, str], at: datetime) -> bool:
    return _change(store, facts, "restricted", store.subjects.restrict)


def _lift(store: Facades, facts: Mapping[str, str], at: datetime) -> bool:
    return _change(store, facts, "active", store.subjects.lift)


def _change(store: Facades, facts: Mapping[str, str], state: str, act: Callable[..., object]) -> bool:
    subject = uuid.UUID(facts["subject"])
    was = store.subjects.state(subject)
    if was not in (ERASED, state):
        act(subject, reason=REASON)
    return was not in (ERASED, state)


def _revoke(store: Facades, facts: Mapping[str, str], at: datetime) -> bool:
    jti, actor = facts.get("jti"), facts.get("actor")
    before = datetime.fromisoformat(facts["before"]) if actor is not None else None
    c = vs_revocations.c
    same = c.jti == jti if jti is not None else (c.actor == actor) & (c.before == before)
    with store.parts.gate_engine.connect() as connection:
        if connection.execute(sa.select(c.id).where(same).limit(1)).first() is not None:
            return False
    store.revocations.revoke(jti=jti, actor=actor, before=before, reason=REASON)
    return True


_ACTS: dict[str, _Act] = {
    "erase": _erase,
    "close": _close,
    "withdraw": _withdraw,
    "restrict": _restrict,
    "lift": _lift,
    "revoke": _revoke,
}
assert _ACTS.keys() == KINDS.keys()


def journaled(kind: str, facts: Iterable[str], act: Callable[[Parts, Mapping[str, str], datetime], bool]) -> None:
    """Let an application's journal take down acts of its own: `kind`, the names of its facts, how it is done again.

    `act` gets the facts as text and the time of the line; where it was done already it changes nothing, and it says
    whether it did. Declare it where the models are imported, so that whoever replays knows it. Raises
    UnsupportedOperation for a kind that is taken.
    """
    if kind in KINDS:
        raise UnsupportedOperation(f"a journal takes down {kind!r} already")
    KINDS[kind] = frozenset(facts)
    _ACTS[kind] = lambda store, given, at: act(store.parts, given, at)

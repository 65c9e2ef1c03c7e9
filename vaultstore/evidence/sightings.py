"""What the audit log says of leaked members: who was shown them, in clear or masked, and when they were here.

The log is read once, from beginning to end, and never held: who saw how many different members is counted in a file.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from vaultstore.audit.lines import LINE_SIZE
from vaultstore.errors import AuditError
from vaultstore.evidence.ranking import Seen
from vaultstore.records.entries import vs_entries

__all__ = ["CLEAR", "MASKED", "Levels", "Profile", "Sightings", "gather"]

MASKED, CLEAR = 1, 2
_CHUNK = 500
_ERASED = 255


@dataclass(frozen=True, slots=True)
class Levels:
    """Which categories hold what leaked: opening one of these shows it."""

    clear: frozenset[str]
    masked: frozenset[str]

    def of(self, categories: Collection[str]) -> int:
        """CLEAR, MASKED, or 0 where what leaked was not in what was opened."""
        return CLEAR if not self.clear.isdisjoint(categories) else MASKED * (not self.masked.isdisjoint(categories))


@dataclass(slots=True)
class Profile:
    """One actor, as the log knows them."""

    number: int
    role: str
    group: str | None
    """Their store, as their latest token had it."""
    purposes: set[str] = field(default_factory=set)
    first: datetime | None = None
    """When a leaked member was first disclosed to them, in clear or masked."""
    last: datetime | None = None


@dataclass(slots=True)
class Sightings:
    """What was found. It reads on from its file: use it inside `gather`."""

    book: sqlite3.Connection = field(repr=False)
    leaked: frozenset[bytes] = field(repr=False)
    actors: dict[str, Profile] = field(default_factory=dict)
    entries: int = 0
    erased: int = 0
    """Lines whose subject was erased: nobody knows any more who it was."""
    earliest: datetime | None = None
    latest: datetime | None = None
    shown: set[bytes] = field(default_factory=set, repr=False)
    """Leaked members that were disclosed to anybody but themselves, in whichever category."""
    clients: dict[str, set[bytes]] = field(default_factory=dict, repr=False)
    """Client -> leaked members whose own sessions came from it, in the time before the leak."""
    own: set[bytes] = field(default_factory=set, repr=False)
    """Leaked members who had sessions of their own then."""
    own_unnamed: int = 0
    """Own sessions of leaked members whose token named no client."""
    own_others: int = 0
    """Members who are not in the leak and had sessions of their own then."""

    def seen(self, level: int) -> tuple[dict[str, Seen], dict[str, Seen]]:
        """(by actor, by group) what was shown of what leaked, at this level or more openly."""
        by_number = {profile.number: name for name, profile in self.actors.items()}
        totals = self._counts("SELECT actor, count(*) FROM seen WHERE level >= ? GROUP BY actor", level)
        hits = self._counts("SELECT actor, count(*) FROM hits WHERE level >= ? GROUP BY actor", level)
        actors = {
            by_number[number]: Seen(total, hits.get(number, 0), self._loader([number], level),
                                    self.actors[by_number[number]].group)
            for number, total in totals.items()
        }  # fmt: skip
        members: dict[str, list[int]] = {}
        for number in totals:
            group = self.actors[by_number[number]].group
            if group is not None:
                members.setdefault(group, []).append(number)
        groups = {}
        for group, numbers in members.items():
            load = self._loader(numbers, level)
            count = len(load()) if any(hits.get(number) for number in numbers) else 0
            if count:
                groups[group] = Seen(self._different(numbers, level), count, load)
        return actors, groups

    def who_saw(self, subject: bytes) -> list[tuple[str, int]]:
        """(actor, CLEAR or MASKED) of everybody that a leaked member was disclosed to."""
        names = {profile.number: name for name, profile in self.actors.items()}
        rows = self.book.execute(
            "SELECT actor, level FROM hits WHERE subject = ? ORDER BY level DESC, actor", (subject,)
        )
        return [(names[number], level) for number, level in rows]

    def _different(self, numbers: list[int], level: int) -> int:
        """How many members these saw together."""
        query = (
            "SELECT count(DISTINCT subject) FROM seen WHERE level >= ? AND actor IN (SELECT value FROM json_each(?))"
        )
        count: int = self.book.execute(query, (level, json.dumps(numbers))).fetchone()[0]
        return count

    def _counts(self, query: str, level: int) -> dict[int, int]:
        return dict(self.book.execute(query, (level,)).fetchall())

    def _loader(self, numbers: list[int], level: int) -> Callable[[], set[bytes]]:
        return lambda: self._subjects("hits", numbers, level)

    def _subjects(self, table: str, numbers: list[int], level: int) -> set[bytes]:
        query = f"SELECT subject FROM {table} WHERE actor = ? AND level >= ?"  # noqa: S608 - one of two names
        found: set[bytes] = set()
        for number in numbers:
            found.update(row[0] for row in self.book.execute(query, (number, level)))
        return found


@contextmanager
def gather(
    engine: sa.Engine,
    leaked: Collection[bytes],
    levels: Levels,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    before: timedelta = timedelta(days=30),
    progress: Callable[[int], None] | None = None,
) -> Iterator[Sightings]:
    """Read the disclosures of the log, from `since` on and before `until`, and note what they tell of `leaked`.

    Members' own sessions count in the time `before` the end of it. `progress` is told of so many entries at a time.
    Raises AuditError naming the entry that can't be read.
    """
    with _notebook() as book, engine.connect() as connection:
        found = Sightings(book, frozenset(leaked))
        where = [vs_entries.c.kind == "disclose"]
        where += [vs_entries.c.time >= since] if since is not None else []
        where += [vs_entries.c.time < until] if until is not None else []
        newest = connection.execute(sa.select(sa.func.max(vs_entries.c.time)).where(*where)).scalar_one()
        window = None if newest is None else newest - before
        for chunk in _chunks(connection, where):
            for row in chunk:
                try:
                    _note(found, levels, window, row)
                except (ValueError, LookupError, TypeError, AttributeError):
                    raise AuditError(f"audit entry {row.id} can't be read: run `vaultstore audit verify`") from None
            if progress is not None:
                progress(len(chunk))
        found.own_others = book.execute("SELECT count(*) FROM own").fetchone()[0]
        book.execute("CREATE INDEX by_subject ON hits (subject)")
        yield found


def _chunks(connection: sa.Connection, where: list[sa.ColumnElement[bool]]) -> Iterator[list[Any]]:
    c = vs_entries.c
    query = (
        sa.select(c.seq, c.id, c.time, c.actor, c.leaf, c.lines, c.outcomes)
        .where(*where, c.seq > sa.bindparam("after"))
        .order_by(c.seq)
        .limit(_CHUNK)
    )
    after = 0
    while chunk := list(connection.execute(query, {"after": after})):
        yield chunk
        after = chunk[-1].seq


def _note(found: Sightings, levels: Levels, window: datetime | None, row: Any) -> None:
    leaf, outcomes = json.loads(row.leaf), json.loads(row.outcomes)
    found.entries += 1
    found.earliest, found.latest = found.earliest or row.time, row.time
    lines: bytes = row.lines
    admitted = outcomes.index("disclosed") if "disclosed" in outcomes else None
    subjects = []
    for at in range(0, len(lines), LINE_SIZE):
        outcome = lines[at + LINE_SIZE - 1]
        if outcome == admitted:
            subjects.append(lines[at : at + 16])
        found.erased += outcome == _ERASED
    member = _member(row.actor)
    if member is not None and window is not None and row.time >= window:
        _own(found, member, leaf["attributes"].get("client"))
    others = [subject for subject in subjects if subject != member]
    hits = found.leaked.intersection(others)
    found.shown |= hits
    level = levels.of(leaf["categories"])
    if not level or not others:
        return
    profile = found.actors.get(row.actor)
    if profile is None:
        profile = found.actors[row.actor] = Profile(len(found.actors), leaf["role"], None)
    profile.role, profile.group = leaf["role"], leaf["attributes"].get("store", profile.group)
    profile.purposes.add(leaf["purpose"])
    if hits:
        profile.first, profile.last = profile.first or row.time, row.time
    for table, seen in (("seen", others), ("hits", hits)):
        found.book.executemany(
            f"INSERT INTO {table} VALUES (?, ?, ?)"  # noqa: S608 - one of two names
            " ON CONFLICT DO UPDATE SET level = max(level, excluded.level)",
            [(profile.number, subject, level) for subject in seen],
        )


def _own(found: Sightings, member: bytes, client: str | None) -> None:
    if member not in found.leaked:
        found.book.execute("INSERT OR IGNORE INTO own VALUES (?)", (member,))
        return
    found.own.add(member)
    if client is None:
        found.own_unnamed += 1
    else:
        found.clients.setdefault(client, set()).add(member)


def _member(actor: str) -> bytes | None:
    """The subject that an actor is, where it is a member."""
    try:
        return uuid.UUID(actor).bytes
    except ValueError:
        return None


@contextmanager
def _notebook() -> Iterator[sqlite3.Connection]:
    """A file for what was seen, so that memory stays flat; gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="vaultstore-") as folder,
        closing(sqlite3.connect(Path(folder) / "seen.db", isolation_level=None)) as book,
    ):
        book.execute("PRAGMA journal_mode = OFF")
        book.execute("PRAGMA synchronous = OFF")
        for table in ("seen", "hits"):
            book.execute(
                f"CREATE TABLE {table} (actor INTEGER, subject BLOB, level INTEGER, PRIMARY KEY (actor, subject))"
                " WITHOUT ROWID"
            )
        book.execute("CREATE TABLE own (subject BLOB PRIMARY KEY) WITHOUT ROWID")
        book.execute("BEGIN")
        yield book

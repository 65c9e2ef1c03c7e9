"""What each actor did on each day, counted out of the audit log into a file: memory does not grow with the log."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from vaultstore.records.entries import vs_entries

__all__ = ["Day", "Scope", "Tally", "Who", "tally"]

_CHUNK = 1000
_LINE, _SUBJECT = 57, 16
_PAUSE = 120.0
"""Seconds after which the next act is no longer counted as following the one before."""

_TABLES = """
CREATE TABLE actors (id INTEGER PRIMARY KEY, actor TEXT, pseudonym TEXT, role TEXT, store TEXT,
    UNIQUE (actor, role, store));
CREATE TABLE days (who INTEGER, day TEXT, reads INTEGER, refused INTEGER, searches INTEGER, burst INTEGER,
    steps INTEGER, s REAL, ss REAL, PRIMARY KEY (who, day)) WITHOUT ROWID;
CREATE TABLE slots (who INTEGER, day TEXT, hour INTEGER, reads INTEGER, PRIMARY KEY (who, day, hour)) WITHOUT ROWID;
CREATE TABLE told (who INTEGER, kind TEXT, name TEXT, n INTEGER, PRIMARY KEY (who, kind, name)) WITHOUT ROWID;
CREATE TABLE seen (who INTEGER, subject BLOB, PRIMARY KEY (who, subject)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which entries are counted."""

    since: datetime | None = None
    until: datetime | None = None
    roles: Collection[str] = ()
    """Only these; none: all."""
    ignored: Collection[str] = ()
    """Purposes that are not counted: what members do with their own data says nothing about staff."""
    store_attribute: str = "store"


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who acted, in one role and for one store."""

    id: int
    actor: str
    pseudonym: str
    role: str
    store: str
    """Empty where the token named none."""


@dataclass(frozen=True, slots=True)
class Day:
    """What somebody did on one day, in the policy's time zone."""

    day: str
    reads: int
    """Members that were disclosed, each time."""
    refused: int
    searches: int
    burst: int
    """Members in the busiest minute."""
    steps: int
    """Acts that followed another within two minutes."""
    s: float
    ss: float
    """Sum of the seconds between them, and of their squares."""

    @property
    def step(self) -> float:
        """Seconds between acts, on average."""
        return self.s / self.steps if self.steps else 0.0

    @property
    def unevenness(self) -> float:
        """Coefficient of variation of these seconds: about 1 for people, near 0 for a machine."""
        if not self.steps or not self.s:
            return 1.0
        return float(max(0.0, self.ss / self.steps - self.step**2) ** 0.5 / self.step)


class Tally:
    """The counts, in a file of their own. Made by `tally`; it lasts as long as its block."""

    def __init__(self, book: sqlite3.Connection, zone: tzinfo) -> None:
        self.book, self.zone = book, zone
        self.entries = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._ids: dict[tuple[str, str, str], int] = {}
        self._minute: dict[int, tuple[int, int]] = {}
        self._before: dict[int, float] = {}

    def actors(self) -> list[Who]:
        """Everybody who acted, by role, store and name."""
        query = "SELECT id, actor, pseudonym, role, store FROM actors ORDER BY role, store, actor"
        return [Who(*row) for row in self.book.execute(query)]

    def days(self, who: int) -> list[Day]:
        """The days on which somebody acted, in order."""
        query = "SELECT day, reads, refused, searches, burst, steps, s, ss FROM days WHERE who = ? ORDER BY day"
        return [Day(*row) for row in self.book.execute(query, (who,))]

    def slots(self, who: int) -> list[tuple[str, int, int]]:
        """(day, hour, reads) of somebody, in order."""
        return self.book.execute(
            "SELECT day, hour, reads FROM slots WHERE who = ? ORDER BY day, hour", (who,)
        ).fetchall()

    def told(self, who: int, kind: str) -> Counter[str]:
        """Name -> count, of the kinds ``refusal``, ``case`` and ``purpose``."""
        return Counter(dict(self.book.execute("SELECT name, n FROM told WHERE who = ? AND kind = ?", (who, kind))))

    def members(self, who: int) -> Iterator[list[bytes]]:
        """The members that were disclosed to somebody, each once, some hundred at a time."""
        after = b""
        query = "SELECT subject FROM seen WHERE who = ? AND subject > ? ORDER BY subject LIMIT 500"
        while found := [row[0] for row in self.book.execute(query, (who, after))]:
            yield found
            after = found[-1]

    # -------------------------------------------------------------------------------------------------- counting

    def add(self, rows: Sequence[Any], scope: Scope) -> None:
        """Count some entries, in the order of time."""
        chunk = _Chunk()
        for row in rows:
            leaf = json.loads(row.leaf)
            if (scope.roles and leaf["role"] not in scope.roles) or leaf["purpose"] in scope.ignored:
                continue
            self.entries += 1
            self.first = row.time if self.first is None else min(self.first, row.time)
            self.last = row.time if self.last is None else max(self.last, row.time)
            self._count(chunk, row, leaf, leaf["attributes"].get(scope.store_attribute, ""))
        chunk.write(self.book)

    def _count(self, chunk: _Chunk, row: Any, leaf: dict[str, Any], store: str) -> None:
        who = self._who(row.actor, leaf["actor"], leaf["role"], store)
        local = row.time.astimezone(self.zone)
        day = chunk.days[who, local.date().isoformat()]
        shown, refused = _told(row.kind, row.lines, json.loads(row.outcomes), leaf["outcome"])
        for code, times in refused.items():
            chunk.told[who, "refusal", code] += times
        day.refused += sum(refused.values())
        if row.kind == "search":
            day.searches += leaf["counts"].get("needles", 1)
        if leaf["case"] is not None:
            chunk.told[who, "case", leaf["case"]] += 1
        if not shown:
            return
        day.reads += len(shown)
        chunk.slots[who, local.date().isoformat(), local.hour] += len(shown)
        chunk.told[who, "purpose", leaf["purpose"]] += len(shown)
        chunk.seen.update((who, subject) for subject in shown)
        moment = row.time.timestamp()
        minute, so_far = self._minute.get(who, (0, 0))
        here = int(moment // 60)
        so_far = len(shown) + (so_far if here == minute else 0)
        self._minute[who] = here, so_far
        day.burst = max(day.burst, so_far)
        step = moment - self._before.get(who, moment - 2 * _PAUSE)
        self._before[who] = moment
        if 0 <= step <= _PAUSE:
            day.steps, day.s, day.ss = day.steps + 1, day.s + step, day.ss + step * step

    def _who(self, actor: str, pseudonym: str, role: str, store: str) -> int:
        key = actor, role, store
        if key not in self._ids:
            self._ids[key] = len(self._ids) + 1
            self.book.execute(
                "INSERT INTO actors VALUES (?, ?, ?, ?, ?)", (self._ids[key], actor, pseudonym, role, store)
            )
        return self._ids[key]


@dataclass(slots=True)
class _Sum:
    reads: int = 0
    refused: int = 0
    searches: int = 0
    burst: int = 0
    steps: int = 0
    s: float = 0.0
    ss: float = 0.0


@dataclass(slots=True)
class _Chunk:
    days: defaultdict[tuple[int, str], _Sum] = field(default_factory=lambda: defaultdict(_Sum))
    slots: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    told: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    seen: set[tuple[int, bytes]] = field(default_factory=set)

    def write(self, book: sqlite3.Connection) -> None:
        book.executemany(
            "INSERT INTO days VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " reads = reads + excluded.reads, refused = refused + excluded.refused,"
            " searches = searches + excluded.searches,"
            " burst = max(burst, excluded.burst), steps = steps + excluded.steps, s = s + excluded.s,"
            " ss = ss + excluded.ss",
            [(*key, d.reads, d.refused, d.searches, d.burst, d.steps, d.s, d.ss) for key, d in self.days.items()],
        )
        more = "ON CONFLICT DO UPDATE SET {0} = {0} + excluded.{0}"
        for table, column, counts in (("slots", "reads", self.slots), ("told", "n", self.told)):
            book.executemany(
                f"INSERT INTO {table} VALUES (?, ?, ?, ?) {more.format(column)}",  # noqa: S608 - our own names
                [(*key, count) for key, count in counts.items()],
            )
        book.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", self.seen)


def _told(kind: str, lines: bytes, outcomes: list[str], outcome: str) -> tuple[list[bytes], Counter[str]]:
    """(members that were disclosed, refusal code -> how many)."""
    shown: list[bytes] = []
    refused: Counter[str] = Counter()
    if kind in ("disclose", "withhold"):
        for at in range(0, len(lines), _LINE):
            index = lines[at + _LINE - 1]
            if index >= len(outcomes):  # an erased line: who and what is gone
                continue
            if outcomes[index] != "disclosed":
                refused[outcomes[index]] += 1
            elif kind == "disclose":
                shown.append(lines[at : at + _SUBJECT])
    if not lines and outcome.startswith("refused:"):
        refused[outcome.removeprefix("refused:")] += 1
    return shown, refused


@contextmanager
def tally(
    engine: sa.Engine, zone: tzinfo, scope: Scope, progress: Callable[[int], None] | None = None
) -> Iterator[Tally]:
    """Count the log once; the counts last as long as the block. `progress` is told of so many entries at a time."""
    e = vs_entries.c
    query = (
        sa.select(e.seq, e.time, e.kind, e.actor, e.leaf, e.lines, e.outcomes)
        .where(e.seq > sa.bindparam("after"), e.kind.in_(["disclose", "search", "withhold"]))
        .order_by(e.seq)
        .limit(_CHUNK)
    )
    if scope.since is not None:
        query = query.where(e.time >= scope.since)
    if scope.until is not None:
        query = query.where(e.time < scope.until)
    with (
        tempfile.TemporaryDirectory(prefix="vaultstore-") as folder,
        closing(sqlite3.connect(Path(folder) / "tally.db", isolation_level=None)) as book,
        engine.connect() as connection,
    ):
        book.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _TABLES + "BEGIN;")
        made, after = Tally(book, zone), 0
        while rows := connection.execute(query, {"after": after}).all():
            made.add(rows, scope)
            after = rows[-1].seq
            if progress is not None:
                progress(len(rows))
        yield made

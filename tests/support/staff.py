"""Simulated staff: an audit log of people who work as people do, and some who don't."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from vaultstore import records
from vaultstore.audit import Line, build_entry
from vaultstore.evidence.anomalies import Anomalies, Followed, StoresOf, find_anomalies
from vaultstore.evidence.anomalies_tally import Scope, Tally, tally
from vaultstore.records import configure_sqlite
from vaultstore.records.entries import vs_entries

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = datetime(2021, 11, 1, tzinfo=ZONE)  # a Monday


class Staff:
    """Stores of matchmakers, and the log they leave behind."""

    def __init__(self, folder: Path, seed: int = 1, stores: int = 5, people: int = 8, days: int = 12) -> None:
        self.engine = configure_sqlite(sa.create_engine(f"sqlite:///{folder / 'gate.db'}"))
        records.create_all(self.engine, self.engine)
        self.random, self.days = random.Random(seed), days
        self.people = {f"u-{s}-{p}": f"sh-{s:02}" for s in range(stores) for p in range(people)}
        self.members = {f"sh-{s:02}": [self.random.randbytes(16) for _ in range(400)] for s in range(stores)}
        self.home = {member: store for store, members in self.members.items() for member in members}
        self.leads: dict[str, set[bytes]] = {actor: set() for actor in self.people}
        self._rows: list[tuple[datetime, dict[str, object]]] = []

    def workdays(self) -> Iterable[datetime]:
        """Every day but Sundays."""
        return (d for n in range(self.days) if (d := FIRST + timedelta(days=n)).weekday() != 6)

    def normal(self, *but: str) -> None:
        """Everybody works as usual, at their own pace."""
        for actor, store in self.people.items():
            if actor in but:
                continue
            pace = self.random.lognormvariate(0, 0.2)
            for day in self.workdays():
                self.shift(actor, day, round(12 * pace * self.random.lognormvariate(0, 0.25)), self.members[store])

    def shift(
        self, actor: str, day: datetime, acts: int, members: list[bytes], start: float = 9, end: float = 19
    ) -> None:
        """One day's work: pages of a few members, the odd refusal, some searches."""
        for _ in range(max(1, acts)):
            moment = day + timedelta(hours=self.random.uniform(start, end))
            whom = self.random.sample(members, self.random.randint(1, 5))
            told = ["budget.exhausted" if self.random.random() < 0.01 else "disclosed" for _ in whom]
            self.read(actor, moment, whom, told)
            self.leads[actor].update(m for m in whom if self.random.random() < 0.8)
            if self.random.random() < 0.1:
                self.act(actor, moment + timedelta(seconds=30), "search", [], [])

    def read(self, actor: str, moment: datetime, whom: list[bytes], told: list[str] | None = None) -> None:
        """One disclosure."""
        self.act(actor, moment, "disclose", whom, told or ["disclosed"] * len(whom))

    def act(
        self, actor: str, moment: datetime, kind: str, whom: list[bytes], told: list[str], case: str | None = None
    ) -> None:
        """One entry."""
        entry = build_entry(
            id=f"e-{len(self._rows)}",
            time=moment,
            kind=kind,
            actor=f"p-of-{actor}",
            role="matchmaker",
            attributes={"store": self.people[actor]},
            purpose="sales.outreach",
            jti="t",
            case=case,
            model="Member",
            categories=["sales_card"],
            counts={"needles": 1} if kind == "search" else {"subjects": len(whom)},
            outcome="disclosed",
            lines=[Line(member, 1, outcome) for member, outcome in zip(whom, told, strict=True)],
            salts=os.urandom(32 * len(whom)),
        )
        row = {"id": entry.id, "time": moment.astimezone(UTC), "kind": kind, "actor": actor, "leaf": entry.leaf}
        self._rows.append((moment, {**row, "lines": entry.lines, "outcomes": json.dumps(entry.outcomes)}))

    def write(self) -> None:
        """Put it all into the log, in the order of time."""
        with self.engine.begin() as connection:
            rows = [row for _, row in sorted(self._rows, key=lambda pair: pair[0])]
            connection.execute(vs_entries.insert(), rows)

    @property
    def stores_of(self) -> StoresOf:
        return lambda members: {m: self.home[m] for m in members if m in self.home}

    @property
    def followed(self) -> Followed:
        return lambda actor, members: self.leads[actor] & {*members}

    def found(self, resources: ExitStack, scope: Scope | None = None, joined: bool = True) -> tuple[Tally, Anomalies]:
        """The counts and what departs."""
        counted = resources.enter_context(tally(self.engine, ZONE, scope or Scope()))
        if not joined:
            return counted, find_anomalies(counted)
        return counted, find_anomalies(counted, self.stores_of, self.followed)

"""A bulk job over a table of numbers: each row counts how often it was done, so that once can be told from twice."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from vaultstore import records
from vaultstore.lifecycle.jobs import Applied, Failure, Jobs, Range

toys = sa.Table("toys", sa.MetaData(), sa.Column("id", sa.String(8), primary_key=True), sa.Column("done", sa.Integer))

ODD = "00000013"
"""The row that can't be done."""


def engine_of(url: str) -> sa.Engine:
    """An engine of ours for the toys' database."""
    engine = sa.create_engine(url)
    return records.configure_sqlite(engine) if url.startswith("sqlite") else engine


def fill(url: str, count: int) -> sa.Engine:
    """A database with `count` toys that were not done yet."""
    engine = engine_of(url)
    records.metadata.create_all(
        engine, tables=[records.jobs.vs_jobs, records.jobs.vs_job_ranges, records.jobs.vs_job_failures]
    )
    toys.create(engine)
    with engine.begin() as connection:
        for at in range(count):
            connection.execute(toys.insert().values(id=f"{at:08}", done=0))
    return engine


def counts(engine: sa.Engine) -> dict[int, int]:
    """How many rows were done how often."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(toys.c.done, sa.func.count()).group_by(toys.c.done))
        return {row[0]: row[1] for row in rows}


def undone(engine: sa.Engine) -> set[str]:
    """The rows that were never done."""
    with engine.connect() as connection:
        return set(connection.scalars(sa.select(toys.c.id).where(toys.c.done == 0)))


@dataclass(frozen=True)
class Chunk:
    ids: tuple[str, ...]
    last: str | None


@dataclass
class ToyBench:
    engine: sa.Engine
    size: int
    pause: float
    odd: str | None
    ready: Path | None = None
    """A file to make when the first row is reached."""

    def ranges(self, pieces: int) -> Sequence[Range]:
        with self.engine.connect() as connection:
            ids = list(connection.scalars(sa.select(toys.c.id).order_by(toys.c.id)))
        step = -(-len(ids) // pieces) or 1
        cuts = [ids[at] for at in range(step - 1, len(ids) - 1, step)]
        bounds = [None, *cuts, None]
        return [Range(a, b, min(step, len(ids) - at * step)) for at, (a, b) in enumerate(itertools.pairwise(bounds))]

    def prepare(self, after: str | None, until: str | None) -> Chunk:
        if self.ready is not None:
            self.ready.touch()
        time.sleep(self.pause)
        query = sa.select(toys.c.id).order_by(toys.c.id).limit(self.size)
        if after is not None:
            query = query.where(toys.c.id > after)
        if until is not None:
            query = query.where(toys.c.id <= until)
        with self.engine.connect() as connection:
            ids = tuple(connection.scalars(query))
        return Chunk(ids, ids[-1] if len(ids) == self.size else None)

    def apply(self, connection: sa.Connection, chunk: Chunk) -> Applied:
        able = [one for one in chunk.ids if one != self.odd]
        for one in able:
            connection.execute(toys.update().where(toys.c.id == one).values(done=toys.c.done + 1))
        return Applied(len(able), [Failure(one, "it is odd") for one in chunk.ids if one == self.odd])


@dataclass(frozen=True)
class Toy:
    """The work; it can go to another process."""

    url: str
    size: int = 10
    pause: float = 0.0
    odd: str | None = None
    ready: Path | None = None
    kind: str = "toy"
    about: str = "toys"

    @contextmanager
    def open(self) -> Iterator[ToyBench]:
        engine = engine_of(self.url)
        try:
            yield ToyBench(engine, self.size, self.pause, self.odd, self.ready)
        finally:
            engine.dispose()


def main() -> None:
    """Do the job in a process of its own, to be killed: ``python -m tests.support.toy_job URL``."""
    url = sys.argv[1]
    Jobs(engine_of(url)).run(Toy(url, pause=0.005, ready=Path(sys.argv[2])), workers=2)


if __name__ == "__main__":
    main()

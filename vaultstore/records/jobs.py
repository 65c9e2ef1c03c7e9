"""Bulk jobs: how far each has come, range by range, and which rows it could not do.

The tables lie beside the rows: what a chunk did and how far that brought the job commit together. A range is taken by
whoever moves its `at`: two that work on the same one can't both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vaultstore.records.base import MEMBERS, Instant, insert_new, metadata

__all__ = [
    "Job",
    "RangeRow",
    "advance",
    "fail",
    "failed_rows",
    "finish",
    "hold",
    "jobs",
    "lock",
    "open_ranges",
    "progress",
    "start",
    "unfinished",
    "vs_job_failures",
    "vs_job_ranges",
    "vs_jobs",
]

vs_jobs = sa.Table(
    "vs_jobs",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(63), nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("open", sa.Boolean),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("finished_at", Instant),
    sa.UniqueConstraint("kind", "about", "open", name="uq_vs_jobs_open"),
    info=MEMBERS,
)
"""`open` is true while a job is not finished, then NULL: so there is at most one open job of a kind about a thing."""

vs_job_ranges = sa.Table(
    "vs_job_ranges",
    metadata,
    sa.Column("job", sa.String(36), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("after", sa.Text),
    sa.Column("until", sa.Text),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Text),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("holder", sa.String(63)),
    sa.Column("held_at", Instant),
    info=MEMBERS,
)
"""`at` is the key of the last row that was done, `step` counts chunks. `holder` is a hint for others, not a lock."""

vs_job_failures = sa.Table(
    "vs_job_failures",
    metadata,
    sa.Column("job", sa.String(36), primary_key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("failed_at", Instant, nullable=False),
    info=MEMBERS,
)
"""`key` names a row and `reason` says why it could not be done; neither is a place for a value."""


@dataclass(frozen=True, slots=True)
class Job:
    """A bulk job, and how far it has come."""

    id: str
    kind: str
    about: str
    started_at: datetime
    finished_at: datetime | None
    rows: int
    """How many rows there were to do when it began."""
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class RangeRow:
    """One range of a job."""

    job: str
    number: int
    after: str | None
    until: str | None
    rows: int
    at: str | None
    step: int
    done: int
    failed: int
    finished: bool
    holder: str | None
    held_at: datetime | None


def start(
    connection: sa.Connection,
    job: str,
    kind: str,
    about: str,
    ranges: Sequence[tuple[str | None, str | None, int]],
    now: datetime,
) -> None:
    """Write a new job down with its ranges, (after, until, rows) each. IntegrityError where one of its name is open."""
    connection.execute(vs_jobs.insert().values(id=job, kind=kind, about=about, open=True, started_at=now))
    rows = [
        {
            "job": job, "number": number, "after": after, "until": until, "rows": count, "at": after,
            "step": 0, "done": 0, "failed": 0, "finished": False,
        }
        for number, (after, until, count) in enumerate(ranges)
    ]  # fmt: skip
    if rows:
        connection.execute(vs_job_ranges.insert(), rows)


def unfinished(connection: sa.Connection, kind: str, about: str) -> str | None:
    """The id of the open job of that kind about that thing."""
    c = vs_jobs.c
    found: str | None = connection.execute(
        sa.select(c.id).where(c.kind == kind, c.about == about, c.open.is_(True))
    ).scalar_one_or_none()
    return found


def open_ranges(connection: sa.Connection, job: str) -> list[RangeRow]:
    """The ranges of a job that are not at their ends, in order."""
    c = vs_job_ranges.c
    query = sa.select(vs_job_ranges).where(c.job == job, c.finished.is_(False)).order_by(c.number)
    return [RangeRow(*row) for row in connection.execute(query)]


def hold(connection: sa.Connection, job: str, number: int, holder: str | None, now: datetime) -> None:
    """Say who is at work on a range; None: nobody any more."""
    c = vs_job_ranges.c
    here = (c.job == job) & (c.number == number)
    connection.execute(vs_job_ranges.update().where(here).values(holder=holder, held_at=now))


def lock(connection: sa.Connection, found: RangeRow) -> bool:
    """Keep a range until the transaction ends; False where another moved it on since `found` was read."""
    c = vs_job_ranges.c
    query = (
        sa.select(c.step).where(c.job == found.job, c.number == found.number, c.finished.is_(False)).with_for_update()
    )
    return connection.execute(query).scalar_one_or_none() == found.step


def advance(
    connection: sa.Connection, found: RangeRow, last: str | None, done: int, failed: int, holder: str, now: datetime
) -> None:
    """Move a range that is locked on to the row `last`; None: to its end."""
    c = vs_job_ranges.c
    connection.execute(
        vs_job_ranges.update()
        .where(c.job == found.job, c.number == found.number)
        .values(
            at=found.at if last is None else last,
            step=c.step + 1,
            done=c.done + done,
            failed=c.failed + failed,
            finished=last is None,
            holder=None if last is None else holder,
            held_at=now,
        )
    )


def fail(connection: sa.Connection, job: str, failures: Sequence[tuple[str, str]], now: datetime) -> None:
    """Write down rows that could not be done, (key, reason) each."""
    rows = [{"job": job, "key": key, "reason": reason, "failed_at": now} for key, reason in failures]
    if rows:
        connection.execute(insert_new(connection, vs_job_failures), rows)


def finish(connection: sa.Connection, job: str, now: datetime) -> bool:
    """Close a job whose ranges are all at their ends; whether this call did."""
    c = vs_jobs.c
    left = sa.exists().where(vs_job_ranges.c.job == job, vs_job_ranges.c.finished.is_(False))
    closed = connection.execute(
        vs_jobs.update().where(c.id == job, c.open.is_(True), ~left).values(open=None, finished_at=now)
    )
    return closed.rowcount == 1


def progress(connection: sa.Connection, job: str) -> tuple[int, int, int]:
    """(rows there were, rows done, rows failed) of a job."""
    c = vs_job_ranges.c
    sums = [sa.func.coalesce(sa.func.sum(column), 0) for column in (c.rows, c.done, c.failed)]
    rows, done, failed = connection.execute(sa.select(*sums).where(c.job == job)).one()
    return int(rows), int(done), int(failed)


def jobs(connection: sa.Connection, limit: int = 50) -> list[Job]:
    """The latest jobs, newest first."""
    c = vs_jobs.c
    query = sa.select(c.id, c.kind, c.about, c.started_at, c.finished_at).order_by(c.started_at.desc()).limit(limit)
    return [Job(*row, *progress(connection, row.id)) for row in connection.execute(query).all()]


def failed_rows(connection: sa.Connection, job: str, limit: int | None = None) -> Iterator[tuple[str, str]]:
    """(key, reason) of the rows that a job could not do, by key."""
    c = vs_job_failures.c
    query = sa.select(c.key, c.reason).where(c.job == job).order_by(c.key).limit(limit)
    yield from connection.execute(query)

"""A worker of a bulk job: takes ranges that nobody is at, and goes through them chunk by chunk."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from vaultstore.lifecycle.work import Bench, Work
from vaultstore.records import jobs
from vaultstore.records.jobs import RangeRow
from vaultstore.records.sqlite import IMMEDIATE

__all__ = ["PAUSE", "go_to_work"]

PAUSE = 0.2
"""Seconds between looks at what others are doing."""

_ABANDONED = timedelta(seconds=30)
"""How long after its last chunk a range counts as left behind, where nobody can look whether its worker lives."""


def go_to_work(
    work: Work, job: str, each_chunk: Callable[[], None] | None = None, stop: threading.Event | None = None
) -> None:
    """Take ranges of a job until none is left."""
    holder = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    with work.open() as bench:
        engine = bench.engine.execution_options(**{IMMEDIATE: True})
        while not (stop is not None and stop.is_set()):
            with engine.connect() as connection:
                left = jobs.open_ranges(connection, job)
            if not left:
                return
            free = [found for found in left if _free(found)]
            if not free:
                time.sleep(PAUSE)
                continue
            _go_through(bench, engine, random.choice(free), holder, each_chunk, stop)  # noqa: S311 - to spread workers


def _go_through(
    bench: Bench,
    engine: sa.Engine,
    found: RangeRow,
    holder: str,
    each_chunk: Callable[[], None] | None,
    stop: threading.Event | None,
) -> None:
    """Do a range, from where it is to its end, or until another worker turns out to be at it."""
    with engine.begin() as connection:
        jobs.hold(connection, found.job, found.number, holder, datetime.now(UTC))
    try:
        while not (stop is not None and stop.is_set()):
            moved = _chunk(bench, engine, found, holder)
            if each_chunk is not None:
                each_chunk()
            if moved is None:
                return
            found = moved
    finally:
        with suppress(Exception), engine.begin() as connection:
            if not found.finished:
                jobs.hold(connection, found.job, found.number, None, datetime.now(UTC))


def _chunk(bench: Bench, engine: sa.Engine, found: RangeRow, holder: str) -> RangeRow | None:
    """Do the next chunk of a range: where it is then, or None where it is at its end, or not ours to go on with."""
    prepared = bench.prepare(found.at, found.until)
    with engine.begin() as connection:
        if not jobs.lock(connection, found):
            return None
        applied = bench.apply(connection, prepared)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL ROLE NONE")  # a purpose's role has no right to tables of jobs
        now = datetime.now(UTC)
        jobs.fail(connection, found.job, applied.failures, now)
        jobs.advance(connection, found, prepared.last, applied.done, len(applied.failures), holder, now)
        if prepared.last is None:
            return None
        query = sa.select(jobs.vs_job_ranges).where(
            jobs.vs_job_ranges.c.job == found.job, jobs.vs_job_ranges.c.number == found.number
        )
        return RangeRow(*connection.execute(query).one())


def _free(found: RangeRow) -> bool:
    """Whether nobody seems to be at work on a range."""
    if found.holder is None or found.held_at is None:
        return True
    host, pid, _ = [*found.holder.rsplit(":", 2), "", ""][:3]
    if host == socket.gethostname()[:30] and pid.isdigit() and not _lives(int(pid)):
        return True
    return datetime.now(UTC) - found.held_at > _ABANDONED


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

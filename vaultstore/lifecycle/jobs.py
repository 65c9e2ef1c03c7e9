"""Bulk jobs: work over many rows, chunk by chunk, that can be stopped at any point and goes on where it was.

A job's rows are cut into ranges by key. Workers take a range each and go through it; what a chunk changed and how far
that brought the range commit together, so whatever kills a worker, no row is done twice and none is left out. Two runs
of the same job share its ranges. A row that can't be done is written down and does not stop the others.
"""

from __future__ import annotations

import pickle
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.work import Applied, Bench, Failure, OnProgress, Prepared, Progress, Range, Summary, Work
from vaultstore.lifecycle.worker import PAUSE, go_to_work
from vaultstore.records import jobs
from vaultstore.records.jobs import Job
from vaultstore.records.sqlite import IMMEDIATE

__all__ = ["Applied", "Bench", "Failure", "Jobs", "OnProgress", "Prepared", "Progress", "Range", "Summary", "Work"]

_SHOWN = 20


class Jobs:
    """Runs bulk jobs and tells of them. `engine` is the members' side."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine.execution_options(**{IMMEDIATE: True})

    def __repr__(self) -> str:
        return "<Jobs>"

    def run(
        self,
        work: Work,
        *,
        workers: int = 1,
        executor: Executor | None = None,
        pieces: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> Summary:
        """Do a job, or the rest of one that was begun; returns when all of its rows were looked at.

        `workers` is how many ranges are worked on at once: by threads, or by tasks of `executor`, which may be any
        (threads, processes, a cluster's). `pieces` is into how many ranges a new job is cut.

        Raises what stops a worker (a token that is over, a key service that is down); what was done by then is done,
        and running the job again goes on from there.
        """
        if workers < 1:
            raise UnsupportedOperation("a job takes at least one worker")
        began, tell = time.monotonic(), on_progress or _nothing
        job, resumed = self._begin(work, pieces or (1 if workers == 1 else workers * 4))
        tell(self._progress(job))
        if executor is None and workers == 1:
            go_to_work(work, job, lambda: tell(self._progress(job)))
        elif executor is not None:
            self._wait([_submit(executor, work, job) for _ in range(workers)], job, tell)
        else:
            with ThreadPoolExecutor(workers, "vaultstore-job") as threads:
                stop = threading.Event()
                try:
                    self._wait(
                        [threads.submit(go_to_work, work, job, _nothing, stop) for _ in range(workers)], job, tell
                    )
                except BaseException:
                    stop.set()
                    raise
        with self._engine.begin() as connection:
            jobs.finish(connection, job, datetime.now(UTC))
            rows, done, failed = jobs.progress(connection, job)
            failures = tuple(Failure(*row) for row in jobs.failed_rows(connection, job, _SHOWN))
        tell(Progress(rows, done, failed))
        return Summary(job, work.kind, work.about, rows, done, failed, failures, resumed, time.monotonic() - began)

    def latest(self) -> list[Job]:
        """The latest jobs, newest first."""
        with self._engine.connect() as connection:
            return jobs.jobs(connection)

    def failures(self, job: str) -> list[Failure]:
        """Every row that a job could not do."""
        with self._engine.connect() as connection:
            return [Failure(*row) for row in jobs.failed_rows(connection, job)]

    def _begin(self, work: Work, pieces: int) -> tuple[str, bool]:
        """The open job of that name, a new one where there is none; whether it was there."""
        while True:
            with self._engine.connect() as connection:
                found = jobs.unfinished(connection, work.kind, work.about)
            if found is not None:
                return found, True
            with work.open() as bench:
                ranges = bench.ranges(pieces)
            job = str(uuid.uuid4())
            # Where another run has just begun it, that one is gone on with; it may even be finished by now.
            with suppress(IntegrityError):
                with self._engine.begin() as connection:
                    jobs.start(connection, job, work.kind, work.about, ranges, datetime.now(UTC))
                return job, False

    def _progress(self, job: str) -> Progress:
        with self._engine.connect() as connection:
            return Progress(*jobs.progress(connection, job))

    def _wait(self, tasks: Sequence[Future[None]], job: str, tell: OnProgress) -> None:
        left = set(tasks)
        try:
            while left:
                done, left = wait(left, timeout=2 * PAUSE, return_when=FIRST_COMPLETED)
                for task in done:
                    task.result()
                tell(self._progress(job))
        except BaseException:
            for task in left:
                task.cancel()
            raise


def _submit(executor: Executor, work: Work, job: str) -> Future[None]:
    if not isinstance(executor, ThreadPoolExecutor):
        try:
            pickle.dumps(work)
        except Exception:  # noqa: BLE001 - whatever pickling raises, it may show what it could not take
            refused = (
                f"{work.kind}: this work holds an open store, which can't go to another process: give opener=, a"
                " function of a module that opens the store there"
            )
        else:
            return executor.submit(go_to_work, work, job)
        raise UnsupportedOperation(refused)
    return executor.submit(go_to_work, work, job)


def _nothing(*_: object) -> None:
    pass

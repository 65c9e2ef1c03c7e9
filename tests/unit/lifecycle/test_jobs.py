"""Bulk jobs: every row once, whatever happens to the workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.soaking import often
from tests.support.toy_job import ODD, Chunk, Toy, ToyBench, counts, engine_of, fill, undone
from vaultstore import records
from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.jobs import Jobs, Progress


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=[pytest.mark.integration, pytest.mark.xdist_group("postgres")])]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'toys.db'}"
    made: str = request.getfixturevalue("pg_database")
    return made


@contextmanager
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(3) as executor:
        yield executor


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@contextmanager
def dask() -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client.get_executor()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_row_is_done_once(url: str, workers: int) -> None:
    engine = fill(url, 95)
    told: list[Progress] = []
    summary = Jobs(engine).run(Toy(url), workers=workers, on_progress=told.append)
    assert counts(engine) == {1: 95}
    assert (summary.rows, summary.done, summary.failed, summary.resumed) == (95, 95, 0, False)
    assert told[0] == (95, 0, 0)
    assert told[-1] == (95, 95, 0)


@pytest.mark.parametrize("executor", [threads, processes, dask])
def test_any_executor_does_it(tmp_path: Path, executor: Any) -> None:
    url = f"sqlite:///{tmp_path / 'toys.db'}"
    engine = fill(url, 60)
    with executor() as made:
        summary = Jobs(engine).run(Toy(url), workers=2, executor=made)
    assert counts(engine) == {1: 60}
    assert summary.done == 60


def test_a_row_that_fails_is_listed_and_stops_nothing(url: str) -> None:
    engine = fill(url, 40)
    summary = Jobs(engine).run(Toy(url, odd=ODD), workers=2)
    assert counts(engine) == {0: 1, 1: 39}
    assert (summary.done, summary.failed, summary.failures) == (39, 1, ((ODD, "it is odd"),))
    assert Jobs(engine).failures(summary.job) == [(ODD, "it is odd")]


def test_a_finished_job_is_done_anew_as_another(url: str) -> None:
    engine = fill(url, 20)
    first, second = Jobs(engine).run(Toy(url)), Jobs(engine).run(Toy(url))
    assert counts(engine) == {2: 20}
    assert first.job != second.job
    assert [job.id for job in Jobs(engine).latest()] == [second.job, first.job]


def test_two_runs_at_once_share_the_rows(url: str) -> None:
    engine = fill(url, 200)
    ends: list[Any] = []

    def run() -> None:
        mine = engine_of(url)
        ends.append(Jobs(mine).run(Toy(url, pause=0.002), workers=2, pieces=6))
        mine.dispose()

    runs = [threading.Thread(target=run) for _ in range(2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert counts(engine) == {1: 200}
    assert len(ends) == 2
    assert ends[0].job == ends[1].job
    assert ends[0].done == ends[1].done == 200


@dataclass
class Breaking(ToyBench):
    """Fails at a row, as a key service that is down would."""

    def prepare(self, after: str | None, until: str | None) -> Chunk:
        chunk = super().prepare(after, until)
        if "00000025" in chunk.ids:
            raise ConnectionError("down")
        return chunk


@dataclass(frozen=True)
class BreakingToy(Toy):
    @contextmanager
    def open(self) -> Iterator[ToyBench]:
        with super().open() as bench:
            yield Breaking(bench.engine, bench.size, bench.pause, bench.odd)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_stops_a_job_is_raised_and_the_next_run_goes_on(url: str, workers: int) -> None:
    engine = fill(url, 50)
    with pytest.raises(ConnectionError):
        Jobs(engine).run(BreakingToy(url), workers=workers)
    left = undone(engine)
    assert "00000025" in left
    assert workers > 1 or len(left) == 30  # others may go through their ranges meanwhile
    summary = Jobs(engine).run(Toy(url))
    assert summary.resumed
    assert counts(engine) == {1: 50}


def test_a_run_that_was_overtaken_by_one_that_has_ended_begins_anew(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run begins the same job while this one reads its ranges, and is through before this one looks again."""
    engine, start = fill(url, 20), records.jobs.start
    refused = [sa.exc.IntegrityError("INSERT", None, Exception("taken"))]

    def begun(*args: Any) -> None:
        if refused:
            raise refused.pop()
        start(*args)

    monkeypatch.setattr(records.jobs, "start", begun)
    assert Jobs(engine).run(Toy(url)).done == 20
    assert counts(engine) == {1: 20}


def test_work_that_can_not_travel_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'toys.db'}"
    engine = fill(url, 5)

    @dataclass(frozen=True)
    class Local(Toy):
        pass

    with processes() as executor, pytest.raises(UnsupportedOperation, match="give opener="):
        Jobs(engine).run(Local(url), executor=executor)
    assert counts(engine) == {0: 5}


def test_a_table_without_rows_is_done_at_once(url: str) -> None:
    engine = fill(url, 0)
    assert Jobs(engine).run(Toy(url), workers=2).done == 0
    assert Jobs(engine).latest()[0].finished_at is not None


def _killed_until_done(url: str, folder: Path, seed: int) -> None:
    """Run the job in processes that are killed after a random time, until one gets to the end."""
    dice, engine = random.Random(seed), fill(url, 300)
    for attempt in range(200):
        ready = folder / f"ready-{seed}-{attempt}"
        process = subprocess.Popen([sys.executable, "-m", "tests.support.toy_job", url, str(ready)])
        while not ready.exists() and process.poll() is None:
            time.sleep(0.005)
        try:
            process.wait(dice.uniform(0.0, 0.25) * (1 + attempt / 4))  # a busy machine gets there, too
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        else:
            assert process.returncode == 0
        if any(job.finished_at for job in Jobs(engine).latest()):
            break
    else:
        pytest.fail("it never got to the end")
    assert counts(engine) == {1: 300}
    [job] = Jobs(engine).latest()
    assert (job.done, job.finished_at is not None) == (300, True)
    engine.dispose()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_job_that_is_killed_goes_on_where_it_was(url: str, tmp_path: Path, seed: int) -> None:
    _killed_until_done(url, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 100 + often(50)))
def test_a_job_that_is_killed_again_and_again_goes_on(tmp_path: Path, seed: int) -> None:
    _killed_until_done(f"sqlite:///{tmp_path / 'toys.db'}", tmp_path, seed)


def test_tables_of_jobs_hold_no_more_than_keys_and_reasons(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'toys.db'}"
    engine = fill(url, 20)
    Jobs(engine).run(Toy(url, odd=ODD))
    with engine.connect() as connection:
        row = connection.execute(sa.text("SELECT key, reason FROM vs_job_failures")).one()
    assert tuple(row) == (ODD, "it is odd")

"""The steps of a move on SQLite: their order, what is recorded, other processes, and what is left in the files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.legacy import MOVER, NAME, POLICY, Base, OldClient, World, moving_store, number, raw, sqlite_url
from vaultstore import LocalKeys, Policy, Store
from vaultstore.errors import TokenExpired, UnsupportedOperation
from vaultstore.lifecycle.moves_work import Backfill
from vaultstore.orm import uuid7

ROWS = 30


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with LocalKeys.open(tmp_path / "keys.json") as keys, moving_store(sqlite_url(tmp_path), keys, rows=ROWS) as made:
        yield made


STEPS = ("start", "backfill", "verify", "cutover", "drop")


@pytest.mark.parametrize("done", STEPS)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_is_not_due_is_refused_and_says_what_is(world: World, done: str, step: str) -> None:
    again = {"backfill": "backfill", "verify": "verify", "cutover": "cutover", "drop": "drop"}  # harmless
    due = {"start": "backfill", "backfill": "verify", "verify": "cutover", "cutover": "drop", "drop": ""}
    back = {"verify": ("backfill",), "cutover": ("backfill",)}
    world.moved(done)
    take = partial(getattr(world.store.moves, step), NAME, *(() if step == "start" else (world.token(),)))
    if step in (again.get(done), due[done], *back.get(done, ())):
        take()
        return
    before = raw(world.old)
    with pytest.raises(UnsupportedOperation, match=r"next is `vaultstore migrate|op\.drop_plaintext_column"):
        take()
    assert raw(world.old) == before


def test_a_backfill_after_the_verification_has_it_verified_again(world: World) -> None:
    world.moved("verify")
    world.store.moves.backfill(NAME, world.token())
    with pytest.raises(UnsupportedOperation, match="migrate verify"):
        world.store.moves.cutover(NAME, world.token())


def test_two_verifications_of_the_same_rows_have_digests_of_their_own(world: World) -> None:
    world.moved("backfill")
    one, other = (world.store.moves.verify(NAME, world.token()) for _ in range(2))
    assert (one.rows, one.high, one.failed) == (other.rows, other.high, other.failed) == (ROWS, one.high, 0)
    assert one.digest != other.digest
    steps = world.store.moves.status(NAME).steps
    assert [(s.step, s.rows, s.digest) for s in steps[-2:]] == [
        ("verify", ROWS, one.digest), ("verify", ROWS, other.digest)
    ]  # fmt: skip
    assert steps[-1].high == max(raw(world.old)).hex
    assert steps[-1].actor == MOVER.id


def test_nothing_of_the_plaintext_is_left_in_the_files(world: World, tmp_path: Path) -> None:
    wanted = number(7).encode()
    files = [tmp_path / name for name in ("members.db", "members.db-wal")]
    assert any(wanted in path.read_bytes() for path in files if path.exists())
    world.moved("drop")
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        assert wanted not in content
        assert b"1380000" not in content


def test_who_reads_the_file_keeps_its_log_and_is_told_of(world: World, tmp_path: Path) -> None:
    world.moved("cutover")
    with world.old.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM clients").all()
        reader.exec_driver_sql("BEGIN")
        reader.exec_driver_sql("SELECT count(*) FROM clients").all()
        notes = world.store.moves.drop(NAME, world.token()).notes
        assert "run drop again" in notes[0]
        reader.rollback()
    assert len(world.store.moves.drop(NAME, world.token()).notes) == 1
    assert not any(b"1380000" in path.read_bytes() for path in tmp_path.iterdir())


def test_columns_that_are_missing_or_take_no_null_are_told_before_anything_is_done(tmp_path: Path) -> None:
    engine = sa.create_engine(sqlite_url(tmp_path))
    with Store.open(sqlite_url(tmp_path), keys=LocalKeys.memory(), policy=Policy.parse(POLICY), models=Base) as store:
        with pytest.raises(UnsupportedOperation, match="migrate the database first"):
            store.moves.start(NAME)
        store.create_all()
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE clients")
        with pytest.raises(UnsupportedOperation, match="there is no table clients"):
            store.moves.start(NAME)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE clients (id CHAR(32) PRIMARY KEY, city TEXT, phone TEXT NOT NULL)")
        with pytest.raises(UnsupportedOperation, match=r"no column phone_sealed, .*op\.add_encrypted_column"):
            store.moves.start(NAME)
        with engine.begin() as connection:
            for name in ("phone_sealed", "phone_sealed_sales_card", "phone_sealed_bidx"):
                connection.exec_driver_sql(f"ALTER TABLE clients ADD COLUMN {name} BLOB")
        with pytest.raises(UnsupportedOperation, match="has to take NULL"):
            store.moves.start(NAME)
    engine.dispose()


@contextmanager
def opening(folder: Path) -> Iterator[Store]:
    """The store in another process."""
    with (
        LocalKeys.open(folder / "keys.json") as keys,
        Store.open(sqlite_url(folder), keys=keys, policy=Policy.parse(POLICY), models=Base) as store,
    ):
        yield store


def test_a_backfill_runs_in_other_processes(world: World, tmp_path: Path) -> None:
    world.moved("start")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        summary = world.store.moves.backfill(
            NAME, world.token(), workers=2, executor=pool, opener=partial(opening, tmp_path)
        )
        assert (summary.done, summary.failed) == (ROWS, 0)
    assert not world.store.moves.verify(NAME, world.token()).failed


def test_without_an_opener_only_threads_work(world: World) -> None:
    world.moved("start")
    with ProcessPoolExecutor(1) as pool, pytest.raises(UnsupportedOperation, match="opener"):
        world.store.moves.backfill(NAME, world.token(), executor=pool)
    with ThreadPoolExecutor(1) as pool:
        assert world.store.moves.backfill(NAME, world.token(), executor=pool).done == ROWS
    with pytest.raises(UnsupportedOperation, match="opener"), Backfill(NAME, "token").open():
        pass


def test_work_shows_no_token_and_goes_to_other_processes(tmp_path: Path) -> None:
    work = Backfill(NAME, "very-secret", None, partial(opening, tmp_path))
    assert "very-secret" not in repr(work)
    assert pickle.loads(pickle.dumps(work)).about == NAME


def test_a_token_that_is_a_function_is_asked_again_when_the_first_is_over(world: World) -> None:
    world.moved("start")
    asked = []

    def token() -> str:
        asked.append(1)
        return world.token()

    assert world.store.moves.backfill(NAME, token).done == ROWS
    assert asked


def test_an_expired_token_stops_a_job_and_nothing_is_lost(world: World) -> None:
    from datetime import timedelta

    world.moved("start")
    token = world.store.issue(MOVER, "maintenance.moving", ttl=timedelta(seconds=60))
    later = world.store.parts.clock() + timedelta(hours=2)
    clock: Callable[[], object] = world.store.parts.clock
    assert clock() is not None
    with pytest.raises(TokenExpired):
        _verified_at(world.store, token, later)
    assert {row[1] for row in raw(world.old).values()} == {None}


def _verified_at(store: Store, token: str, when: object) -> None:
    verifier = store._verifier
    clock, verifier._clock = verifier._clock, lambda: when
    try:
        store.moves.backfill(NAME, token)
    finally:
        verifier._clock = clock


def test_other_columns_and_other_rows_are_the_old_applications_to_write(world: World) -> None:
    world.moved("cutover")
    with sa.orm.Session(world.old) as session, session.begin():
        session.add(OldClient(id=uuid7(), phone=None))
        session.scalars(sa.select(OldClient).limit(1)).one().city = "北京"
    assert world.write("DELETE FROM clients WHERE city = '北京'") == 1
    assert len(raw(world.old)) == ROWS
    world.store.moves.drop(NAME, world.token())

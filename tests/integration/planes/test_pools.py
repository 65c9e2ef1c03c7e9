"""Two purposes at once on one small pool, with everything that goes wrong in between."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tests.support.applied import SELLER, Applied, Deal, Person, applied
from tests.support.soaking import often
from vaultstore import Actor, Store
from vaultstore.errors import AccessDenied, WriteDenied
from vaultstore.orm import PurposeSession
from vaultstore.records.plane import CLAIMS
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

THREADS, POOL, PEOPLE = 16, 4, 12
_WHO = f"SELECT current_user = session_user, coalesce(current_setting('{CLAIMS}', true), '') = ''"
_PARTED = (DBAPIError, InvalidRequestError)
"""What a session says whose connection was killed, or whose transaction has failed before."""


class Crowd:
    """Sellers, who see their own deals' people through cards, and townspeople, who see Beijing's as the desk does."""

    def __init__(self, place: Applied) -> None:
        self.place = place
        self.store = place.open(
            "shop",
            pool={
                "pool_size": POOL,
                "max_overflow": 0,
                "pool_timeout": 60,
                "pool_pre_ping": True,
                "connect_args": {"application_name": "crowd", "prepare_threshold": 2},
            },
        )
        self.dirty: list[str] = []
        self.done: Counter[str] = Counter()
        town = Actor("t-1", role="seller", attributes={"city": "Beijing"})
        self.tokens = {"sell": self.store.issue(SELLER, "sell"), "town": self.store.issue(town, "town")}
        self.sees = {
            "sell": {("Shanghai", f"*******{i:04d}") for i in range(0, PEOPLE, 2)},
            "town": {("Beijing", "138********")},
        }
        self.column = {"sell": "phone_card", "town": "phone_desk"}
        self.counts = {"sell": PEOPLE // 2, "town": PEOPLE // 2}

    def check_out(self, connection: Any, record: Any, proxy: Any) -> None:
        """Every connection that the pool hands out is the login's own and knows nobody."""
        try:
            with connection.cursor() as cursor:
                cursor.execute(_WHO)
                if cursor.fetchone() != (True, True):
                    self.dirty.append("a connection came out of the pool with a role or claims on it")
            connection.rollback()
        except psycopg.OperationalError:
            raise DisconnectionError from None
        self.done["checked out"] += 1

    # -- what happens in sessions

    def read(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        people = session.scalars(select(Person).order_by(Person.id)).all()
        seen = {(p.city, str(p.phone)) for p in people}
        assert len(people) == self.counts[purpose], (purpose, len(people))
        assert seen == self.sees[purpose], (purpose, seen)
        self.done[f"read {purpose}"] += 1

    def read_raw(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        rows = session.execute(text(f"SELECT city, {self.column[purpose]} FROM people")).all()
        assert {city for city, _ in rows} == {city for city, _ in self.sees[purpose]}
        assert len(rows) == self.counts[purpose]
        assert session.scalar(text("SELECT vs_actor()")) == session.opened.grant.actor.id

    def reach_over(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        other = self.column["town" if purpose == "sell" else "sell"]
        with pytest.raises(AccessDenied):
            session.execute(text(f"SELECT {other} FROM people"))
        self.done[f"refused {purpose}"] += 1
        session.rollback()
        self.read(session, purpose, chance)

    def write(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        session.add(Deal(person_id=self.place.people[0], seller="s-1"))
        with pytest.raises(WriteDenied):
            session.flush()
        session.rollback()

    def fail(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        if chance.random() < 0.5:
            session.rollback()
            self.read(session, purpose, chance)

    def time_out(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        session.execute(text("SET LOCAL statement_timeout = 1"))
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT pg_sleep(1)"))
        session.rollback()

    def savepoints(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        with suppress(ZeroDivisionError), session.begin_nested():
            self.read(session, purpose, chance)
            raise ZeroDivisionError
        self.read_raw(session, purpose, chance)

    def raise_(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        self.read(session, purpose, chance)
        raise ZeroDivisionError

    def invalidate(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        self.read(session, purpose, chance)
        if chance.random() < 0.5:
            session.connection().invalidate()
            session.rollback()
        else:
            session.invalidate()
        self.read(session, purpose, chance)

    def end(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        chance.choice([session.commit, session.rollback, session.expire_all])()
        self.read_raw(session, purpose, chance)

    def end_by_hand(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        ended = chance.choice(["COMMIT", "ROLLBACK", "RESET ROLE", "SET LOCAL ROLE NONE"])
        self.read_raw(session, purpose, chance)
        session.execute(text(ended))
        with pytest.raises(AccessDenied):  # the login has no rights of its own
            session.execute(text(f"SELECT {self.column[purpose]} FROM people"))
        session.rollback()

    def drop(self, session: PurposeSession, purpose: str, chance: random.Random) -> None:
        self.read(session, purpose, chance)  # and what the session is left in, `work` decides

    DEEDS: tuple[Callable[..., None], ...] = (
        read, read_raw, reach_over, write, fail, time_out, savepoints, raise_, invalidate, end, end_by_hand, drop,
    )  # fmt: skip

    def work(self, seed: int, rounds: int) -> None:
        """One thread: sessions of both purposes in turn, a few deeds each."""
        chance = random.Random(seed)
        for _ in range(rounds):
            purpose = chance.choice(["sell", "town"])
            try:
                with suppress(ZeroDivisionError), self.store.session(self.tokens[purpose]) as session:
                    for _ in range(chance.randint(1, 4)):
                        chance.choice(self.DEEDS)(self, session, purpose, chance)
                    if chance.random() < 0.5:
                        session.commit()
            except PoolTimeout:
                raise
            except _PARTED:
                self.done["parted"] += 1


@contextmanager
def killing(place: Applied, seconds: float) -> Iterator[Counter[str]]:
    """Meanwhile, a connection of the crowd's is killed every now and then."""
    over, killed = threading.Event(), Counter[str]()

    def kill() -> None:
        with place.operator.engine.connect() as connection:
            while not over.wait(seconds):
                found = connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                        " AND application_name = 'crowd' ORDER BY random() LIMIT 1"
                    )
                ).all()
                killed["connections"] += len(found)
                connection.rollback()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _load(place: Applied, seed: int, rounds: int, *, kill: bool) -> None:
    crowd = Crowd(place)
    event.listen(crowd.store.engine, "checkout", crowd.check_out)
    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(crowd.work, seed * 1000 + n, rounds) for n in range(THREADS)]
        if kill:
            with killing(place, 0.05) as killed:
                for thread in threads:
                    thread.result()
            assert killed["connections"] > 0
        for thread in threads:
            thread.result()
    assert crowd.dirty == []
    assert min(crowd.done[f"{what} {purpose}"] for what in ("read", "refused") for purpose in ("sell", "town")) > 0
    assert crowd.done["checked out"] > THREADS * rounds / 2
    assert crowd.done["parted"] > 0 or not kill
    _all_clean(crowd.store)


def _all_clean(store: Store) -> None:
    """Each connection that lies in the pool."""
    pool: Any = store.engine.pool
    deadline = time.monotonic() + 10
    while pool.checkedout() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pool.checkedout() == 0
    taken = [store.engine.connect() for _ in range(POOL)]
    try:
        assert {tuple(connection.exec_driver_sql(_WHO).one()) for connection in taken} == {(True, True)}
    finally:
        for connection in taken:
            connection.close()


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer) -> Iterator[Applied]:
    with applied(postgres) as made:
        made.fill(made.open("office"), PEOPLE)
        yield made


@pytest.fixture
def place(shared: Applied) -> Iterator[Applied]:
    yield shared
    shared.let_go()


def test_sixteen_threads_of_two_purposes_on_four_connections_never_see_each_others_rights(place: Applied) -> None:
    _load(place, 1, 20, kill=False)


def test_connections_that_are_killed_in_the_middle_leave_nothing_behind(place: Applied) -> None:
    _load(place, 2, 20, kill=True)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3, 3 + often(10)))
def test_a_long_crowd(place: Applied, seed: int) -> None:
    _load(place, seed, 150, kill=bool(seed % 2))

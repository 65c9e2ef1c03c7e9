"""Several purposes at once, from many threads on one small pool: nobody ever sees another purpose's rights."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.integration.security.deployment import MANAGER, Town, town
from tests.support.generated_planes import ISSUER
from tests.support.profiles import MATCHMAKER, SHIPPED_POLICY
from vaultstore import Actor, Policy, Store
from vaultstore.errors import AccessDenied, NotDisclosed, SearchDenied
from vaultstore.masks import is_masked
from vaultstore.members.models import Base, Lead, Member
from vaultstore.orm import PurposeSession
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration

THREADS, CONNECTIONS = 16, 4


@dataclass(frozen=True)
class Job:
    """A purpose, who acts, and what they have to see."""

    purpose: str
    actor: Actor
    rows: tuple[int, int]
    """Of the members, from and to."""
    masked: frozenset[str]
    """Fields that show a mask; every other one is denied."""
    leads: bool = False
    """Whether leads are there for it."""


POOL = frozenset({"birth_date", "education"})
CARD = POOL | {"name", "phone", "wechat", "height_cm", "marital", "monthly_income", "house", "car"}
JOBS = (
    Job("sales.pool", MATCHMAKER, (0, 4), POOL),
    Job("sales.pool", Actor("u-18", "matchmaker", {"store": "sh-02"}), (4, 6), POOL),
    Job("sales.outreach", MATCHMAKER, (0, 2), CARD),
    Job("sales.outreach", Actor("u-18", "matchmaker", {"store": "sh-02"}), (4, 5), CARD),
    Job("sales.manage", MANAGER, (0, 4), CARD, leads=True),
)
FIELDS = ("name", "id_number", "phone", "wechat", "email", "birth_date", "education", "monthly_income", "wants")


@pytest.fixture(scope="module", params=["default", "strict"])
def place(request: pytest.FixtureRequest, openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=request.param == "strict") as made:
        made.members(2, lead=True)
        made.members(2)
        made.members(2, store="sh-02")
        made.leads(made.known[4:5], Actor("u-18", "matchmaker", {"store": "sh-02"}))
        yield made


@pytest.fixture
def crm(place: Town) -> Iterator[Store]:
    """The CRM's store, all of whose sessions share a pool of four connections."""
    url = sa.make_url(place.live.url).set(username=place.live.login("sales.pool"))
    engine = sa.create_engine(url, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=120)
    policy = Policy.load(SHIPPED_POLICY)
    with Store.open(engine, keys=place.live.keys, policy=policy, models=Base, issuer=ISSUER) as store:
        yield store
    engine.dispose()


def look(session: PurposeSession, job: Job, place: Town) -> None:
    """Everything that the session shows is this job's, and nothing is anybody else's."""
    role = session.connection().exec_driver_sql("SELECT current_user::text").scalar_one()
    assert role == place.live.roles.role(job.purpose)
    people = session.scalars(select(Member)).all()
    assert {m.id for m in people} == set(place.known[slice(*job.rows)])
    for person in people:
        for name in FIELDS:
            if name in job.masked:
                assert is_masked(getattr(person, name)) or getattr(person, name) is None, (job.purpose, name)
            else:
                with pytest.raises(NotDisclosed):
                    getattr(person, name)
    if job.leads:
        assert session.scalars(select(Lead)).all()
    else:
        with pytest.raises(AccessDenied):
            session.scalars(select(Lead)).all()


def stumble(session: PurposeSession, chosen: random.Random) -> None:
    """One of the ways in which a transaction goes wrong."""
    how = chosen.randrange(5)
    if how == 0:
        session.rollback()
    elif how == 1:
        with pytest.raises(AccessDenied):
            session.execute(sa.text("SELECT phone FROM members"))
    elif how == 2:
        with pytest.raises(sa.exc.DBAPIError):
            session.execute(sa.text("SELECT 1 / 0"))
    elif how == 3:
        with session.begin_nested() as inner:
            session.execute(sa.text("SELECT 1"))
            inner.rollback()
    else:
        session.connection().invalidate()
        session.rollback()


def work(store: Store, place: Town, seed: int, rounds: int, done: Counter[str], lock: threading.Lock) -> None:
    chosen = random.Random(seed)
    for _ in range(rounds):
        job = chosen.choice(JOBS)
        with store.session(place.live.operator.issue(job.actor, job.purpose)) as session:
            look(session, job, place)
            if chosen.random() < 0.5:
                stumble(session, chosen)
                session.rollback()
                look(session, job, place)
            if chosen.random() < 0.5:
                session.commit()
                look(session, job, place)
        with lock:
            done[job.purpose] += 1


def run(store: Store, place: Town, rounds: int) -> Counter[str]:
    done: Counter[str] = Counter()
    lock = threading.Lock()
    with ThreadPoolExecutor(THREADS) as threads:
        waiting = [threads.submit(work, store, place, seed, rounds, done, lock) for seed in range(THREADS)]
        for one in waiting:
            one.result()
    return done


def clean(store: Store) -> None:
    """Every pooled connection is the login's own again, without claims."""
    taken = [store.engine.connect() for _ in range(CONNECTIONS)]
    query = "SELECT current_user = session_user, coalesce(current_setting('vaultstore.claims', true), '')"
    found = {tuple(one.exec_driver_sql(query).one()) for one in taken}
    for one in taken:
        one.close()
    assert found == {(True, "")}


def test_sixteen_threads_on_four_connections_see_their_own_purposes_rights_only(crm: Store, place: Town) -> None:
    done = run(crm, place, 3)
    assert sum(done.values()) == THREADS * 3
    assert set(done) == {job.purpose for job in JOBS}
    clean(crm)


@pytest.mark.soak
def test_sixteen_threads_go_on_for_long(crm: Store, place: Town) -> None:
    assert sum(run(crm, place, 60).values()) == THREADS * 60
    clean(crm)


def test_two_sessions_of_one_thread_keep_apart(crm: Store, place: Town) -> None:
    tokens = [place.live.operator.issue(job.actor, job.purpose) for job in (JOBS[0], JOBS[2])]
    with crm.session(tokens[0]) as pool, crm.session(tokens[1]) as outreach:
        for _ in range(3):
            look(pool, JOBS[0], place)
            look(outreach, JOBS[2], place)
        pool.rollback()
        look(outreach, JOBS[2], place)
        look(pool, JOBS[0], place)
    clean(crm)


def test_a_verb_that_no_purpose_of_a_service_has_is_denied_and_no_failure(crm: Store, place: Town) -> None:
    """Its login may not even call the gate's function: that is a refusal like any other."""
    with crm.session(place.live.operator.issue(MATCHMAKER, "sales.outreach")) as session:
        with pytest.raises(SearchDenied) as refused:
            session.scalars(select(Member).where(Member.phone == "13800000000")).all()
        assert refused.value.reason == "not.granted"

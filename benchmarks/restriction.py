"""What leaving restricted members out costs: 10,000 rows read by a purpose that does not see them, beside one of all.

    python -m benchmarks.restriction [--rows 10000] [--rounds 15]

On SQLite, on PostgreSQL by the session's condition, and on PostgreSQL by row-level security. The two purposes take
turns, and medians are compared. 5 in 100 members are restricted; both purposes read equally many rows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import Actor, Encrypted, EncryptedModel, LocalKeys, Policy, Store, encrypted_column, masks
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.records import states
from vaultstore.records.plane import RolePlane
from vaultstore.records.subjects import vs_subjects
from vaultstore.testing import PostgresServer


class Base(EncryptedModel, DeclarativeBase): ...


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    nickname: Mapped[str]
    city: Mapped[str]
    store: Mapped[str]
    name: Encrypted[str | None] = encrypted_column(category="identity", projections={"card": masks.surname()})
    phone: Encrypted[str | None] = encrypted_column(category="identity", projections={"card": masks.keep(last=4)})


POLICY = """
version: 1
categories: {identity: {sensitive: true}, card: {projection: true}}
purposes:
  lists: {roles: [clerk], read: {Person: {categories: [card]}}}
  sees: {roles: [clerk], read: {Person: {categories: [card]}}, requires: {sees_restricted: true}}
"""


def fill(store: Store, rows: int, resting: int) -> None:
    """Rows without values: reading and not opening is what is measured."""
    now, ids = datetime.now(UTC), [uuid.uuid4() for _ in range(rows)]
    with store.engine.begin() as connection:
        connection.execute(
            sa.insert(Person.__table__), [{"id": i, "nickname": "nick", "city": "上海", "store": "sh-01"} for i in ids]
        )
        states.hide(connection, [i.bytes for i in ids[:resting]])
    with store.parts.gate_engine.begin() as connection:
        values = [
            {
                "subject": i.bytes,
                "state": "restricted" if at < resting else "active",
                "created_at": now,
                "changed_at": now,
            }
            for at, i in enumerate(ids)
        ]
        connection.execute(vs_subjects.insert(), values)


def read(store: Store, token: str, limit: int) -> float:
    """Seconds for one list."""
    with store.session(token) as session:
        session.connection()
        began = time.perf_counter()
        found = len(session.scalars(select(Person).limit(limit)).all())
        took = time.perf_counter() - began
    assert found == limit
    return took


def compare(name: str, store: Store, issuing: Store, rows: int, rounds: int) -> None:
    """Print both medians."""
    clerk = Actor("c", role="clerk")
    tokens = {purpose: issuing.issue(clerk, purpose) for purpose in ("sees", "lists")}
    times: dict[str, list[float]] = {purpose: [] for purpose in tokens}
    for purpose in tokens:
        read(store, tokens[purpose], rows)
    for _ in range(rounds):
        for purpose, token in tokens.items():
            times[purpose].append(read(store, token, rows))
    seen, listed = (statistics.median(times[purpose]) * 1000 for purpose in ("sees", "lists"))
    print(f"{name:32} all {seen:7.1f} ms   without the restricted {listed:7.1f} ms   {listed / seen - 1:+.1%}")


@contextmanager
def opened(url: str, keys: LocalKeys) -> Iterator[Store]:
    with Store.open(url, keys=keys, policy=Policy.parse(POLICY), models=Base) as store:
        yield store


def main() -> None:
    """Measure all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    resting = given.rows // 20
    with ExitStack() as resources:
        folder = resources.enter_context(tempfile.TemporaryDirectory())
        keys = LocalKeys.memory()
        store = resources.enter_context(opened(f"sqlite:///{folder}/members.db", keys))
        store.create_all()
        fill(store, given.rows + resting, resting)
        compare("SQLite", store, store, given.rows, given.rounds)
        server = resources.enter_context(PostgresServer())
        url = server.create_database()
        store = resources.enter_context(opened(url, keys))
        store.create_all()
        fill(store, given.rows + resting, resting)
        with store.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
        compare("PostgreSQL, by the session", store, store, given.rows, given.rounds)
        roles = RolePlane("bench_", False)
        PostgresPlane(store.engine, compile_postgres(store.policy, store.models, roles), store.models).apply()
        store.publish()
        login = sa.make_url(url).set(username=roles.login("app")).render_as_string(hide_password=False)
        service = resources.enter_context(opened(login, keys))
        compare("PostgreSQL, by row-level security", service, store, given.rows, given.rounds)


if __name__ == "__main__":
    main()

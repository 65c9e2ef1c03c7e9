"""Rewrapping a category's data keys: our rate beside Transit's own in the same run, and peak memory at two sizes.

``python -m benchmarks.rewrap [KEYS]`` (100,000 by default), on PostgreSQL and OpenBao servers that it starts itself.
Transit's own: the same batches of the same wraps by the same client, their answers thrown away. Both go in turn.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from vaultstore import Actor, Policy, Store, VaultKeys
from vaultstore.envelope import wrap_context
from vaultstore.keys import KeyService
from vaultstore.members.models import Base
from vaultstore.testing import OpenBaoServer, PostgresServer

POLICY = Path(__file__).parents[1] / "policies"
OPERATOR, REGISTRAR = Actor("bench", role="operator"), Actor("bench", role="registrar")
CATEGORY, CHUNK, ROUNDS = "contact", 1500, 3


@contextmanager
def opened(database: str, vault: str, token: str) -> Iterator[Store]:
    """The member store on running servers."""
    with (
        VaultKeys(vault, token=token) as keys,
        Store.open(database, keys=keys, policy=Policy.load(POLICY), models=Base) as store,
    ):
        yield store


def fill(store: Store, service: KeyService, count: int) -> None:
    """Put `count` wrapped data keys of as many members into the keyring, without their rows."""
    moment = datetime.now(UTC)
    with store.engine.begin() as connection:
        connection.exec_driver_sql("TRUNCATE vs_keyring")
        raw = connection.connection.driver_connection
        assert raw is not None
        for start in range(0, count, 10_000):
            subjects = [uuid.uuid4() for _ in range(min(10_000, count - start))]
            items = [(wrap_context(s.bytes, CATEGORY, b""), os.urandom(32)) for s in subjects]
            wraps = service.wrap(CATEGORY, items)
            with raw.cursor() as cursor, cursor.copy("COPY vs_keyring FROM STDIN") as copy:
                for subject, wrapped in zip(subjects, wraps, strict=True):
                    copy.write_row((subject, CATEGORY, b"", 1, wrapped, "registration", moment))
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE vs_keyring")


def transit(store: Store, service: KeyService) -> float:
    """Seconds that the key service takes for every wrap, asked as we ask, and nothing else."""
    took = 0.0
    with store.engine.connect().execution_options(yield_per=CHUNK) as connection:
        rows = connection.execute(sa.text("SELECT subject, wrapped FROM vs_keyring WHERE category = 'contact'"))
        for chunk in rows.partitions():
            items = [(wrap_context(subject.bytes, CATEGORY, b""), wrapped) for subject, wrapped in chunk]
            began = time.perf_counter()
            service.rewrap(CATEGORY, items)
            took += time.perf_counter() - began
    return took


def measure(store: Store, count: int) -> None:
    """Rewrap in turn with Transit's own, and print both rates."""
    store.create_all()

    def login(actor: Actor, purpose: str) -> KeyService:
        return store.parts.keys.login(store._issuer.exchange(store.verify(store.issue(actor, purpose))))

    fill(store, login(REGISTRAR, "registration"), count)
    token, service = store.issue(OPERATOR, "maintenance.keys"), login(OPERATOR, "maintenance.keys")
    ratios, rates = [], []
    for _ in range(ROUNDS):
        store.keyring.rotate(CATEGORY, token)
        floor = transit(store, service)
        began = time.perf_counter()
        [summary] = store.keyring.rewrap(CATEGORY, token)
        ours = time.perf_counter() - began
        assert (summary.done, summary.failed) == (count, 0)
        ratios.append(floor / ours)
        rates.append((count / floor, count / ours))
    began = time.perf_counter()
    store.keyring.retire(CATEGORY, token)
    retired = time.perf_counter() - began
    own, rate = (statistics.median(column) for column in zip(*rates, strict=True))
    print(
        f"{count:,} data keys: Transit's own batches {own:,.0f}/s, keys rewrap {rate:,.0f}/s,"
        f" {100 * statistics.median(ratios):.0f} % of it (medians of {ROUNDS} rounds in turn); retire {retired:.1f} s"
    )


def alone(database: str, vault: str, token: str) -> None:
    """Rotate and rewrap once in this process, and print its peak memory, KiB."""
    with opened(database, vault, token) as store:
        given = store.issue(OPERATOR, "maintenance.keys")
        store.keyring.rotate(CATEGORY, given)
        store.keyring.rewrap(CATEGORY, given)
    # Not ru_maxrss: that begins with what the process had that this one was started from.
    print(re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)[1])  # type: ignore[index]


def main() -> None:
    """Both sizes, the larger one measured."""
    if sys.argv[1:2] == ["--alone"]:
        alone(*sys.argv[2:5])
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with OpenBaoServer() as bao, PostgresServer() as server:
        for size in (max(count // 10, 1), count):
            database = server.create_database()
            with opened(database, bao.url, bao.root_token) as store:
                if size == count:
                    measure(store, size)
                else:
                    store.create_all()
                    grant = store.verify(store.issue(REGISTRAR, "registration"))
                    fill(store, store.parts.keys.login(store._issuer.exchange(grant)), size)
            command = [sys.executable, "-m", "benchmarks.rewrap", "--alone", database, bao.url, bao.root_token]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{size:,} data keys: a process that rewraps them peaks at {int(done.stdout) / 1024:.0f} MiB")


if __name__ == "__main__":
    main()

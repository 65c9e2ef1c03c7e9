"""Backfilling a plaintext column: our rate beside a plain UPDATE of the same rows and Transit's own, in the same run.

``python -m benchmarks.backfill [ROWS]`` (100,000 by default), on PostgreSQL and OpenBao servers that it starts itself.
A row is a phone number with a mask and a blind index: two data keys to wrap and one digest. The plain UPDATE writes as
many bytes into the same columns, in chunks of the same size, one commit each. Transit's own: the same batches of data
keys and numbers by the same client, their answers thrown away.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import uuid
from typing import Any

import sqlalchemy as sa

from tests.support.legacy import MOVER, NAME, Client, World, moving_store, number
from vaultstore import VaultKeys
from vaultstore.envelope import wrap_context
from vaultstore.keys import KeyService
from vaultstore.lifecycle.moves_table import CHUNK
from vaultstore.orm import uuid7
from vaultstore.testing import OpenBaoServer, PostgresServer

CATEGORIES = ("contact", "sales_card")


def fill(world: World, count: int) -> list[uuid.UUID]:
    """Rows of an old application."""
    ids = [uuid7() for _ in range(count)]
    with world.old.begin() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        with raw.cursor() as cursor, cursor.copy("COPY clients (id, city, phone) FROM STDIN") as copy:
            for i, each in enumerate(ids):
                copy.write_row((each, "x", number(i)))
    vacuum(world)
    return ids


def vacuum(world: World) -> None:
    with world.old.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM FULL ANALYZE clients")


def plain(world: World, ids: list[uuid.UUID]) -> float:
    """Seconds of an UPDATE of the same columns with as many bytes, and then take it back."""
    table = sa.table("clients", *(sa.column(name) for name in ("id", "phone_sealed", *BESIDE)))
    update = sa.update(table).where(table.c.id == sa.bindparam("row_id")).values(
        phone_sealed=sa.bindparam("a"), phone_sealed_sales_card=sa.bindparam("b"), phone_sealed_bidx=sa.bindparam("c")
    )  # fmt: skip
    sealed = b"\x01" + os.urandom(48)
    began = time.perf_counter()
    for start in range(0, len(ids), CHUNK):
        rows: list[dict[str, Any]] = [
            {"row_id": each, "a": sealed, "b": sealed, "c": os.urandom(32)} for each in ids[start : start + CHUNK]
        ]
        with world.old.begin() as connection:
            connection.execute(update, rows)
    took = time.perf_counter() - began
    with world.old.begin() as connection:
        connection.execute(sa.update(table).values(dict.fromkeys(("phone_sealed", *BESIDE))))
    vacuum(world)
    return took


BESIDE = ("phone_sealed_sales_card", "phone_sealed_bidx")


def transit(service: KeyService, ids: list[uuid.UUID]) -> float:
    """Seconds that the key service takes for what is asked of it, and nothing else."""
    index = f"{Client.__tablename__}.phone_sealed"
    began = time.perf_counter()
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        for category in CATEGORIES:
            service.wrap(category, [(wrap_context(each.bytes, category, b""), os.urandom(32)) for each in chunk])
        service.hmac(index, [number(i).encode() for i in range(len(chunk))])
    return time.perf_counter() - began


def main() -> None:
    """One run of each, in turn."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with OpenBaoServer() as bao, PostgresServer() as server:
        keys = VaultKeys(bao.url, token=bao.root_token)
        with moving_store(server.create_database(), keys) as world:
            ids = fill(world, count)
            updated = plain(world, ids)
            token = world.token()
            service = keys.login(world.store._issuer.exchange(world.store.verify(token)))
            floor = transit(service, ids)
            world.store.moves.start(NAME)
            began = time.perf_counter()
            summary = world.store.moves.backfill(NAME, lambda: world.token(MOVER))
            ours = time.perf_counter() - began
            assert (summary.done, summary.failed) == (count, 0)
            began = time.perf_counter()
            looked = world.store.moves.verify(NAME, lambda: world.token(MOVER))
            verified = time.perf_counter() - began
            assert not looked.failures
            began = time.perf_counter()
            world.store.moves.cutover(NAME, lambda: world.token(MOVER))
            cut = time.perf_counter() - began
        keys.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{count:,} rows: plain UPDATE {count / updated:,.0f}/s, Transit's own {count / floor:,.0f}/s,"
        f" backfill {count / ours:,.0f}/s ({ours / (updated + floor):.1f} times the sum of both, Transit's share"
        f" {100 * floor / ours:.0f} %); verify {count / verified:,.0f}/s, cutover {count / cut:,.0f}/s; peak {peak} MiB"
    )


if __name__ == "__main__":
    main()

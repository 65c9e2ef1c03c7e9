"""DESIGN 9, row four: 10,000 inserts with eight encrypted fields, two projections and one blind index."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from sqlalchemy import delete
from sqlalchemy.orm import Session

from benchmarks.models import EIGHT, PlainRecord, Record
from benchmarks.world import World
from vaultstore import normalize, uuid7
from vaultstore.keys import KeyService

__all__ = ["SEALED_CATEGORIES", "insert_cases", "transit_floor"]

SEALED_CATEGORIES = ("contact", "profile", "card")


def insert_cases(world: World, rows: int) -> dict[str, Callable[[], object]]:
    """Each case inserts `rows` rows through the unit of work and commits."""
    token = world.token("bench.write")

    def plain() -> None:
        with Session(world.plain) as session, session.begin():
            session.add_all(PlainRecord(id=uuid7(), city="Shanghai", **EIGHT) for _ in range(rows))

    def sealed() -> None:
        with world.store.begin(token) as session:
            session.add_all(Record(id=uuid7(), city="Shanghai", **EIGHT) for _ in range(rows))

    return {"plain insert": plain, "vaultstore insert": sealed}


def empty(world: World) -> None:
    """Take the inserted rows away again, on both sides."""
    with Session(world.plain) as session, session.begin():
        session.execute(delete(PlainRecord))


def transit_floor(service: KeyService, rows: int) -> float:
    """Seconds that the key service itself takes for the wraps and digests of `rows` inserts."""
    contexts = [os.urandom(64) for _ in range(rows)]
    data_keys = [os.urandom(32) for _ in range(rows)]
    message = normalize.phone_e164(region="CN")(EIGHT["a"]).encode()
    start = time.perf_counter()
    for category in SEALED_CATEGORIES:
        service.wrap(category, list(zip(contexts, data_keys, strict=True)))
    service.hmac("record.a", [message] * rows)
    return time.perf_counter() - start

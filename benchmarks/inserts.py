"""DESIGN 9, row four: 10,000 inserts with eight encrypted fields, two projections and one blind index."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import insert
from sqlalchemy.orm import Session

from benchmarks.models import EIGHT, PlainRecord, Record, WideKey, WideRecord
from benchmarks.world import World
from vaultstore import normalize, uuid7
from vaultstore.keys import KeyService

__all__ = ["SEALED_CATEGORIES", "insert_cases", "transit_floor"]

SEALED_CATEGORIES = ("contact", "profile", "card")
_WIDE = ("a", "b", "c", "d", "e", "f", "g", "h", "a_card", "b_card", "a_bidx")


def insert_cases(world: World, rows: int) -> dict[str, Callable[[], object]]:
    """Each case inserts `rows` rows through the unit of work and commits.

    The floor is what any design with a data key for each subject and category writes and encrypts: rows as wide, a
    keyring of three rows each, ten values sealed; without a gate, without masks, without checks.
    """
    token = world.token("bench.write")

    def plain() -> None:
        with Session(world.plain) as session, session.begin():
            session.add_all(PlainRecord(id=uuid7(), city="Shanghai", **EIGHT) for _ in range(rows))

    def floor() -> None:
        aeads = [AESGCM(os.urandom(32)) for _ in range(3)]
        with Session(world.plain) as session, session.begin():
            ids = [uuid7() for _ in range(rows)]
            for i in ids:
                values = [a.encrypt(os.urandom(12), b"x" * 32, i.bytes) for a in aeads for _ in range(3)]
                values += [aeads[0].encrypt(os.urandom(12), b"x" * 16, i.bytes), os.urandom(32)]
                session.add(WideRecord(id=i, city="Shanghai", **dict(zip(_WIDE, values, strict=True))))
            wraps = [
                {"subject": i, "category": c, "wrapped": "x" * 90, "minted_by": "bench.write"}
                for i in ids
                for c in SEALED_CATEGORIES
            ]
            session.execute(insert(WideKey.__table__), wraps)

    def sealed() -> None:
        with world.store.begin(token) as session:
            session.add_all(Record(id=uuid7(), city="Shanghai", **EIGHT) for _ in range(rows))

    return {"plain insert": plain, "floor insert": floor, "vaultstore insert": sealed}


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

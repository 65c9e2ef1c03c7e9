"""DESIGN 9, rows one and two: 10,000 rows in clear, and 10,000 cards, with warm keys."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from benchmarks.models import PeerPerson, Person, PlainCard, PlainPerson
from benchmarks.world import World

__all__ = ["read_cases"]


def read_cases(world: World) -> dict[str, Callable[[], object]]:
    """Each case loads every row and touches all five fields."""

    def ordinary(model: type[PlainPerson] | type[PlainCard] | type[PeerPerson]) -> Callable[[], object]:
        def run() -> None:
            with Session(world.plain) as session:
                for p in session.scalars(select(model)):
                    _ = p.a, p.b, p.c, p.d, p.e

        return run

    def sealed(purpose: str) -> Callable[[], object]:
        token = world.token(purpose)

        def run() -> None:
            with world.store.session(token) as session:
                for p in session.scalars(select(Person)):
                    _ = p.a, p.b, p.c, p.d, p.e

        return run

    return {
        "plain rows": ordinary(PlainPerson),
        "vaultstore rows": sealed("bench.read"),
        "sqlalchemy-utils rows": ordinary(PeerPerson),
        "plain cards": ordinary(PlainCard),
        "vaultstore cards": sealed("bench.card"),
    }

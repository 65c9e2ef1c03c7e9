"""A store, a plain database and a peer's, filled with the same rows."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, create_engine, event, insert
from sqlalchemy.orm import Session

from benchmarks.models import CARD, VALUES, PeerPerson, Person, PlainBase, PlainCard, PlainPerson, SealedBase
from vaultstore import Actor, Policy, Store, uuid7
from vaultstore.keys import Keys

__all__ = ["ACTOR", "World"]

ACTOR = Actor("bench", role="bench")
POLICY = Path(__file__).parent / "policies"


class World:
    """Two SQLite files with the same settings (WAL), one sealed and one not."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.store = Store.open(
            f"sqlite:///{folder / 'members.db'}", keys=keys, policy=Policy.load(POLICY), models=SealedBase
        )
        self.store.create_all()
        self.plain = plain_engine(folder / "plain.db")
        PlainBase.metadata.create_all(self.plain)

    def token(self, purpose: str) -> str:
        """A token of the benchmark's actor for `purpose`."""
        return self.store.issue(ACTOR, purpose)

    def fill_people(self, rows: int) -> None:
        """Put the same `rows` people into every table."""
        ids = [uuid7() for _ in range(rows)]
        with self.store.begin(self.token("bench.write")) as session:
            session.add_all(Person(id=i, city="Shanghai", **VALUES) for i in ids)
        mask = CARD["card"]
        masked = {name: str(mask.mask(value)) for name, value in VALUES.items()}
        with Session(self.plain) as session, session.begin():
            session.execute(insert(PlainPerson), [{"id": i, "city": "Shanghai", **VALUES} for i in ids])
            session.execute(insert(PlainCard), [{"id": i, "city": "Shanghai", **masked} for i in ids])
            session.execute(insert(PeerPerson), [{"id": i, "city": "Shanghai", **VALUES} for i in ids])

    def close(self) -> None:
        """Close both."""
        self.store.close()
        self.plain.dispose()


def plain_engine(path: Path) -> Engine:
    """A SQLite engine with the settings the store uses, so that both pay the same for durability."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _connect(connection: object, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]  # a sqlite3.Connection

    return engine

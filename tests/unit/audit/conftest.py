"""A log on each of the two databases, and what it is signed with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World, postgres_world, sqlite_world
from vaultstore import LocalKeys, merkle, records
from vaultstore.audit.log import AuditLog, note_keys
from vaultstore.audit.verify import Verified, verify_log
from vaultstore.policy.access import KeyAccess
from vaultstore.records.log import vs_log
from vaultstore.signed_note import Note, NoteKey

ORIGIN = "example.com/vaultstore"


@dataclass
class Log:
    """A world, its log, and an administrator who can do anything to the database."""

    world: World
    keys: LocalKeys

    @property
    def log(self) -> AuditLog:
        """The log as its owner uses it."""
        return AuditLog(self.world.gate_engine, ORIGIN)

    @property
    def public(self) -> list[NoteKey]:
        """What checkpoints are verified with."""
        return note_keys(self.keys, ORIGIN)

    def fill(self, count: int) -> None:
        """`count` more disclosures of two members each, and what it takes to have them."""
        opened, members = self.world.open("care"), self.world.members(2, "contact")
        for _ in range(count):
            self.world.disclose(opened, members, "contact")

    def signed(self, after: timedelta = timedelta(0)) -> Note:
        """Sequence and sign."""
        return self.log.checkpoint(self.keys, datetime.now(UTC) + after)

    def verify(self, *kept: Note) -> Verified:
        """Check all of it."""
        return verify_log(self.world.gate_engine, ORIGIN, self.public, kept)

    def found(self, *kept: Note) -> list[str]:
        """What a check finds, as it is shown."""
        return [str(finding) for finding in self.verify(*kept).findings]

    def tamper(self, *changes: str) -> None:
        """What an administrator does who has every right: guards off, then SQL."""
        with self.world.gate_engine.begin() as connection:
            if self.world.dialect == "postgresql":
                for table in ("vs_entries", "vs_log", "vs_checkpoints"):
                    connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            else:
                for name in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all():
                    connection.exec_driver_sql(f"DROP TRIGGER {name[0]}")
            for change in changes:
                connection.execute(sa.text(change))

    def entry(self, position: int) -> tuple[int, str]:
        """(sequence number, id) of the entry at a position."""
        with self.world.gate_engine.connect() as connection:
            query = "SELECT e.seq, e.id FROM vs_log l JOIN vs_entries e ON e.seq = l.entry WHERE l.position = :at"
            row = connection.execute(sa.text(query), {"at": position}).one()
        return row[0], row[1]

    def rebuild(self, order: str = "l.position") -> None:
        """The administrator makes the tree anew over whatever entries there are now, by default in the old order."""
        self.tamper()
        with self.world.gate_engine.begin() as connection:
            query = f"SELECT e.seq, e.leaf FROM vs_entries e LEFT JOIN vs_log l ON l.entry = e.seq ORDER BY {order}"
            entries = connection.execute(sa.text(query)).all()
            connection.exec_driver_sql("DELETE FROM vs_log")
            stack: list[bytes] = []
            for at, (seq, leaf) in enumerate(entries):
                node = merkle.leaf_hash(leaf.encode())
                nodes, place = [node], at
                while place & 1:
                    node = merkle.node_hash(stack.pop(), node)
                    nodes.append(node)
                    place >>= 1
                stack.append(node)
                connection.execute(vs_log.insert().values(position=at, entry=seq, nodes=b"".join(nodes)))


@pytest.fixture(params=["sqlite", pytest.param("pg", marks=pytest.mark.integration)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A gate on SQLite, and one on PostgreSQL."""
    if request.param == "sqlite":
        with sqlite_world(tmp_path) as made:
            yield made
    else:
        url: str = request.getfixturevalue("pg_database")
        engine = sa.create_engine(url)
        records.create_all(engine, engine)
        engine.dispose()
        with postgres_world(url) as made:
            yield made


@pytest.fixture
def keys() -> LocalKeys:
    """Keys with one that signs checkpoints."""
    keys = LocalKeys.memory()
    keys.provision(KeyAccess("iss", frozenset(), (), {}))
    return keys


@pytest.fixture
def log(world: World, keys: LocalKeys) -> Log:
    """An empty log."""
    return Log(world, keys)

"""A database, a gate and sessions for whichever purpose a test needs."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore import records
from vaultstore.canonical import canonical_json
from vaultstore.gate import Gate, PostgresLedger, SqliteLedger
from vaultstore.grants import Actor, Grant
from vaultstore.orm import ModelRegistry, PurposeSession
from vaultstore.policy.closure import closure_of
from vaultstore.policy.model import Limit, ModelRead, Purpose, Requirements
from vaultstore.records.purposes import publish

from .models import Base, Member, Message

SOURCES = ("contact", "profile", "preference", "conversation")
_numbers = itertools.count(1)


class Service:
    """A key service in memory; it keeps a list of its calls."""

    def __init__(self) -> None:
        self.key = AESGCM(bytes(range(32)))
        self.calls: list[tuple[str, str, int]] = []

    def wrap(self, category: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        self.calls.append(("wrap", category, len(items)))
        return [self.key.encrypt(bytes(12), key, category.encode() + context).hex() for context, key in items]

    def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        self.calls.append(("unwrap", category, len(items)))
        return [self.key.decrypt(bytes(12), bytes.fromhex(w), category.encode() + context) for context, w in items]

    def rewrap(self, category: str, items: Sequence[tuple[bytes, str]]) -> list[str | None]:
        raise NotImplementedError

    def hmac(self, index: str, values: Sequence[bytes], *, version: int) -> list[bytes]:
        import hmac

        self.calls.append(("hmac", index, len(values)))
        return [hmac.digest(f"{index} {version}".encode(), value, "sha256") for value in values]

    def close(self) -> None:
        """Nothing to give back."""


class CountingGate:
    """The real gate, with a list of what it was asked."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.calls: list[tuple[Any, ...]] = []

    def check(self, grant: Any) -> None:
        self.calls.append(("check",))
        self.gate.check(grant)

    def disclose(self, opened: Any, model: str, categories: Sequence[str], refs: Sequence[Any]) -> Any:
        subjects = list(dict.fromkeys(ref[1] for ref in refs))
        self.calls.append(("disclose", model, tuple(sorted(categories)), subjects))
        return self.gate.disclose(opened, model, categories, refs)

    def seal(self, opened: Any, model: str, sources: Any, needs: Any, values: Any, connection: Any) -> Any:
        self.calls.append(("seal", model, tuple(sorted(sources)), len(needs)))
        return self.gate.seal(opened, model, sources, needs, values, connection)

    def search(self, opened: Any, model: str, field: str, values: Sequence[bytes]) -> Any:
        self.calls.append(("search", model, field, len(values)))
        return self.gate.search(opened, model, field, values)

    def found(self, opened: Any, entry: str, rows: int, subjects: Sequence[bytes]) -> Any:
        self.calls.append(("found", rows, list(subjects)))
        return self.gate.found(opened, entry, rows, subjects)

    def check_free(self, opened: Any, entry: str, index: str, rows: Any, connection: Any) -> None:
        self.calls.append(("check_free", index, len(rows)))
        self.gate.check_free(opened, entry, index, rows, connection)

    def collision(self, opened: Any, model: str, field: str) -> None:
        self.calls.append(("collision", model, field))
        self.gate.collision(opened, model, field)

    def names(self) -> list[str]:
        """What was asked, by name."""
        return [call[0] for call in self.calls]

    def disclosed(self) -> list[tuple[str, int]]:
        """(model, subjects) of every disclosure."""
        return [(call[1], len(call[3])) for call in self.calls if call[0] == "disclose"]


class World:
    """One store's worth of files in `folder`, or of tables in the PostgreSQL database at `url`."""

    def __init__(self, folder: Path, base: Any = Base, url: str | None = None) -> None:
        self.folder = folder
        self.now = datetime(2026, 3, 1, 9, tzinfo=UTC)
        if url is None:
            self.engine = records.configure_sqlite(sa.create_engine(f"sqlite:///{folder}/members.db"))
            self.gate_engine = records.configure_sqlite(sa.create_engine(f"sqlite:///{folder}/gate.db"))
        else:
            self.now = datetime.now(UTC)  # the database's functions go by its own clock
            self.engine, self.gate_engine = sa.create_engine(url), sa.create_engine(url)
        records.create_all(self.engine, self.gate_engine)
        base.metadata.create_all(self.engine)
        self.models = ModelRegistry(base)
        self.ledger: SqliteLedger | PostgresLedger = (
            SqliteLedger(self.gate_engine, self.engine, self.clock) if url is None else PostgresLedger(self.gate_engine)
        )
        self.gate = CountingGate(Gate(self.ledger, self.models.catalogue, self.clock))
        self.service = Service()
        self.sql: list[str] = []
        self.published: dict[str, tuple[str, str]] = {}
        self._sessions: list[PurposeSession] = []

        @sa.event.listens_for(self.engine, "before_cursor_execute")
        def _(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
            self.sql.append(" ".join(statement.split()))

    def clock(self) -> datetime:
        return self.now

    def close(self) -> None:
        for session in self._sessions:
            session.close()
        self.engine.dispose()
        self.gate_engine.dispose()

    def clear(self) -> None:
        """Forget what was recorded."""
        for recorded in (self.sql, self.gate.calls, self.service.calls):
            recorded.clear()

    def statements(self, *tables: str) -> list[str]:
        """The recorded SQL that speaks of these tables."""
        return [s for s in self.sql if any(f" {t}" in s or f'"{t}"' in s for t in tables)]

    def purpose(
        self,
        read: Collection[str] | Mapping[str, Collection[str]] = (),
        search: Collection[str] | Mapping[str, Collection[str]] = (),
        write: Collection[str] | Mapping[str, Collection[str]] = (),
        *,
        rows: Mapping[str, str] | None = None,
        batch: int = 50,
        limits: Mapping[str, tuple[Limit, ...]] | None = None,
        requires: Requirements | None = None,
    ) -> Purpose:
        """A purpose that reads these categories of every model, searches fields, writes sources and plain models."""
        models = list(self.models.catalogue)
        if not isinstance(read, Mapping):
            read = {m.name: set(read) & m.categories for m in models}
        if not isinstance(search, Mapping):
            search = {m.name: found for m in models if (found := {f.name for f in m.fields if f.index} & set(search))}
        if not isinstance(write, Mapping):
            sources = set(write)
            write = {m.name: found for m in models if (found := {f.category for f in m.fields} & sources)}
            write |= {m.name: set() for m in models if sources and not m.fields}
        return Purpose(
            name=f"purpose-{next(_numbers)}",
            roles=frozenset({"tester"}),
            read={m: ModelRead(frozenset(c), (rows or {}).get(m)) for m, c in read.items()},
            search={m: frozenset(f) for m, f in search.items()},
            write={m: frozenset(c) for m, c in write.items()},
            limits=limits or {},
            requires=requires or Requirements(),
            batch=batch,
            ttl=timedelta(hours=1),
        )

    def grant(self, purpose: Purpose, actor: Actor | None = None, subjects: Sequence[UUID] | None = None) -> Grant:
        """A grant for a purpose, which is published first."""
        import hashlib

        if purpose.name not in self.published:
            closure = canonical_json(closure_of(purpose, (), self.models.catalogue))
            digest = "sha256:" + hashlib.sha256(closure).hexdigest()
            self.published[purpose.name] = (digest, closure.decode())
            with self.gate_engine.begin() as connection:
                publish(connection, self.published, self.now)
        return Grant(
            jti=f"jti-{next(_numbers)}",
            actor=actor or Actor("u-1", "tester", {"city": "Shanghai"}),
            purpose=purpose,
            digest=self.published[purpose.name][0],
            issued_at=self.now,
            expires_at=self.now + timedelta(hours=1),
            subjects=None if subjects is None else tuple(subjects),
        )

    def session_of(self, grant: Grant, **kw: Any) -> PurposeSession:
        """A session under a grant of its own opening."""
        opened = self.gate.gate.open(grant, lambda: self.service)
        session = PurposeSession(self.engine, opened=opened, gate=self.gate, models=self.models, clock=self.clock, **kw)
        self._sessions.append(session)
        return session

    def session(
        self,
        read: Any = (),
        search: Any = (),
        write: Any = (),
        *,
        actor: Actor | None = None,
        subjects: Sequence[UUID] | None = None,
        **kw: Any,
    ) -> PurposeSession:
        """A session for a purpose made of these rights."""
        return self.session_of(self.grant(self.purpose(read, search, write, **kw), actor, subjects))

    def admin(self, **kw: Any) -> PurposeSession:
        """A session that may do everything."""
        return self.session(SOURCES, ("phone", "email", "a_int"), SOURCES, **kw)

    def sales(self, **kw: Any) -> PurposeSession:
        """A session that reads sales cards, and nothing else."""
        return self.session(("sales_card",), **kw)

    def fill(self, count: int = 5, messages: int = 1, city: str = "Shanghai") -> list[UUID]:
        """Members (phone 138 1234 and their number) with messages; gives their ids in order."""
        with self.admin() as session:
            members = [
                Member(
                    city=city,
                    phone=f"1381234{i:04d}",
                    email=f"{next(_numbers)}@example.org",
                    birth_date=date(1990, 1, 1 + i % 28),
                    wishes={"n": i},
                    messages=[Message(body=f"hello {i} {j}") for j in range(messages)],
                )
                for i in range(count)
            ]
            session.add_all(members)
            session.commit()
            ids = [member.id for member in members]
        self.clear()
        return ids

    def stored(self) -> bytes:
        """Everything that is stored: the files, or each table's rows as text."""
        if self.engine.dialect.name == "sqlite":
            return b"".join(path.read_bytes() for path in self.folder.iterdir() if path.is_file())
        tables = sa.inspect(self.engine).get_table_names()
        return "".join(str(row) for t in tables for row in self.raw(f'SELECT "{t}"::text FROM "{t}"')).encode()

    def raw(self, statement: str, **parameters: Any) -> list[Any]:
        """Run SQL beside every session, as somebody with the file would."""
        with self.engine.begin() as connection:
            result = connection.execute(sa.text(statement), parameters)
            return list(result.all()) if result.returns_rows else []


def quiet_logs() -> None:
    """Undo what a test did to SQLAlchemy's loggers."""
    for name in ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool"):
        logging.getLogger(name).setLevel(logging.NOTSET)

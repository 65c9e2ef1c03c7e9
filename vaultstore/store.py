"""The front door: a database, a key service, a policy and models, put together."""

from __future__ import annotations

import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Engine, MetaData, create_engine, make_url

from vaultstore import records
from vaultstore.errors import SettingsError, TokenInvalid
from vaultstore.gate import Gate, OpenGrant, PostgresLedger, SqliteLedger
from vaultstore.grants import Actor, Grant
from vaultstore.keys import Keys, KeyService
from vaultstore.lifecycle import Approvals, Cases, Consents, Revocations, Subjects
from vaultstore.orm import ModelRegistry, PurposeSession
from vaultstore.orm.guards import guard
from vaultstore.policy import BoundPolicy, Policy
from vaultstore.tokens import Issuer, Verifier

__all__ = ["Store"]

Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Store:
    """A store of models whose sensitive fields nobody reads without a purpose.

    Open one with `Store.open`; it is safe to share between threads, its sessions are not.
    """

    def __init__(
        self,
        engine: Engine,
        gate_engine: Engine,
        *,
        keys: Keys,
        policy: BoundPolicy,
        models: ModelRegistry,
        metadata: Iterable[MetaData],
        clock: Clock,
        issuer: str,
        resources: ExitStack,
    ) -> None:
        self.engine, self.policy, self.models = engine, policy, models
        self._gate_engine, self._keys, self._metadata, self._clock = gate_engine, keys, tuple(metadata), clock
        self._issuer_name, self._resources = issuer, resources
        ledger = (
            PostgresLedger(gate_engine)
            if engine.dialect.name == "postgresql"
            else SqliteLedger(gate_engine, engine, clock)
        )
        self._ledger = ledger
        self.gate = Gate(ledger, policy.catalogue, clock)
        self._issuer = Issuer(keys, policy, issuer, clock)
        self._verifier = Verifier(lambda: keys.public_keys("tokens"), policy, issuer, clock)
        self._opened: dict[str, OpenGrant] = {}
        self._lock = threading.Lock()
        self.consents = Consents(ledger)
        self.cases = Cases(ledger)
        self.subjects = Subjects(ledger)
        self._approvals = Approvals(ledger, self.gate)
        self._revocations = Revocations(ledger)

    def __repr__(self) -> str:
        return f"<Store {self.engine.url.render_as_string(hide_password=True)}>"

    # ------------------------------------------------------------------------------------------------ opening

    @classmethod
    def open(
        cls,
        database: str | Engine,
        *,
        keys: Keys,
        policy: Policy,
        models: type[Any] | Iterable[type[Any]],
        clock: Clock | None = None,
        gate: str | Engine | None = None,
        issuer: str = "vaultstore",
    ) -> Store:
        """Open a store.

        `database` is a URL or an Engine: SQLite (a file; ``sqlite://`` makes a store in a temporary folder that goes
        with it) or PostgreSQL through psycopg. `models` is one declarative base or several. `gate` is where the
        gate keeps what it decides on: by default ``gate.db`` beside a SQLite file, and the same database, through a
        small pool of its own, on PostgreSQL. `clock` returns an aware time; `issuer` is the ``iss`` of tokens.

        Raises SettingsError (database), ModelError (models) and PolicyError (a policy that doesn't fit the models).
        """
        bases = tuple(models) if isinstance(models, Iterable) else (models,)
        registry = ModelRegistry(*bases)
        bound = policy.bind(registry.catalogue)
        resources = ExitStack()
        try:
            engine = _engine(database, resources)
            gate_engine = _gate_engine(engine, gate, resources)
            return cls(
                engine,
                gate_engine,
                keys=keys,
                policy=bound,
                models=registry,
                metadata=dict.fromkeys(base.metadata for base in bases),
                clock=clock or _now,
                issuer=issuer,
                resources=resources,
            )
        except BaseException:
            resources.close()
            raise

    def create_all(self) -> None:
        """Make every table, the gate's functions, and every key; then publish the policy. Harmless when repeated.

        For embedded use and tests: production builds its schema with Alembic.
        """
        for metadata in self._metadata:
            metadata.create_all(self.engine)
        records.create_all(self.engine, self._gate_engine)
        self.publish()

    def publish(self) -> None:
        """Make this store's policy the current one: its keys, its key rights, and each purpose's digest.

        Tokens for purposes that changed stop working; the others go on.
        """
        self._keys.provision(self.policy.key_access(self._issuer_name))
        self._ledger.publish(self.policy)

    def close(self) -> None:
        """Give logins back and close connections that the store opened. Harmless when repeated."""
        with self._lock:
            opened, self._opened = self._opened, {}
        for grant in opened.values():
            grant.close()
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ tokens

    def issue(
        self,
        actor: Actor,
        purpose: str,
        *,
        subjects: Iterable[uuid.UUID] | None = None,
        case: str | None = None,
        ttl: timedelta | None = None,
    ) -> str:
        """Sign a token that binds `actor` to `purpose`. Raises IssueDenied where the policy says no."""
        return self._issuer.issue(actor, purpose, subjects=subjects, case=case, ttl=ttl)

    def verify(self, token: str) -> Grant:
        """Check a token and return what it grants. Raises TokenInvalid or TokenExpired.

        Revocation is the gate's to check, at every disclosure.
        """
        return self._verifier.verify(token)

    def revoke(self, *, jti: str | None = None, actor: str | None = None, before: datetime | None = None) -> None:
        """Revoke one token by its id, or all that an actor was issued before a time (default: now).

        What this store has open under them, keys and logins, is given up at once.
        """
        self._revocations.revoke(jti=jti, actor=actor, before=before)
        with self._lock:
            over = [
                own
                for own, opened in self._opened.items()
                if own == jti
                or (opened.grant.actor.id == actor and (before is None or opened.grant.issued_at <= before))
            ]
            closing = [self._opened.pop(own) for own in over]
        for opened in closing:
            opened.close()

    def request_access(
        self,
        actor: Actor,
        purpose: str,
        *,
        case: str | None = None,
        subjects: Iterable[uuid.UUID] | None = None,
        ttl: timedelta = timedelta(hours=4),
    ) -> str:
        """Ask for a purpose that needs approvals, for exactly this case and these subjects; the request's id."""
        return self._approvals.request_access(actor, purpose, case=case, subjects=subjects, ttl=ttl)

    def approve(self, request: str, token: str) -> None:
        """Approve an access request under one's own token. Raises AccessDenied where that token may not."""
        self._approvals.approve(request, self.verify(token))

    # ------------------------------------------------------------------------------------------------ sessions

    def session(self, token: str, **options: Any) -> PurposeSession:
        """Open a session with the rights of `token`; `options` go to `sqlalchemy.orm.Session`.

        Raises TokenInvalid or TokenExpired. Nothing is asked of the key service until a value is.
        """
        opened = self._open(self.verify(token))
        return PurposeSession(
            self.engine, opened=opened, gate=self.gate, models=self.models, clock=self._clock, **options
        )

    @contextmanager
    def begin(self, token: str, **options: Any) -> Iterator[PurposeSession]:
        """A session that commits at the end of the block, or rolls back when it raises."""
        with self.session(token, **options) as session, session.begin():
            yield session

    def _open(self, grant: Grant) -> OpenGrant:
        """The open grant of this token in this process: sessions of one token share its login and warm keys."""
        with self._lock:
            now = self._clock()
            for jti in [jti for jti, opened in self._opened.items() if opened.grant.expires_at <= now]:
                self._opened.pop(jti).close()
            opened = self._opened.get(grant.jti)
            if opened is not None and opened.grant != grant:
                raise TokenInvalid("another token of this id is in use: an id names one token")
            if opened is None:
                opened = self._opened[grant.jti] = self.gate.open(grant, lambda: self._login(grant))
            return opened

    def _login(self, grant: Grant) -> KeyService:
        return self._keys.login(self._issuer.exchange(grant))


def _engine(database: str | Engine, resources: ExitStack) -> Engine:
    if isinstance(database, Engine):
        engine = database
        if engine.dialect.name == "sqlite" and not _sqlite_file(engine):
            raise SettingsError("an in-memory SQLite engine can't be shared with the gate: pass 'sqlite://' or a file")
    else:
        url = make_url(database)
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            folder = resources.enter_context(
                tempfile.TemporaryDirectory(prefix="vaultstore-", ignore_cleanup_errors=True)
            )
            url = url.set(database=str(Path(folder) / "members.db"))
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
        resources.callback(engine.dispose)
    if engine.dialect.name == "sqlite":
        records.configure_sqlite(engine)
    elif engine.dialect.name != "postgresql":
        raise SettingsError(f"vaultstore runs on SQLite and PostgreSQL, not on {engine.dialect.name}")
    guard(engine)
    return engine


def _gate_engine(engine: Engine, gate: str | Engine | None, resources: ExitStack) -> Engine:
    if isinstance(gate, Engine):
        made = gate
    else:
        if engine.dialect.name == "postgresql":
            # A pool of its own: a gate that borrowed from the sessions' pool would stall once they hold all of it.
            made = create_engine(
                gate or engine.url, hide_parameters=True, pool_pre_ping=True, pool_size=4, max_overflow=4
            )
        else:
            beside = Path(_sqlite_file(engine)).with_name("gate.db")
            made = create_engine(gate or f"sqlite:///{beside}", hide_parameters=True)
        resources.callback(made.dispose)
    if made.dialect.name != engine.dialect.name:
        raise SettingsError(f"the gate's database is {made.dialect.name}, the members' {engine.dialect.name}")
    if made.dialect.name == "sqlite":
        records.configure_sqlite(made)
    guard(made)
    return made


def _sqlite_file(engine: Engine) -> str:
    name = engine.url.database or ""
    return "" if name == ":memory:" else name

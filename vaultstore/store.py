"""The front door: a database, a key service, a policy and models, put together."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Engine, MetaData

from vaultstore import records
from vaultstore.audit.log import AuditLog
from vaultstore.errors import SettingsError, UnsupportedOperation
from vaultstore.gate import Gate, HeldGrants, OpenGrant, PostgresLedger, SqliteLedger
from vaultstore.gate.claims import Claims
from vaultstore.grants import Actor, Grant, Ticket
from vaultstore.keys import Keys, KeyService
from vaultstore.lifecycle.facades import Facades
from vaultstore.lifecycle.journal import Journal, NoJournal
from vaultstore.lifecycle.journals import held_to, require_open
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.retention import Retention
from vaultstore.orm import ModelRegistry, PurposeSession
from vaultstore.orm.engines import gate_engine, members_engine
from vaultstore.orm.role import operators_only
from vaultstore.policy import BoundPolicy, Policy
from vaultstore.records.plane import RolePlane
from vaultstore.records.plane import fetch as fetch_plane
from vaultstore.tokens import Issuer, JwksKeys, Verifier

if TYPE_CHECKING:
    from vaultstore.evidence.report import Report
    from vaultstore.issuer import IssuerClient

__all__ = ["Store"]

Clock = Callable[[], datetime]

_LOOK_AGAIN = 60.0
"""Seconds until the database is asked again whether a plane is applied."""


def _now() -> datetime:
    return datetime.now(UTC)


class Store(Facades):
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
        issuer_client: IssuerClient | None = None,
        jwks: JwksKeys | None = None,
        postgres_strict: bool = False,
        origin: str = "",
        retention: Retention | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.engine, self.policy, self.models = engine, policy, models
        self._gate_engine, self._keys, self._metadata, self._clock = gate_engine, keys, tuple(metadata), clock
        self._issuer_name, self._resources, self._issuer_client = issuer, resources, issuer_client
        self._strict = postgres_strict
        self._known: tuple[float, RolePlane | None] | None = None
        ledger = (
            PostgresLedger(gate_engine)
            if engine.dialect.name == "postgresql"
            else SqliteLedger(gate_engine, engine, clock)
        )
        self._ledger = ledger
        self.gate = Gate(ledger, policy.catalogue, clock)
        self._issuer = Issuer(keys, policy, issuer, clock)
        public_keys = jwks or (issuer_client.public_keys if issuer_client else lambda: keys.public_keys("tokens"))
        self._verifier = Verifier(public_keys, policy, issuer, clock)
        self._opened = HeldGrants()
        self._furnish(
            Parts(
                engine=engine,
                gate_engine=gate_engine,
                ledger=ledger,
                keys=keys,
                policy=policy,
                models=models,
                clock=clock,
                gate=self.gate,
                origin=origin or f"vaultstore.local/{issuer}",
                verify=self.verify,
                session=self.session,
                opened=self._open,
                retention=retention or Retention(),
                journal=journal or NoJournal(),
            )
        )

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
        issuer_client: IssuerClient | None = None,
        jwks: str | Path | None = None,
        postgres_strict: bool = False,
        origin: str = "",
        retention: Retention | None = None,
        journal: str | Path | None = None,
        kept_checkpoints: str | Path | None = None,
        replaying: bool = False,
    ) -> Store:
        """Open a store.

        `database` is a URL or an Engine: SQLite (a file; ``sqlite://`` makes a store in a temporary folder that goes
        with it) or PostgreSQL through psycopg. `models` is one declarative base or several. `gate` is where the
        gate keeps what it decides on: by default ``gate.db`` beside a SQLite file, and the same database, through a
        small pool of its own, on PostgreSQL. `clock` returns an aware time; `issuer` is the ``iss`` of tokens.

        A process that holds no credential of its own is opened with an `issuer_client`: it gets its logins from the
        issuer in exchange for its callers' tokens (so `keys` may be VaultKeys without a token), issues none itself, and
        verifies with the issuer's public keys. `jwks` (a file, a URL) gives those keys instead. With `postgres_strict`
        it works only on a database that demands tickets.

        `origin` names the audit log in its checkpoints and proofs (``vaultstore.local/<issuer>`` by default),
        `retention` says how long copies are kept, and the file `journal` takes down what must hold after a restore.
        A store that is behind it does not open, nor one whose log does not continue the checkpoints in the folder
        `kept_checkpoints`; with `replaying` it opens to be brought up to it, and takes no tokens.

        Raises SettingsError (database, journal), ModelError (models) and PolicyError (a policy that doesn't fit them).
        """
        bases = tuple(models) if isinstance(models, Iterable) else (models,)
        registry = ModelRegistry(*bases)
        bound = policy.bind(registry.catalogue)
        resources = ExitStack()
        try:
            engine = members_engine(database, resources)
            if postgres_strict and engine.dialect.name != "postgresql":
                raise SettingsError("postgres_strict: only PostgreSQL can demand tickets")
            gate_side = gate_engine(engine, gate, resources)
            name = origin or f"vaultstore.local/{issuer}"
            held = held_to(gate_side, name, keys, journal, kept_checkpoints, replaying=replaying)
            store = cls(
                engine,
                gate_side,
                keys=keys,
                policy=bound,
                models=registry,
                metadata=dict.fromkeys(base.metadata for base in bases),
                clock=clock or _now,
                issuer=issuer,
                resources=resources,
                issuer_client=issuer_client,
                jwks=None if jwks is None else JwksKeys.at(jwks),
                postgres_strict=postgres_strict,
                origin=name,
                retention=retention,
                journal=held,
            )
            store.subjects.finish_interrupted()
        except BaseException:
            resources.close()
            raise
        return store

    def create_all(self) -> None:
        """Make every table, the gate's functions, and every key; then publish the policy. Harmless when repeated.

        For embedded use and tests: production builds its schema with Alembic.
        """
        with operators_only("make tables"):
            for metadata in self._metadata:
                metadata.create_all(self.engine)
            records.create_all(self.engine, self._gate_engine)
            self.projections.note()
        self.publish()

    def publish(self) -> None:
        """Make this store's policy the current one: its keys, its key rights, and each purpose's digest.

        Tokens for purposes that changed stop working; the others go on. Raises UnsupportedOperation in a process that
        may not: a service reads the published policy, an operator's `vaultstore policy apply` publishes it.
        """
        if self._issuer_client is not None:
            raise UnsupportedOperation("a store with an issuer_client can't publish: `vaultstore policy apply` does")
        self._keys.provision(self.policy.key_access(self._issuer_name))
        with operators_only("publish a policy"):
            self._ledger.publish(self.policy)
            self.subjects.publish_rules()

    def close(self) -> None:
        """Give logins back and close connections that the store opened. Harmless when repeated."""
        self._opened.close()
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
        """Sign a token that binds `actor` to `purpose`. Raises IssueDenied where the policy says no.

        Where the database is strict it makes a ticket too. Raises UnsupportedOperation in a store with an
        `issuer_client`.
        """
        if self._issuer_client is not None:
            raise UnsupportedOperation("this store issues no tokens: ask its issuer, `issuer_client.issue(...)`")
        plane, issuer = self._plane(), self._issuer
        if plane is not None and plane.strict:
            issuer = Issuer(self._keys, self.policy, self._issuer_name, self._clock, ticketer=self._ticket)
        return issuer.issue(actor, purpose, subjects=subjects, case=case, ttl=ttl)

    def _ticket(self, grant: Grant) -> Ticket:
        """The database's ticket for `grant`, for the logins of every service that serves its purpose."""
        plane = self._plane()
        assert plane is not None
        assert isinstance(self._ledger, PostgresLedger)
        services = self.policy.services.values()
        logins = sorted(plane.login(s.name) for s in services if grant.purpose.name in s.purposes)
        return self._ledger.ticket(Claims.of(grant), logins)

    def verify(self, token: str) -> Grant:
        """Check a token and return what it grants. Raises TokenInvalid or TokenExpired.

        Revocation is the gate's to check, at every disclosure. Raises UnsupportedOperation in a store that is opened to
        be replayed.
        """
        require_open(self.parts.journal)
        return self._verifier.verify(token)

    def revoke(self, *, jti: str | None = None, actor: str | None = None, before: datetime | None = None) -> None:
        """Revoke one token by its id, or all that an actor was issued before a time (default: now).

        What this store has open under them, keys and logins, is given up at once.
        """
        self._revocations.revoke(jti=jti, actor=actor, before=before)
        self._opened.end_revoked(jti, actor, before)

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

    # ------------------------------------------------------------------------------------------------- reports

    def report(
        self, subject: uuid.UUID, token: str | None = None, *, operator: str | None = None, origin: str | None = None
    ) -> Report:
        """The report of who did what with the data of `subject`, with proofs; that it was made is audited.

        `token` is the member's own (a purpose with ``subjects: self``) or one of ``privacy.request``; an operator, who
        has every right on the gate's tables anyway, gives a name for the audit log instead. `origin` names the log as
        in its checkpoints. Raises AccessDenied and its kinds, of them SubjectErased; UnsupportedOperation in a process
        whose database login may not read the log.
        """
        from vaultstore.evidence.report import Words
        from vaultstore.evidence.report_making import Maker, make_report

        if (token is None) == (operator is None):
            raise UnsupportedOperation("a report is made under a token, or by an operator who is named")
        maker = Maker.operator(operator or "")
        if token is not None:
            grant = self.verify(token)
            self.gate.check(grant)
            maker = Maker.of(grant)
        log = self.parts.log() if origin is None else AuditLog(self._gate_engine, origin)
        with operators_only("make reports"):
            words = Words.of(self.policy)
            return make_report(self._ledger, log, self._gate_engine, self._keys, words, subject, maker)

    # ------------------------------------------------------------------------------------------------ sessions

    def session(self, token: str, **options: Any) -> PurposeSession:
        """Open a session with the rights of `token`; `options` go to `sqlalchemy.orm.Session`.

        Raises TokenInvalid or TokenExpired. Nothing is asked of the key service until a value is, and its login ends
        with the last open session of the token.
        """
        opened = self._open(token)
        if self._strict:
            self._plane()
        return PurposeSession(
            options.pop("bind", self.engine),
            opened=opened,
            gate=self.gate,
            models=self.models,
            clock=self._clock,
            plane=self._plane,
            **options,
        )

    @contextmanager
    def begin(self, token: str, **options: Any) -> Iterator[PurposeSession]:
        """A session that commits at the end of the block, or rolls back when it raises."""
        with self.session(token, **options) as session, session.begin():
            yield session

    def _open(self, token: str) -> OpenGrant:
        """The open grant of this token in this process: sessions of one token share its login and warm keys."""
        self._opened.end_expired(self._clock())
        grant = self.verify(token)
        return self._opened.get(grant, lambda: self.gate.open(grant, lambda: self._login(grant, token)))

    def _login(self, grant: Grant, token: str) -> KeyService:
        client = self._issuer_client
        return self._keys.login(self._issuer.exchange(grant) if client is None else client.exchange(token))

    def _plane(self) -> RolePlane | None:
        """The roles of the database, as it states them; None where no plane is applied.

        Raises SettingsError where tickets are to be demanded and the database demands none.
        """
        if self.engine.dialect.name != "postgresql":
            return None
        if self._known is None or time.monotonic() >= self._known[0]:
            with self._gate_engine.connect() as connection:
                self._known = time.monotonic() + _LOOK_AGAIN, fetch_plane(connection)
        plane = self._known[1]
        if self._strict and (plane is None or not plane.strict):
            raise SettingsError("postgres_strict: the database demands no tickets; apply the plane with it set")
        return plane

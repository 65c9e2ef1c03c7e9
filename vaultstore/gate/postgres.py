"""The gate's database on PostgreSQL: its functions decide, this only calls them. vaultstore/records/sql has them.

One call is one statement on an autocommitting connection, so one round trip and one commit.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from vaultstore.canonical import canonical_json
from vaultstore.errors import AuditError, KeyServiceUnavailable, SettingsError
from vaultstore.gate.claims import Claims
from vaultstore.gate.ledger import Admission, Handout, Mint, Minting, Published, Taken, Wrap
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.scopes import ScopePair, pack_pairs
from vaultstore.grants import Ticket
from vaultstore.records import purposes
from vaultstore.records.index_versions import NO_VERSIONS, Place, Versions
from vaultstore.records.sqlite import BUSY_TIMEOUT

__all__ = ["PostgresLedger"]


class PostgresLedger:
    """Calls the gate's functions through an engine of its own.

    Never the sessions' engine: once sessions hold the whole pool, the gate would wait for them and they for the gate.
    Time is the database's. Safe to use from several threads.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def __repr__(self) -> str:
        return f"<PostgresLedger {self._engine.url.database}>"

    @property
    def now(self) -> datetime:
        """The time by the database's clock."""
        moment: datetime = self._call("SELECT clock_timestamp()")
        return moment.astimezone(UTC)

    @contextmanager
    def gate(self) -> Iterator[sa.Connection]:
        """A transaction on the tables that the gate decides by."""
        # A change must see, once it has its locks, what was committed while it waited.
        with self._connect("READ COMMITTED") as connection, connection.begin():
            # As long as SQLite's writers wait. A caller may hold the subject in a session of its own.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT}")
            yield connection

    @contextmanager
    def erasing(self) -> Iterator[tuple[sa.Connection, sa.Connection]]:
        """One transaction for both sides."""
        with self.gate() as connection:
            yield connection, connection

    def publish(self, policy: Published) -> None:
        """Make `policy` the one that is decided by."""
        named = {name: (policy.digest(name), canonical_json(policy.closure(name)).decode()) for name in policy.purposes}
        with self.gate() as connection:
            purposes.publish(connection, named, datetime.now(UTC))

    def close(self) -> None:
        """Nothing to close: the engine is its maker's."""

    def check(self, claims: Claims) -> Admission:
        """Step 1 only; a refusal is audited."""
        return self._admission((), "SELECT vs_check(%s::jsonb)::text", claims.json)

    def admit(
        self,
        claims: Claims,
        model: str,
        categories: Collection[str],
        subjects: Sequence[bytes],
        pairs: Sequence[ScopePair] = (),
    ) -> Admission:
        """Steps 1 to 4 of `disclose`; `subjects` are distinct, in order of priority, and so are `pairs`."""
        return self._admission(
            subjects,
            "SELECT vs_admit(%s::jsonb, %s::text, %s::text[], %s::bytea, %s::bytea)::text",
            claims.json,
            model,
            list(categories),
            b"".join(subjects),
            pack_pairs(pairs) if pairs else None,
        )

    def hand_out(self, claims: Claims, entry: str, refs: Sequence[KeyRef]) -> Handout:
        """Wraps for what `entry` admitted, unless something changed since; what is withheld is audited."""
        answer = json.loads(
            self._call(
                "SELECT vs_wraps(%s::jsonb, %s::text, %s::text[], %s::bytea, %s::bytea[], %s::bigint[])::text",
                claims.json,
                entry,
                *_columns(refs),
            )
        )
        wraps = [Wrap(refs[at], wrapped, own) for at, wrapped, own in answer["wraps"]]
        refused = {refs[at][1]: code for at, code in answer.get("refused", ())}
        return Handout(wraps, code=answer.get("code"), refused=refused)

    def withhold(self, claims: Claims, entry: str, code: str | None, refused: Mapping[bytes, str]) -> None:
        """Audit that a write which `entry` admitted was refused after all."""
        self._call(
            "SELECT vs_withhold(%s::jsonb, %s::text, %s::text, %s::bytea, %s::text[])",
            claims.json,
            entry,
            code,
            b"".join(refused),
            list(refused.values()),
        )

    def admit_seal(
        self,
        claims: Claims,
        model: str,
        sources: Collection[str],
        categories: Collection[str],
        indexes: Collection[str],
        asked: Sequence[bytes],
        digests: int = 0,
    ) -> Admission:
        """Steps 1, 2 and 4 of `seal`; new subjects are registered. One refused subject refuses all."""
        return self._admission(
            asked,
            "SELECT vs_seal(%s::jsonb, %s::text, %s::text[], %s::text[], %s::text[], %s::bytea, %s::int)::text",
            claims.json,
            model,
            sorted(sources),
            sorted(categories),
            list(indexes),
            b"".join(asked),
            digests,
        )

    def mint(
        self,
        connection: sa.Connection,
        claims: Claims,
        entry: str,
        asked: Sequence[bytes],
        minted: Sequence[Mint],
        reused: Sequence[KeyRef],
        versions: Mapping[str, Versions] = NO_VERSIONS,
    ) -> Minting:
        """In the row's transaction: locks on the subjects keep them as they are until it ends."""
        indexed = (json.dumps(versions),) if versions else ()
        parameters = (
            *indexed,
            claims.json,
            entry,
            b"".join(asked),
            *_columns([mint.ref for mint in minted]),
            [mint.wrapped for mint in minted],
            *_columns(reused),
        )
        text = connection.exec_driver_sql(
            f"SELECT {'vs_mint_indexed(%s::jsonb, ' if versions else 'vs_mint('}%s::jsonb, %s::text, %s::bytea,"
            " %s::text[], %s::bytea, %s::bytea[], %s::bigint[], %s::text[],"
            " %s::text[], %s::bytea, %s::bytea[], %s::bigint[])::text",
            parameters,
        ).scalar_one()
        answer = json.loads(text)
        return Minting(
            code=answer.get("code"),
            refused={asked[at]: code for at, code in answer.get("refused", ())},
            gone=[reused[at] for at in answer.get("gone", ())],
            stale="stale" in answer,
            versions=_versions(answer) if "versions" in answer else None,
        )

    def search(self, claims: Claims, model: str, field: str, needles: int) -> Admission:
        """Steps 1 to 4 of `search`: the whole of it is refused where a limit does not take every needle."""
        query = "SELECT vs_search(%s::jsonb, %s::text, %s::text, %s::int)::text"
        return self._admission((), query, claims.json, model, field, needles)

    def collide(self, claims: Claims, model: str, field: str) -> Admission:
        """Charge and audit a uniqueness violation as the search that it amounts to."""
        return self._admission((), "SELECT vs_collide(%s::jsonb, %s::text, %s::text)::text", claims.json, model, field)

    def found(self, claims: Claims, entry: str, rows: int, subjects: Sequence[bytes]) -> Admission:
        """Audit what a search found; the entry's id begins with the search's."""
        query = "SELECT vs_found(%s::jsonb, %s::text, %s::int, %s::bytea)::text"
        return self._admission((), query, claims.json, entry, rows, b"".join(subjects))

    def taken(
        self, connection: sa.Connection, claims: Claims, entry: str, index: str, rows: Sequence[tuple[bytes, bytes]]
    ) -> Taken:
        """In the row's transaction: whether a row other than these has one of the former digests."""
        text = connection.exec_driver_sql(
            "SELECT vs_index_taken(%s::jsonb, %s::text, %s::text, %s::bytea[], %s::bytea)::text",
            (claims.json, entry, index, [digest for digest, _ in rows], b"".join([key for _, key in rows])),
        ).scalar_one()
        answer = json.loads(text)
        place = answer.get("taken")
        return Taken(None if place is None else Place(*place), code=answer.get("code"))

    def reindex(self, claims: Claims, model: str, index: str, subjects: Sequence[bytes], digests: int) -> Admission:
        """Steps 1, 2 and 4 for making digests of stored values anew, while their index's key is being rotated."""
        query = "SELECT vs_reindex(%s::jsonb, %s::text, %s::text, %s::bytea, %s::int)::text"
        return self._admission(subjects, query, claims.json, model, index, b"".join(subjects), digests)

    def settle_index(self, claims: Claims, model: str, index: str, *, settled: bool) -> Admission:
        """Note that every row has a digest of the next version, or that it is to be seen anew whether it has."""
        query = "SELECT vs_index_settle(%s::jsonb, %s::text, %s::text, %s::boolean)::text"
        return self._admission((), query, claims.json, model, index, settled)

    def index_state(self, claims: Claims) -> Admission:
        """The versions, for who keeps keys."""
        return self._admission((), "SELECT vs_index_state(%s::jsonb)::text", claims.json)

    def rotate_index(self, claims: Claims, index: str, place: Place, version: int) -> Admission:
        """Let rows be written with digests of `version` from now on. The lock waits for who writes any right now."""
        query = "SELECT vs_index_rotate(%s::jsonb, %s::text, %s::text[], %s::int)::text"
        return self._admission((), query, claims.json, index, list(place), version)

    def finish_index(self, claims: Claims, index: str) -> Admission:
        """Let rows be looked up by digests of the next version only, once all have one."""
        return self._admission((), "SELECT vs_index_finish(%s::jsonb, %s::text)::text", claims.json, index)

    def charge(self, claims: Claims, verb: str, model: str, subject: bytes, unit: bytes, whose: str) -> Admission:
        """Steps 1 to 4 for an act on one subject that is counted and opens nothing."""
        query = "SELECT vs_charge(%s::jsonb, %s::text, %s::text, %s::bytea, %s::bytea, %s::text)::text"
        return self._admission((subject,), query, claims.json, verb, model, subject, unit, whose)

    def approve(self, claims: Claims, request: str) -> Admission:
        """Approve an access request of somebody else, for a purpose that this one may approve."""
        return self._admission((), "SELECT vs_approve(%s::jsonb, %s::text)::text", claims.json, request)

    def ticket(self, claims: Claims, logins: Sequence[str]) -> Ticket:
        """A ticket for a token's claims, to be presented by one of `logins`: a strict database believes no others.

        For the issuer's login only. Raises SettingsError where this login may not have tickets made or the plane is not
        strict, KeyServiceUnavailable where the database fails.
        """
        try:
            text = self._run("SELECT vs_ticket(%s::jsonb, %s::text[])::text", claims.json, list(logins))
        except sa.exc.SQLAlchemyError as error:
            state = _state(error)
        else:
            if text is None:
                raise SettingsError(
                    "the database has no key for tickets: apply the plane with postgres_strict = true, or make none"
                )
            made = json.loads(text)
            return Ticket(made["kid"], tuple(made["logins"]), made["mac"])
        if state in ("42501", "42883"):
            raise SettingsError("this login may not have tickets made: the issuer connects as <prefix>issuer")
        raise KeyServiceUnavailable(f"the gate's database made no ticket ({state})")

    def _admission(self, subjects: Sequence[bytes], query: str, *parameters: object) -> Admission:
        text = self._call(query, *parameters, closed="")
        if not text:  # no purpose of this login's has that verb; PostgreSQL's log has the attempt, ours can't
            return Admission("", code="not.granted")
        answer = json.loads(text)
        refused = {subjects[at]: code for at, code in answer.get("refused", ())}
        return Admission(answer["entry"], code=answer.get("code"), refused=refused, versions=_versions(answer))

    @contextmanager
    def _connect(self, level: Literal["AUTOCOMMIT", "READ COMMITTED"]) -> Iterator[sa.Connection]:
        """A connection at this isolation level, whatever the engine says.

        Set on the connection: of levels set on engines made from one another, the first one wins.
        """
        with self._engine.connect() as connection:
            yield connection.execution_options(isolation_level=level)

    def _run(self, query: str, *parameters: object) -> Any:
        with self._connect("AUTOCOMMIT") as connection:
            return connection.exec_driver_sql(query, parameters).scalar_one()

    def _call(self, query: str, *parameters: object, closed: str | None = None) -> Any:
        """The function's answer; `closed`, unless that is None, where this login may not call it at all."""
        try:
            return self._run(query, *parameters)
        except sa.exc.SQLAlchemyError as error:
            name = _state(error)
            # With a context it was refused within the function, which is for whoever keeps the database to mend.
            inside = getattr(getattr(error, "orig", None), "diag", None)
            if closed is not None and name == "42501" and inside is not None and inside.context is None:
                return closed
        raise AuditError(f"the gate's database failed ({name}), so nothing was admitted")


def _state(error: sa.exc.SQLAlchemyError) -> str:
    """SQLSTATE of a failure, or what kind of error it was."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlstate", None) or type(cause or error).__name__


def _versions(answer: Mapping[str, Any]) -> Mapping[str, Versions]:
    found = answer.get("versions")
    return {name: Versions(*pair) for name, pair in found.items()} if found else NO_VERSIONS


def _columns(refs: Sequence[KeyRef]) -> tuple[list[str], bytes, list[bytes], list[int]]:
    """References column by column: categories, subjects in one piece, scopes, key ids."""
    return [ref[0] for ref in refs], b"".join([ref[1] for ref in refs]), [ref[2] for ref in refs], [r[3] for r in refs]

"""The gate's database on SQLite: one write transaction on gate.db decides, counts and audits.

Lock order: members.db, then gate.db. Admissions take gate.db alone, so a session that has flushed never waits for the
gate, nor the gate for it; the keyring is read from members.db on connections of the ledger's own.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import cast

import sqlalchemy as sa

from vaultstore.canonical import canonical_json
from vaultstore.errors import AuditError
from vaultstore.gate.claims import Claims
from vaultstore.gate.closure import Closure
from vaultstore.gate.ledger import Admission, Handout, Mint, Minting, Published, Wrap
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.scopes import ScopePair, pack_pairs
from vaultstore.gate.sqlite_charge import ChargeSteps
from vaultstore.gate.sqlite_index import IndexSteps
from vaultstore.gate.sqlite_steps import Step, outcome_of
from vaultstore.gate.sqlite_wal import WriteAheadLogs
from vaultstore.records import approvals, entries, key_versions, keyring, purposes, subjects
from vaultstore.records.base import rfc3339
from vaultstore.records.index_versions import NO_VERSIONS, Versions, overtaken
from vaultstore.records.sqlite import IMMEDIATE

__all__ = ["SqliteLedger"]

_WRITE, _READ = "BEGIN IMMEDIATE", "BEGIN"


class SqliteLedger(ChargeSteps, IndexSteps):
    """Decides on gate.db, reads wraps from members.db. Both engines are set up by `records.configure_sqlite`.

    `clock` returns the time as an aware datetime. Safe to use from several threads, the files from several processes.
    """

    def __init__(self, gate: sa.Engine, members: sa.Engine, clock: Callable[[], datetime]) -> None:
        self._gate = gate.execution_options(**{IMMEDIATE: True})
        self._members = members.execution_options(**{IMMEDIATE: True})
        # Not the sessions' own pool: once sessions hold all of it, the gate would wait for them and they for the gate.
        self._keyring = members.pool.recreate()
        sa.event.listen(members, "engine_disposed", lambda engine: self.close())
        self._clock = clock
        self._closures: dict[str, Closure] = {}
        self._pseudonyms: dict[str, str] = {}
        self._logs = WriteAheadLogs((self._keyring.connect, self._gate.raw_connection))
        self._writer = threading.Lock()  # SQLite makes waiting writers sleep and poll; threads can queue instead

    def __repr__(self) -> str:
        return f"<SqliteLedger {self._gate.url.database}>"

    @property
    def now(self) -> datetime:
        """The time by the ledger's clock."""
        return self._clock()

    @contextmanager
    def gate(self) -> Iterator[sa.Connection]:
        """A transaction on gate.db that holds its write lock."""
        with self._writer, self._gate.begin() as connection:
            yield connection

    @contextmanager
    def erasing(self) -> Iterator[tuple[sa.Connection, sa.Connection]]:
        """Both files locked for writing. gate.db commits first: a crash in between leaves the subject erased for the
        gate, with key rows that the next erasure destroys; the other way round they would be gone without a state.
        """
        with self._members.begin() as members, self.gate() as gate:
            yield members, gate
        # They hold the old pages of what was destroyed. Whoever still reads from one is not waited for.
        self._logs.empty()

    def empty_logs(self) -> None:
        """After keys were destroyed: empty the write-ahead logs, which still hold their pages."""
        self._logs.empty()

    def publish(self, policy: Published) -> None:
        """Make `policy` the one that is decided by."""
        named = {name: (policy.digest(name), canonical_json(policy.closure(name)).decode()) for name in policy.purposes}
        with self.gate() as connection:
            purposes.publish(connection, named, self._clock())

    def close(self) -> None:
        """Close the ledger's own connections, as disposing the members' engine does too. Harmless when repeated."""
        self._logs.again()
        self._keyring.dispose()

    # ------------------------------------------------------------------------------------------------ disclose

    def check(self, claims: Claims) -> Admission:
        """Step 1 only; a refusal is audited."""
        with self._step(claims) as step:
            closure, code = step.live()
            return Admission("") if closure is not None else step.refuse("check", code, {})

    def admit(
        self,
        claims: Claims,
        model: str,
        categories: Collection[str],
        subjects: Sequence[bytes],
        pairs: Sequence[ScopePair] = (),
    ) -> Admission:
        """Steps 1 to 4 of `disclose`; `subjects` are distinct, in order of priority, and so are `pairs`."""
        with self._step(claims) as step:
            closure, code = step.ready(lambda closure: closure.may_read(model, categories), reads=True)
            if closure is None:
                counts = {"subjects": len(subjects)}
                return step.refuse("disclose", code, counts, model=model, categories=categories)
            numbers, odd = step.number(subjects)
            odd = step.unheld(closure, odd, pairs)
            refused = step.judge(closure, subjects, odd, categories=categories)
            units = [s for s in subjects if s not in refused] if refused else subjects
            over = step.spend(closure, "disclose", units)
            if over:
                refused = {s: refused.get(s, "budget.exhausted") for s in subjects if s in refused or s in over}
            lines, salts = step.lines(subjects, numbers, odd, refused, "disclosed")
            counts = {"subjects": len(subjects), "disclosed": len(subjects) - len(refused)}
            scopes = pack_pairs(pair for pair in pairs if pair[0] not in refused) if pairs else None
            outcome = outcome_of(refused, len(subjects))
            entry = step.write(
                "disclose",
                outcome,
                counts,
                model=model,
                categories=categories,
                lines=lines,
                salts=salts,
                scopes=scopes,
            )
            return Admission(entry, refused=refused)

    def hand_out(self, claims: Claims, entry: str, refs: Sequence[KeyRef]) -> Handout:
        """Wraps for what `entry` admitted, unless something changed since; what is withheld is audited.

        The keyring is read before the states: an erasure commits its state before it deletes, so a wrap that is seen
        here together with an active state was there when the subject was.
        """
        asked = list(dict.fromkeys(ref[1] for ref in refs))
        with _as_audit_errors():
            connection = self._keyring.connect()
            try:
                found = keyring.fetch(cast(sqlite3.Cursor, connection.cursor()), refs)
            finally:
                connection.close()
        with self._step(claims, _READ) as step:
            admitted = step.admitted(entry)
            if admitted is None:
                return Handout(())
            closure, code = step.live()
            refused = {}
            if closure is not None:
                odd = step.unheld(closure, step.odd(asked), [(ref[1], ref[2]) for ref in refs])
                refused = step.judge(closure, asked, odd, categories={ref[0] for ref in refs})
        beyond = {ref[1] for ref in refs if ref[1] in admitted.subjects and not admitted.covers(ref)}
        if beyond and code is None:
            refused = {s: refused.get(s, "not.admitted") for s in asked if s in refused or s in beyond}
        # Of one who was erased since, the entry no longer says that it admitted them.
        told = {s: reason for s, reason in refused.items() if s in admitted.subjects or reason == "subject.erased"}
        if code is not None or told:
            self.withhold(claims, entry, code, told)
        if code is not None:
            return Handout((), code=code)
        wraps = [
            Wrap(ref, wrapped, by == claims.purpose)
            for ref, wrapped, by in found
            if ref[1] not in refused and admitted.covers(ref)
        ]
        return Handout(wraps, refused=refused)

    def withhold(self, claims: Claims, entry: str, code: str | None, refused: Mapping[bytes, str]) -> None:
        """Audit that something which `entry` admitted was refused after all."""
        with self._step(claims) as step:
            asked = list(refused)
            numbers, odd = step.number(asked)
            lines, salts = step.lines(asked, numbers, odd, refused, "withheld")
            outcome = f"refused:{code}" if code else outcome_of(refused, len(asked))
            counts = {"subjects": len(asked)}
            step.write("withhold", outcome, counts, lines=lines, salts=salts, entry_id=entries.following(entry))

    # ---------------------------------------------------------------------------------------------------- seal

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
        categories = {*sources, *categories}
        with self._step(claims) as step:
            closure, code = step.ready(
                lambda closure: closure.may_seal(model, sources, categories, indexes), reads=False
            )
            counts = {"subjects": len(asked)} | ({"digests": digests} if digests else {})
            if closure is None:
                return step.refuse("seal", code, counts, model=model, categories=categories)
            odd = step.odd(asked)
            new = [subject for subject, state in odd.items() if state is None]
            known = {s: state for s, state in odd.items() if state is not None}
            refused = step.judge(closure, asked, known, categories=sources, strict=True)
            if not refused:
                subjects.register(step.cursor, new, step.now)
            told = list(refused or asked)
            numbers, odd = step.number(told)
            lines, salts = step.lines(told, numbers, odd, refused, "sealed")
            counts["sealed"] = 0 if refused else len(asked)
            outcome = outcome_of(refused, len(refused)) if refused else "sealed"
            entry = step.write("seal", outcome, counts, model=model, categories=categories, lines=lines, salts=salts)
            return Admission(entry, refused=refused, versions=step.versions())

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
        """In the row's transaction: the write lock of members.db keeps the subjects as they are until it ends."""
        keyring.take_write_lock(connection)
        with self._step(claims, _READ) as step:
            if overtaken(known := step.versions(), versions):
                return Minting(versions=known)
            closure, code = step.live()
            if closure is None:
                return Minting(code=code)
            sealed = {ref[0] for ref in (*(mint.ref for mint in minted), *reused)}
            refused = step.judge(closure, asked, step.odd(asked), categories=sealed, strict=True)
            time = rfc3339(step.now)
        if refused:
            return Minting(refused=refused)
        gone = keyring.missing(connection, reused)
        if not gone and key_versions.stale(connection, ((mint.ref[0], mint.wrapped) for mint in minted)):
            return Minting(stale=True)
        if not gone:
            rows = [
                keyring.KeyRow(subject, category, scope, key_id, wrapped, claims.purpose, time)
                for (category, subject, scope, key_id), wrapped in minted
            ]
            keyring.insert(connection, sorted(rows))
        return Minting(gone=gone)

    # ------------------------------------------------------------------------------------------------ approvals

    def approve(self, claims: Claims, request: str) -> Admission:
        """Approve an access request of somebody else, for a purpose that this one may approve."""
        with self._step(claims) as step:
            closure, code = step.live()
            found = approvals.find(step.cursor, request, step.now)
            if closure is not None and found is None:
                code = "request.missing"
            elif closure is not None and found is not None:
                purpose, requester = found
                if purpose not in closure.approves:
                    code = "not.granted"
                elif requester == claims.actor:
                    code = "request.own"
            if code is not None:
                return step.refuse("approve", code, {})
            approvals.approve(step.cursor, request, claims.actor, claims.jti, step.now)
            return Admission(step.write("approve", "approved", {}, field=request))

    @contextmanager
    def _step(self, claims: Claims, begin: str = _WRITE) -> Iterator[Step]:
        """One transaction on the gate's own connection. Whatever fails in it is an AuditError: nothing was admitted."""
        self._logs.again()
        with self._writer if begin == _WRITE else nullcontext(), _as_audit_errors():
            connection = self._gate.raw_connection()
            try:
                cursor = cast(sqlite3.Cursor, connection.cursor())
                cursor.execute(begin)
                try:
                    yield Step(cursor, self._clock(), claims, self._closures, self._pseudonyms)
                    cursor.execute("COMMIT")
                except BaseException:
                    if cursor.connection.in_transaction:
                        cursor.execute("ROLLBACK")
                    raise
            finally:
                connection.close()


@contextmanager
def _as_audit_errors() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, sa.exc.SQLAlchemyError) as error:
        name = getattr(error, "sqlite_errorname", None) or type(error).__name__
        raise AuditError(f"the gate's database failed ({name}), so nothing was admitted") from None

"""Key upkeep on SQLite: the keyring and the given-up versions lie in members.db, the grants and entries in gate.db."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import sqlalchemy as sa

from vaultstore.gate.claims import Claims
from vaultstore.gate.keeping import Cuts, KeyState, Page, Retirement, Rewrapped
from vaultstore.gate.ledger import Admission
from vaultstore.gate.sqlite import SqliteLedger, _as_audit_errors
from vaultstore.gate.sqlite_steps import Step
from vaultstore.records import key_versions
from vaultstore.records.key_versions import Bound, HeldWrap

__all__ = ["SqliteKeeping"]


class SqliteKeeping:
    """See Keeping. Lock order: members.db, then gate.db."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger = ledger

    def rotate(self, claims: Claims, category: str) -> Admission:
        """Audit that the category's key is about to get a new version."""
        with self._ledger._step(claims) as step:
            code = _code(step, "rotate")
            if code is not None:
                return step.refuse("rotate", code, {}, categories=[category])
            return Admission(step.write("rotate", "rotated", {}, categories=[category]))

    def state(self, claims: Claims) -> KeyState:
        """Live wraps by category and version."""
        with self._ledger._step(claims) as step:
            code = _code(step, None)
            if code is not None:
                step.refuse("check", code, {})
                return KeyState({}, {}, code)
        with self._keyring() as cursor:
            rows = key_versions.state(cursor)
        with _as_audit_errors(), self._ledger._members.begin() as connection:
            return KeyState(key_versions.counted(rows), key_versions.oldest(connection))

    def ranges(self, claims: Claims, category: str, newest: int, pieces: int) -> Cuts:
        """Where to cut the category's wraps of versions before `newest`."""
        with self._ledger._step(claims) as step:
            code = _code(step, "rewrap")
            if code is not None:
                step.refuse("rewrap", code, {}, categories=[category])
                return Cuts((), code)
        with self._keyring() as cursor:
            return Cuts(key_versions.cuts(cursor, category, newest, pieces))

    def page(self, claims: Claims, category: str, newest: int, after: Bound, until: Bound | None, most: int) -> Page:
        """The next wraps of versions before `newest`."""
        with self._keyring() as cursor:
            wraps = key_versions.page(cursor, category, newest, after, until, most)
        with self._ledger._step(claims) as step:
            code = _code(step, "rewrap", reads=True)
            if code is not None:
                return Page(step.refuse("rewrap", code, {}, categories=[category]).entry, code=code)
            if not wraps:
                return Page("")
            entry = step.write("rewrap", "handed_out", {"keys": len(wraps)}, categories=[category])
        return Page(entry, wraps, keys=len(wraps))

    def rewrapped(
        self,
        connection: sa.Connection,
        claims: Claims,
        entry: str,
        category: str,
        changed: Sequence[tuple[HeldWrap, str]],
    ) -> Rewrapped:
        """In the caller's transaction, which holds the write lock of members.db."""
        with self._ledger._step(claims) as step:
            code = _code(step, "rewrap")
            if code is not None:
                step.refuse("rewrap", code, {}, categories=[category])
                return Rewrapped(0, code)
            replaced = key_versions.replace(connection, category, changed)
            counts = {"keys": len(changed), "replaced": replaced}
            step.write("rewrapped", "rewrapped", counts, categories=[category], entry_id=_following(entry))
        return Rewrapped(replaced)

    def retire(self, claims: Claims, category: str, oldest: int) -> Retirement:
        """The write lock of members.db keeps writers out, from the count until the version is given up."""
        with _as_audit_errors(), self._ledger._members.begin() as connection:
            with self._ledger._step(claims) as step:
                code = _code(step, "retire")
                if code is not None:
                    step.refuse("retire", code, {}, categories=[category])
                    return Retirement(code)
                older = key_versions.older(connection, category, oldest)
                if older:
                    step.refuse("retire", "key.needed", {"keys": sum(older.values())}, categories=[category])
                    return Retirement(older=older)
                step.write("retire", "retired", {"oldest": oldest}, categories=[category])
            key_versions.retire(connection, category, oldest, self._ledger.now)
        return Retirement()

    @contextmanager
    def _keyring(self) -> Iterator[sqlite3.Cursor]:
        with _as_audit_errors():
            connection = self._ledger._keyring.connect()
            try:
                yield cast(sqlite3.Cursor, connection.cursor())
            finally:
                connection.close()


def _code(step: Step, verb: str | None, *, reads: bool = False) -> str | None:
    """The code that refuses this verb of key upkeep; None for the verb: any of them will do."""
    _, code = step.ready(
        lambda closure: bool(closure.keeps_keys) if verb is None else verb in closure.keeps_keys, reads=reads
    )
    return code


def _following(entry: str) -> str:
    return f"{entry}.{uuid.uuid4().hex[:8]}"

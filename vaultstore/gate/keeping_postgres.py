"""Key upkeep on PostgreSQL: vaultstore/records/sql/77_rewrap.sql decides, this only calls it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from vaultstore.errors import KeyServiceRefused
from vaultstore.gate.claims import Claims
from vaultstore.gate.keeping import Cuts, KeyState, Page, Retirement, Rewrapped
from vaultstore.gate.ledger import Admission
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.records.key_versions import Bound, HeldWrap, counted

__all__ = ["PostgresKeeping"]

_NOT_GRANTED = '{"code": "not.granted"}'
"""Where this login may not call the function at all: no purpose of its service keeps keys."""


class PostgresKeeping:
    """See Keeping."""

    def __init__(self, ledger: PostgresLedger) -> None:
        self._ledger = ledger

    def rotate(self, claims: Claims, category: str) -> Admission:
        """Audit that the category's key is about to get a new version."""
        answer = self._ask("SELECT vs_rotate(%s::jsonb, %s::text)::text", claims.json, category)
        return Admission(answer.get("entry", ""), code=answer.get("code"))

    def state(self, claims: Claims) -> KeyState:
        """Live wraps by category and version."""
        answer = self._ask("SELECT vs_key_state(%s::jsonb)::text", claims.json)
        return KeyState(counted(answer.get("wraps", ())), answer.get("oldest", {}), answer.get("code"))

    def ranges(self, claims: Claims, category: str, newest: int, pieces: int) -> Cuts:
        """Where to cut the category's wraps of versions before `newest`."""
        query = "SELECT vs_rewrap_ranges(%s::jsonb, %s::text, %s::int, %s::int)::text"
        answer = self._ask(query, claims.json, category, newest, pieces)
        return Cuts([(bytes.fromhex(last), held) for last, held in answer.get("cuts", ())], answer.get("code"))

    def page(self, claims: Claims, category: str, newest: int, after: Bound, until: Bound | None, most: int) -> Page:
        """Two calls: the entry has to be committed before a wrap is seen."""
        admitted = self._ask(
            "SELECT vs_rewrap(%s::jsonb, %s::text, %s::int, %s::uuid, %s::bytea, %s::bigint,"
            " %s::uuid, %s::bytea, %s::bigint, %s::int)::text",
            claims.json,
            category,
            newest,
            *_bound(after),
            *((None, None, None) if until is None else _bound(until)),
            most,
        )
        entry, code = admitted.get("entry", ""), admitted.get("code")
        if code is not None or not admitted["keys"]:
            return Page(entry, code=code)
        answer = self._ask("SELECT vs_rewrap_page(%s::jsonb, %s::text)::text", claims.json, entry)
        wraps = [
            HeldWrap(bytes.fromhex(subject), bytes.fromhex(scope), key_id, wrapped)
            for subject, scope, key_id, wrapped in answer.get("rows", ())
        ]
        wraps.sort()
        return Page(entry, wraps, answer.get("code"), admitted["keys"])

    def rewrapped(
        self,
        connection: sa.Connection,
        claims: Claims,
        entry: str,
        category: str,
        changed: Sequence[tuple[HeldWrap, str]],
    ) -> Rewrapped:
        """In the caller's transaction."""
        held = [old for old, _ in changed]
        # One text a column: the driver takes ten times as long to write lists of thousands of elements.
        text = connection.exec_driver_sql(
            "SELECT vs_rewrapped(%s::jsonb, %s::text, %s::text, %s::bytea, string_to_array(%s::text, E'\\n')::bytea[],"
            " string_to_array(%s::text, E'\\n')::bigint[], string_to_array(%s::text, E'\\n'),"
            " string_to_array(%s::text, E'\\n'))::text",
            (
                claims.json,
                entry,
                category,
                b"".join([each.subject for each in held]),
                _lines(f"\\x{each.scope.hex()}" for each in held),
                _lines(str(each.key_id) for each in held),
                _lines(each.wrapped for each in held),
                _lines(new for _, new in changed),
            ),
        ).scalar_one()
        answer = json.loads(text)
        return Rewrapped(answer.get("replaced", 0), answer.get("code"))

    def retire(self, claims: Claims, category: str, oldest: int) -> Retirement:
        """Waits two seconds for writers that have wraps in transactions of theirs."""
        query = "SELECT vs_retire(%s::jsonb, %s::text, %s::int)::text"
        answer = self._ask(query, claims.json, category, oldest)
        older = {int(version): held for version, held in answer.get("older", {}).items()}
        return Retirement(answer.get("code"), older, "busy" in answer)

    def _ask(self, query: str, *parameters: object) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._ledger._call(query, *parameters, closed=_NOT_GRANTED))
        return answer


def _lines(texts: Iterable[str]) -> str:
    parts = list(texts)
    joined = "\n".join(parts)
    if joined.count("\n") != len(parts) - 1:
        raise KeyServiceRefused("the key service answered with something that is no wrap")
    return joined


def _bound(bound: Bound) -> tuple[uuid.UUID, bytes, int]:
    return uuid.UUID(bytes=bound[0]), bound[1], bound[2]

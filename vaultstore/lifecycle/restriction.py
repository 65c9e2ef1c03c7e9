"""Restriction: a member's data rest, for reasons that are kept, until somebody lifts it.

Two sides have to know: the gate, which refuses, and the members' database, which leaves the rows out. On PostgreSQL a
function changes both in one transaction and audits it; embedded they are two files, of which the gate's commits first.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa

from vaultstore.gate.claims import Claims
from vaultstore.gate.refusals import denial, refusal
from vaultstore.gate.sqlite_steps import Step
from vaultstore.grants import Grant
from vaultstore.lifecycle.journal import Journal
from vaultstore.lifecycle.records import Registry, id_of
from vaultstore.records import states, subjects
from vaultstore.records.states import StateChange

__all__ = ["DESK", "Changed", "Order", "change_state", "order_of", "raise_refusal"]

DESK = "privacy.request"
"""The purpose under which members' requests are answered."""


@dataclass(frozen=True, slots=True)
class Order:
    """Who has subjects restricted, or their restriction lifted, and why."""

    claims: Claims
    reason: str
    lifted: bool = False
    grant: Grant | None = field(default=None, repr=False)
    """None: an operator, who has every right on the gate's tables anyway."""

    @property
    def kind(self) -> str:
        """The kind of its audit entry."""
        return "lift" if self.lifted else "restrict"

    @property
    def allowed(self) -> bool:
        """Whether the purpose is one that may: the desk's, or for a restriction a member's own."""
        if self.grant is None:
            return True
        purpose = self.grant.purpose
        return purpose.name == DESK or (purpose.requires.subjects == "self" and not self.lifted)


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of an order."""

    entry: str
    """Its audit entry."""
    code: str | None = None
    """Why all of it was refused, or None."""
    refused: Mapping[bytes, str] = field(default_factory=dict)
    """Subject -> why it was left as it is."""


def order_of(
    now: datetime, *, reason: str, lifted: bool, grant: Grant | None = None, operator: str = "operator"
) -> Order:
    """An order under a grant, or of the operator of that name."""
    if grant is not None:
        return Order(Claims.of(grant), reason, lifted, grant)
    claims = Claims(
        jti="operator",
        actor=operator,
        role="operator",
        attributes={},
        purpose=DESK,
        digest="",
        issued_at=now,
        expires_at=now,
        case=None,
        subjects=None,
    )
    return Order(claims, reason, lifted)


def change_state(registry: Registry, asked: Sequence[bytes], order: Order, journal: Journal) -> Changed:
    """Restrict `asked` (distinct), or lift it, in a transaction of its own; audited whatever comes of it."""
    with registry.erasing() as (members, gate):
        changed = change_within(members, gate, asked, order, registry.now)
        note(journal, gate, asked, order, changed, registry.now)
    return changed


def change_within(
    members: sa.Connection, gate: sa.Connection, asked: Sequence[bytes], order: Order, now: datetime
) -> Changed:
    """The same in transactions of the caller's, on the members' side and on the gate's."""
    if gate.dialect.name == "postgresql":
        return _by_function(gate, asked, order)
    changed = _by_steps(gate, asked, order, now)
    if changed.code is None:
        done = [key for key in asked if key not in changed.refused]
        (states.show if order.lifted else states.hide)(members, done)
    return changed


def note(
    journal: Journal, gate: sa.Connection, asked: Sequence[bytes], order: Order, changed: Changed, now: datetime
) -> None:
    """Have the journal take down what an order changed, before it is committed."""
    if changed.code is None:
        for key in asked:
            if key not in changed.refused:
                journal.append(order.kind, connection=gate, subject=id_of(key), at=now)


def raise_refusal(changed: Changed, order: Order, asked: Sequence[bytes]) -> None:
    """Raise what an order was refused for, of the first subject that was."""
    if changed.code is not None:
        raise refusal(changed.code, order.claims, "use", f"the state of {len(asked)} subject(s)")
    for key, code in changed.refused.items():
        raise denial(code, order.claims, "use", "the state of the subject", key)


def _by_function(gate: sa.Connection, asked: Sequence[bytes], order: Order) -> Changed:
    text: Any = gate.exec_driver_sql(
        "SELECT vs_restrict(%s::jsonb, %s::text, %s::bytea, %s::boolean, %s::text)::text",
        (
            order.claims.json,
            None if order.grant is not None else order.claims.actor,
            b"".join(asked),
            order.lifted,
            order.reason,
        ),
    ).scalar_one()
    answer = json.loads(text)
    refused = {asked[at]: code for at, code in answer.get("refused", ())}
    return Changed(answer["entry"], answer.get("code"), refused)


def _by_steps(gate: sa.Connection, asked: Sequence[bytes], order: Order, now: datetime) -> Changed:
    """vs_restrict, for gate.db: the two are one rule."""
    cursor = cast(sqlite3.Cursor, gate.connection.cursor())
    step = Step(cursor, now, order.claims, {}, {})
    counts = {"subjects": len(asked)}
    closure = None
    if order.grant is not None:
        closure, code = step.ready(lambda _: order.allowed, reads=False)
        if closure is None:
            refusing = step.refuse(order.kind, code, counts)
            return Changed(refusing.entry, refusing.code)
    else:
        subjects.register(cursor, asked, now)
    numbers, odd = step.number(asked)
    if closure is None:
        refused = {key: "subject.erased" for key in asked if odd.get(key) == subjects.ERASED}
    else:
        # That it rests already is no reason to refuse its resting.
        resting = {key for key, state in odd.items() if state == subjects.RESTRICTED and not order.lifted}
        refused = step.judge(closure, asked, {key: state for key, state in odd.items() if key not in resting})
    wanted, done = (subjects.ACTIVE, "lifted") if order.lifted else (subjects.RESTRICTED, "restricted")
    lines, salts = step.lines(asked, numbers, odd, refused, done)
    counts[done] = len(asked) - len(refused)
    codes = set(refused.values())
    outcome = done if not refused else "partial" if len(refused) < len(asked) else "refused"
    if outcome == "refused" and len(codes) == 1:
        outcome = f"refused:{codes.pop()}"
    entry = step.write(order.kind, outcome, counts, lines=lines, salts=salts)
    fresh = [key for key in asked if key not in refused and odd.get(key, subjects.ACTIVE) != wanted]
    for key in fresh:
        subjects.change(gate, key, wanted, now, order.reason)
    states.add(gate, [StateChange(key, wanted, now, order.reason, entry) for key in fresh])
    return Changed(entry, refused=refused)

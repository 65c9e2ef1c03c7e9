"""The steps of an erasure on SQLite, inside one transaction on each file. sql/75_erase.sql is the same rule."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa

from vaultstore.audit import erase_line
from vaultstore.audit.lines import ERASED, LINE_SIZE
from vaultstore.canonical import canonical_json
from vaultstore.gate.claims import Claims
from vaultstore.gate.scopes import pack_pairs, unpack_pairs
from vaultstore.gate.sqlite_steps import Step
from vaultstore.lifecycle.records import id_of
from vaultstore.records import cases, erasures, keyring, states, subject_lines, subjects
from vaultstore.records.base import rfc3339
from vaultstore.records.entries import vs_entries
from vaultstore.records.erasures import ENTRY, StoredAct, body_digest
from vaultstore.records.limits import vs_charges, vs_limits
from vaultstore.records.states import StateChange
from vaultstore.records.subjects import vs_subjects

if TYPE_CHECKING:
    from vaultstore.lifecycle.erasure import Order

__all__ = ["FORMAT", "Done", "close_case", "erase", "operator_claims"]

FORMAT = "vaultstore/erasure/v1"
"""Of an act's body: docs/formats/certificate.md."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an order: a refusal's code, or the acts."""

    code: str | None
    acts: tuple[StoredAct, ...] = ()
    new: bool = False


def operator_claims(now: datetime, name: str, case: str | None = None) -> Claims:
    """What stands in the log for an operator, who has no token."""
    return Claims(
        jti="operator",
        actor=name,
        role="operator",
        attributes={},
        purpose="privacy.erasure",
        digest="",
        issued_at=now,
        expires_at=now,
        case=case,
        subjects=None,
    )


def erase(members: sa.Connection, gate: sa.Connection, key: bytes, order: Order, now: datetime) -> Done:
    """Erase a subject, or finish what was left of it."""
    if order.grant is None:
        subjects.ensure(gate, [key], now)
    step = Step(cast(sqlite3.Cursor, gate.connection.cursor()), now, order.claims, {}, {})
    if order.grant is not None:
        code = _refused(step, key, order)
        if code is not None:
            step.refuse(ENTRY, code, {})
            return Done(code)
    known = erasures.acts(gate, key)
    act = _act(members, gate, step, key, order, known, None)
    return Done(None, (*known, *((act,) if act else ())), act is not None)


def close_case(
    members: sa.Connection, gate: sa.Connection, case_id: str, order: Order, now: datetime
) -> list[bytes] | None:
    """Close a case and let go of what it held: of whom; None where there is no such open case."""
    if not cases.close(gate, case_id, now):
        return None
    whom = erasures.subjects_held_by(gate, case_id)
    order = replace(order, reason="the case that held it was closed", claims=operator_claims(now, "operator", case_id))
    step = Step(cast(sqlite3.Cursor, gate.connection.cursor()), now, order.claims, {}, {})
    for key in whom:
        _act(members, gate, step, key, order, erasures.acts(gate, key), case_id)
    return whom


def _refused(step: Step, key: bytes, order: Order) -> str | None:
    closure, code = step.ready(lambda _: order.allowed, reads=False)
    if closure is None:
        return code
    # One that is erased already is erased again: that finishes what was left, and harms nothing.
    odd = {subject: state for subject, state in step.odd([key]).items() if state != subjects.ERASED}
    return step.judge(closure, [key], odd).get(key)


def _act(
    members: sa.Connection,
    gate: sa.Connection,
    step: Step,
    key: bytes,
    order: Order,
    known: Sequence[StoredAct],
    closing: str | None,
) -> StoredAct | None:
    """Do it, and write it down; None where there was nothing to do but what an earlier act has said."""
    now = step.now
    if known:
        held = erasures.release(gate, key)
    else:
        held = erasures.holders(gate, key)
        erasures.hold(gate, key, held)
        if subjects.lock(gate, key) != subjects.ERASED:
            subjects.change(gate, key, subjects.ERASED, now, order.reason)
    scopes = {scope for scope, _ in held}
    gone = keyring.destroy(members, key, but=scopes)
    left = keyring.count_by_scope(members, key)
    told = _rows(members, key, order, scopes)
    states.show(members, [key])
    log = _log(gate, key)
    gate.execute(vs_charges.update().where(vs_charges.c.unit == key).values(unit=sa.func.randomblob(16)))
    name = str(id_of(key))
    gate.execute(vs_limits.delete().where(sa.func.length(vs_limits.c.holder) == 36, vs_limits.c.holder == name))
    if any(not act.finished for act in known):
        gone, told = {}, [(act, {**each, "rows": 0}) for act, each in told]  # as an act that was cut short has said
    more = gone or log["lines"] or log["acts"] or any(act == "delete" and each["rows"] for act, each in told)
    if known and closing is None and not more:
        return None
    number = len(known) + 1
    last = gate.execute(sa.select(vs_subjects.c.number).where(vs_subjects.c.subject == key)).scalar_one()
    report = {"kept": [], "not_declared": []} if order.plan is None else order.plan.report
    ends = order.retention.horizon(now)
    kind = "erased" if not known else "again" if closing is None else "released"
    body = canonical_json({
        "format": FORMAT,
        "act": kind,
        "number": number,
        "subject": name,
        "at": rfc3339(now),
        "reason": order.reason,
        "case": closing,
        "nonce": str(uuid.uuid4()),
        "keys": [{"category": each, "count": len(ids), "ids": sorted(ids)} for each, ids in sorted(gone.items())],
        "held": [
            {"case": case, "scope": str(id_of(scope)), "keys": left.get(scope, 0)} for scope, case in sorted(held)
        ],
        "blanked": [each for act, each in told if act == "blank"],
        "deleted": [{n: v for n, v in each.items() if n != "columns"} for act, each in told if act == "delete"],
        **report,
        "log": {**log, "last": last},
        "horizon": {kind: None if end is None else rfc3339(end) for kind, end in ends.items()},
    }).decode()  # fmt: skip
    entry = step.write(ENTRY, kind, {"keys": sum(map(len, gone.values()))}, field=body_digest(body))
    own = (vs_entries.c.id == entry) & (vs_entries.c.actor == name)
    gate.execute(vs_entries.update().where(own).values(actor=""))
    act = StoredAct(key, number, now, entry, body, False)
    erasures.add(gate, act)
    if not known:
        states.add(gate, [StateChange(key, subjects.ERASED, now, order.reason, entry)])
    return act


def _rows(
    members: sa.Connection, key: bytes, order: Order, held: Collection[bytes]
) -> list[tuple[str, dict[str, Any]]]:
    """Run what the models declare: (what was done, what a certificate says of it)."""
    if order.plan is None:
        return []
    done: list[tuple[str, dict[str, Any]]] = []
    for step, statement in order.plan.statements(id_of(key), [id_of(scope) for scope in held]):
        told = step.told()
        done.append((told.pop("act"), {**told, "rows": members.execute(statement).rowcount}))
    return done


def _log(gate: sa.Connection, key: bytes) -> dict[str, int]:
    """Take a subject out of the audit log: how many entries and lines, and how many acts lost the actor's name."""
    c = vs_entries.c
    entries = lines = 0
    for seq in sorted({*subject_lines.entries_of(gate, key), *subject_lines.waiting_of(gate, key)}):
        query = sa.select(c.lines, c.outcomes, c.leaf, c.scopes).where(c.seq == seq)
        stored, told, leaf, scopes = gate.execute(query).one()
        outcomes = json.loads(told)
        kept = erase_line(stored, outcomes, json.loads(leaf)["categories"], key)
        number = _erased_in(kept) - _erased_in(stored)
        if number == 0:
            continue
        used = set(kept[LINE_SIZE - 1 :: LINE_SIZE])
        values: dict[str, Any] = {
            "lines": kept,
            "outcomes": json.dumps([outcome if at in used else "" for at, outcome in enumerate(outcomes)]),
        }
        if scopes is not None:
            values["scopes"] = pack_pairs(sorted(pair for pair in unpack_pairs(scopes) if pair[0] != key))
        gate.execute(vs_entries.update().where(c.seq == seq).values(**values))
        entries, lines = entries + 1, lines + number
    subject_lines.forget(gate, key)
    own = (sa.func.length(c.actor) == 36) & (c.actor == str(id_of(key)))
    acts = gate.execute(vs_entries.update().where(own).values(actor="")).rowcount
    return {"entries": entries, "lines": lines, "acts": acts}


def _erased_in(lines: bytes) -> int:
    return lines[LINE_SIZE - 1 :: LINE_SIZE].count(ERASED)

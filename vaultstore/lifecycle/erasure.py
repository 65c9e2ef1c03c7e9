"""Erasure: a member's keys, rows and audit lines go in one transaction, and an act that says so is kept for ever.

PostgreSQL does all of it in functions of the database, so that a service erases under its own login, with a token, and
has no right to any of the tables. Embedded there are two files: the gate's commits first, and a process that dies in
between leaves an act that is marked as unfinished; the next erasure, or the next opening of the store, finishes it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.gate.claims import Claims
from vaultstore.gate.refusals import denial, refusal
from vaultstore.grants import Grant
from vaultstore.lifecycle import erasure_steps
from vaultstore.lifecycle.journal import Journal, NoJournal
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.records import Registry, id_of
from vaultstore.lifecycle.retention import Retention
from vaultstore.orm.erasing import ErasurePlan, plan_of
from vaultstore.orm.role import NOT_PRIVILEGED, sqlstate
from vaultstore.records import erasures
from vaultstore.records.erasures import StoredAct

__all__ = ["PURPOSE", "Erased", "Order", "close_case", "erase", "finish_interrupted", "order_of"]

PURPOSE = "privacy.erasure"
"""The purpose that erases others; a purpose whose tokens name the actor's own subject erases that one."""


@dataclass(frozen=True)
class Erased:
    """What was destroyed, and what is left of a subject. A repeated erasure gives the same acts."""

    subject: uuid.UUID
    acts: tuple[StoredAct, ...]
    """The erasure, then what open cases held, as each closed, and what a repetition found to have come since."""
    new: bool
    """Whether this call did it; False: it had been done, and nothing was left to do but what is harmless."""

    @property
    def at(self) -> datetime:
        """When the subject was erased."""
        return self.acts[0].at

    @property
    def entry(self) -> str:
        """The audit entry of the erasure."""
        return self.acts[0].entry

    @cached_property
    def bodies(self) -> tuple[Mapping[str, Any], ...]:
        """What each act says, as JSON data (docs/formats/certificate.md)."""
        return tuple(json.loads(act.body) for act in self.acts)

    @property
    def keys(self) -> int:
        """How many data keys were destroyed, all acts together."""
        return sum(each["count"] for body in self.bodies for each in body["keys"])

    @property
    def held(self) -> Sequence[Mapping[str, Any]]:
        """What open cases still hold: case, scope, and how many keys."""
        still: Sequence[Mapping[str, Any]] = self.bodies[-1]["held"]
        return still


@dataclass(frozen=True, slots=True)
class Order:
    """Who has a subject erased, and why."""

    claims: Claims
    reason: str
    grant: Grant | None = field(default=None, repr=False)
    """None: an operator, who has every right on the gate's tables anyway."""
    plan: ErasurePlan | None = None
    """What the models declare; None: nothing is known of models."""
    retention: Retention = field(default_factory=Retention)
    journal: Journal = field(default_factory=NoJournal)

    @property
    def allowed(self) -> bool:
        """Whether the purpose is one that erases."""
        purpose = None if self.grant is None else self.grant.purpose
        return purpose is None or purpose.name == PURPOSE or purpose.requires.subjects == "self"


def order_of(
    now: datetime, parts: Parts | None, *, reason: str, grant: Grant | None = None, operator: str = "operator"
) -> Order:
    """An order under a grant, or of the operator of that name. Raises UnsupportedOperation without a reason."""
    if not reason.strip():
        raise UnsupportedOperation("an erasure says why: the certificate repeats it")
    claims = erasure_steps.operator_claims(now, operator) if grant is None else Claims.of(grant)
    if parts is None:
        return Order(claims, reason, grant)
    return Order(claims, reason, grant, plan_of(parts.models), parts.retention, parts.journal)


def erase(registry: Registry, key: bytes, order: Order) -> Erased:
    """Erase a subject, or finish what was left of it; audited whatever comes of it.

    Raises what the gate refuses the order's token, AccessDenied where its purpose erases nobody, and
    UnsupportedOperation where the database was published for other models.
    """
    now = registry.now
    with registry.erasing() as (members, gate):
        if gate.dialect.name == "postgresql":
            done = _by_function(gate, key, order, now)
        else:
            done = erasure_steps.erase(members, gate, key, order, now)
        if done.code is None:
            order.journal.append("erase", connection=gate, subject=id_of(key), at=now, reason=order.reason)
    if done.code == "erasure.rules":
        raise UnsupportedOperation(
            "the database does not know these models' rules of erasure: publish them, `vaultstore policy publish`"
            " or `policy apply`"
        )
    if done.code is not None:
        if done.code.startswith("subject."):
            raise denial(done.code, order.claims, "use", "the erasure", key)
        raise refusal(done.code, order.claims, "use", "the erasure of the subject")
    if gate.dialect.name == "sqlite":
        with registry.gate() as connection:
            erasures.finish(connection, key)
    return Erased(id_of(key), tuple(replace(act, finished=True) for act in done.acts), done.new)


def close_case(registry: Registry, case_id: str, order: Order) -> list[uuid.UUID] | None:
    """Close a case, and let go of what it held of erased subjects: whose it was; None where it is not open."""
    now = registry.now
    with registry.erasing() as (members, gate):
        if gate.dialect.name == "postgresql":
            horizon = json.dumps(_horizon(order.retention, now))
            query = "SELECT vs_close_case(%s::text, %s::jsonb)::text"
            answer = json.loads(gate.exec_driver_sql(query, (case_id, horizon)).scalar_one())
            keys = None if "code" in answer else [uuid.UUID(each).bytes for each in answer["released"]]
        else:
            keys = erasure_steps.close_case(members, gate, case_id, order, now)
        if keys is not None:
            order.journal.append("close", connection=gate, case=case_id, at=now)
    if keys and gate.dialect.name == "sqlite":
        with registry.gate() as connection:
            for key in keys:
                erasures.finish(connection, key)
    return None if keys is None else [id_of(key) for key in keys]


def finish_interrupted(registry: Registry, parts: Parts) -> int:
    """Finish erasures whose process died between the commits of the two SQLite files; how many there were."""
    file = parts.gate_engine.url.database or ""
    # To look must not make a file, nor wait for whoever writes.
    if parts.gate_engine.dialect.name != "sqlite" or not Path(file).exists():
        return 0
    with parts.gate_engine.connect() as connection:
        there = sa.inspect(connection).has_table(erasures.vs_erasures.name)
        left = erasures.unfinished(connection) if there else []
    for key in left:
        erase(registry, key, order_of(registry.now, parts, reason="finished after an interruption"))
    return len(left)


def _by_function(gate: sa.Connection, key: bytes, order: Order, now: datetime) -> erasure_steps.Done:
    horizon = json.dumps(_horizon(order.retention, now))
    rules = None if order.plan is None else order.plan.digest
    name, who = ("vs_erase", order.claims.json)
    if order.grant is None:
        name, who = ("vsx_erase_as_operator", order.claims.actor)
    query = f"SELECT {name}(%s, %s::uuid, %s::text, %s::jsonb, %s::text)::text"
    query = query.replace("(%s,", "(%s::jsonb," if order.grant is not None else "(%s::text,", 1)
    try:
        text: Any = gate.exec_driver_sql(query, (who, id_of(key), order.reason, horizon, rules)).scalar_one()
    except sa.exc.ProgrammingError as error:
        # With a context it was refused within the function, which is for whoever keeps the database to mend.
        context = getattr(getattr(error.orig, "diag", None), "context", None)
        if sqlstate(error) != NOT_PRIVILEGED or context is not None:
            raise
    else:
        answer = json.loads(text)
        acts = tuple(
            StoredAct(key, number, datetime.fromisoformat(at), entry, body, True)
            for number, at, entry, body in answer.get("acts") or ()
        )
        return erasure_steps.Done(answer.get("code"), acts, answer.get("new", False))
    if order.grant is None:
        raise UnsupportedOperation("this database login may not erase: give it a token, or let an operator do it")
    raise AccessDenied("this database login serves no purpose that erases", reason="not.granted")


def _horizon(retention: Retention, now: datetime) -> dict[str, float | None]:
    """Kind of copy -> how many seconds one lives; the database adds them to its own time."""
    ends = retention.horizon(now).items()
    return {kind: None if end is None else (end - now).total_seconds() for kind, end in ends}

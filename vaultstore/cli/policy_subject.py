"""How one member stands to a purpose: their state, their consent, the cases that name them. No sensitive value is read.

These are the gate's own tables, looked at without asking the gate: nothing is charged, and no audit entry is written,
because nothing is disclosed. What depends on who asks (role, token, limits, row scope) is told as a condition.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from vaultstore.errors import SettingsError
from vaultstore.orm.engines import gate_engine, members_engine
from vaultstore.policy import BoundPolicy, Purpose
from vaultstore.records import consents
from vaultstore.records.approvals import subjects_digest, vs_approvals, vs_requests
from vaultstore.records.canaries import is_canary
from vaultstore.records.cases import vs_case_subjects, vs_cases
from vaultstore.records.purposes import vs_purposes
from vaultstore.records.subjects import ERASED, RESTRICTED, vs_subjects

__all__ = ["Standing", "gate_tables", "standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the gate's records say of one subject under one purpose."""

    facts: tuple[str, ...]
    refusals: tuple[tuple[str, str], ...]
    """(the gate's code, why): each of them refuses every token there is."""
    conditions: tuple[str, ...]
    """What a token has to bring where nothing refuses."""


@contextmanager
def gate_tables(database: str) -> Iterator[sa.Connection]:
    """The database that the gate of the store at this URL decides by. Raises SettingsError where there is none."""
    url = sa.make_url(database)
    if url.get_backend_name() == "sqlite":
        gate = Path(url.database or "").with_name("gate.db")
        if not gate.exists():
            raise SettingsError(f"{gate} is missing: this store is not whole")
    with ExitStack() as resources:
        engine = gate_engine(members_engine(database, resources), None, resources)
        yield resources.enter_context(engine.connect())


def standing(connection: sa.Connection, bound: BoundPolicy, name: str, subject: uuid.UUID) -> Standing:
    """How `subject` stands to the purpose called `name` now."""
    purpose, now, key = bound.purpose(name), datetime.now(UTC), subject.bytes
    told = _Told()
    _published(connection, bound, name, told)
    _state(connection, purpose, key, told)
    for kind in bound.consents(name):
        _consent(connection, kind, key, now, told)
    if purpose.requires.case:
        _cases(connection, key, told)
    if purpose.requires.approvals:
        _approvals(connection, purpose, key, now, told)
    if purpose.requires.subjects:
        who = "of the member's own" if purpose.requires.subjects == "self" else "that names the member"
        told.conditions.append(f"a token {who}")
    return Standing(tuple(told.facts), tuple(told.refusals), tuple(told.conditions))


class _Told:
    def __init__(self) -> None:
        self.facts: list[str] = []
        self.refusals: list[tuple[str, str]] = []
        self.conditions: list[str] = []


def _published(connection: sa.Connection, bound: BoundPolicy, name: str, told: _Told) -> None:
    query = sa.select(vs_purposes.c.digest).where(vs_purposes.c.name == name)
    digest = connection.execute(query).scalar_one_or_none()
    if digest == bound.digest(name):
        return
    says = "this purpose is not published" if digest is None else "another version of this purpose is published"
    told.refusals.append(("policy.changed", f"{says}: the gate decides by what is"))


def _state(connection: sa.Connection, purpose: Purpose, key: bytes, told: _Told) -> None:
    query = sa.select(vs_subjects.c.state, vs_subjects.c.changed_at).where(vs_subjects.c.subject == key)
    row = connection.execute(query).one_or_none()
    if row is None:
        told.facts.append("state: not registered")
        told.refusals.append(("subject.unknown", "the member is not registered"))
        return
    told.facts.append(f"state: {row.state} since {row.changed_at:%Y-%m-%d %H:%M} UTC")
    if row.state == ERASED:
        told.refusals.append(("subject.erased", "the member's data keys were destroyed"))
    elif row.state == RESTRICTED and not purpose.requires.sees_restricted:
        told.refusals.append(("subject.restricted", "processing is restricted, and this purpose does not see that"))
    if not purpose.requires.sees_canaries and is_canary(connection, key):
        told.refusals.append(("subject.canary", "the member is not open to this purpose"))  # as the gate words it


def _consent(connection: sa.Connection, kind: str, key: bytes, now: datetime, told: _Told) -> None:
    given = [consent for consent in consents.history(connection, key) if consent.kind == kind]
    if not given:
        told.facts.append(f"consent {kind}: never given")
    for one in given:
        until = f"withdrawn {one.withdrawn_at:%Y-%m-%d %H:%M} UTC" if one.withdrawn_at else "holds"
        told.facts.append(f"consent {kind}: given {one.granted_at:%Y-%m-%d}, notice {one.notice_version}; {until}")
    if not any(one.withdrawn_at is None and one.granted_at <= now for one in given):
        told.refusals.append(("consent.missing", f"the member has not given the consent {kind}"))


def _cases(connection: sa.Connection, key: bytes, told: _Told) -> None:
    query = (
        sa.select(vs_cases.c.id, vs_cases.c.kind, vs_cases.c.assigned_to)
        .join(vs_case_subjects, vs_case_subjects.c.case_id == vs_cases.c.id)
        .where(vs_case_subjects.c.subject == key, vs_cases.c.closed_at.is_(None))
        .order_by(vs_cases.c.opened_at, vs_cases.c.id)
    )
    found = connection.execute(query).all()
    told.facts += [f"open case {row.id} ({row.kind}): assigned to {row.assigned_to}" for row in found]
    if not found:
        told.refusals.append(("case.missing", "no open case names the member"))
    else:
        told.conditions.append("a token for such a case, of the actor it is assigned to")


def _approvals(connection: sa.Connection, purpose: Purpose, key: bytes, now: datetime, told: _Told) -> None:
    """Requests are kept with a digest of their subjects: those for this member alone, or for any, can be recognised."""
    r, a, needed = vs_requests.c, vs_approvals.c, purpose.requires.approvals
    others = sa.func.count(a.approver).filter(a.approver != r.requested_by)
    query = (
        sa.select(r.id, r.requested_by, r.case_id, r.expires_at, others.label("approved"))
        .join_from(vs_requests, vs_approvals, a.request == r.id, isouter=True)
        .where(r.purpose == purpose.name, r.expires_at > now)
        .where(r.subjects.in_([subjects_digest(None), subjects_digest([key])]))
        .group_by(r.id, r.requested_by, r.case_id, r.expires_at)
        .order_by(r.id)
    )
    found = connection.execute(query).all()
    for row in found:
        of_case = f" for case {row.case_id}" if row.case_id else ""
        until = f"until {row.expires_at:%Y-%m-%d %H:%M} UTC"
        told.facts.append(
            f"request {row.id} of {row.requested_by}{of_case}: {row.approved} of {needed} approvals, {until}"
        )
    if not any(row.approved >= needed for row in found):
        reason = f"no request for this member alone has {needed} approvals (one for several members is not looked into)"
        told.refusals.append(("approval.missing", reason))
    else:
        told.conditions.append("a token for exactly what such a request asks, of the actor who made it")

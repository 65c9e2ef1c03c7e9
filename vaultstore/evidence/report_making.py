"""Who may have a report, and the entry that says that one was made."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from vaultstore.audit import Line, build_entry
from vaultstore.audit.log import AuditLog
from vaultstore.errors import AccessDenied, ApprovalMissing, NotDisclosed, SubjectErased, SubjectRestricted
from vaultstore.evidence.report import MAKING, Report, Words, build_report
from vaultstore.evidence.report_source import FunctionSource, TableSource, ask_report
from vaultstore.gate.claims import Claims
from vaultstore.gate.refusals import refusal
from vaultstore.grants import Grant
from vaultstore.keys import Signer
from vaultstore.records import pseudonyms, subjects
from vaultstore.records.cases import vs_case_subjects, vs_cases
from vaultstore.records.entries import vs_entries
from vaultstore.records.log import vs_pending
from vaultstore.records.subjects import vs_subjects
from vaultstore.signed_note import Note

__all__ = ["DESK", "Maker", "Records", "make_report"]

DESK = "privacy.request"
"""The purpose under which reports are made for others."""


class Records(Protocol):
    """The gate's tables and its clock: both ledgers are one."""

    @property
    def now(self) -> datetime:
        """The time by the clock that decides."""

    def gate(self) -> AbstractContextManager[sa.Connection]:
        """A transaction on the tables that the gate decides by."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Who has a report made. `grant` is None for an operator, who has every right on the database anyway."""

    actor: str
    role: str
    purpose: str
    jti: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    case: str | None = None
    grant: Grant | None = field(default=None, repr=False)

    @classmethod
    def of(cls, grant: Grant) -> Maker:
        """Whoever holds a token. That it is live is for the gate to say first (`Gate.check`)."""
        who = grant.actor
        return cls(who.id, who.role, grant.purpose.name, grant.jti, who.attributes, grant.case, grant)

    @classmethod
    def operator(cls, name: str) -> Maker:
        """Who runs the store's machines, by the name that the audit log is to have."""
        return cls(name, "operator", DESK, "operator")


def make_report(
    records: Records,
    log: AuditLog,
    engine: sa.Engine,
    signer: Signer,
    words: Words,
    subject: uuid.UUID,
    maker: Maker,
) -> Report:
    """Make the report of `subject` for `maker`; that it was made, or refused, is audited first.

    Raises SubjectErased, NotDisclosed (nobody is registered by this id, or the token does not reach them),
    ApprovalMissing (no case), SubjectRestricted, AccessDenied.
    """
    if maker.grant is not None and engine.dialect.name == "postgresql":
        return _by_functions(records, log.origin, engine, signer, words, subject, maker.grant)
    now = records.now
    with records.gate() as connection:
        state = subjects.lock(connection, subject.bytes)
        denial = _denial(connection, maker, subject, state)
        last = _audit(connection, maker, subject, state, None if denial is None else denial.reason, now)
    if denial is not None:
        raise denial
    checkpoint = log.latest()
    with engine.connect() as connection:
        return build_report(
            TableSource(connection, subject.bytes),
            subject,
            origin=log.origin,
            checkpoint=checkpoint,
            last=last,
            now=now,
            words=words,
            signer=signer,
        )


def _by_functions(
    records: Records,
    origin: str,
    engine: sa.Engine,
    signer: Signer,
    words: Words,
    subject: uuid.UUID,
    grant: Grant,
) -> Report:
    """The same by the database's functions: a service's login has no right to the log's tables."""
    claims = Claims.of(grant)
    answer = ask_report(engine, claims, subject)
    if answer.code is not None:
        raise _denied(answer.code, grant, subject) or refusal(answer.code, claims, "report on", f"subject {subject}")
    return build_report(
        FunctionSource(engine, claims, answer.entry),
        subject,
        origin=origin,
        checkpoint=None if answer.checkpoint is None else Note.parse(answer.checkpoint),
        last=answer.last,
        now=records.now,
        words=words,
        signer=signer,
    )


def _denial(connection: sa.Connection, maker: Maker, subject: uuid.UUID, state: str | None) -> AccessDenied | None:
    """Why this maker gets no report of this subject, or None."""
    grant = maker.grant
    code = None if grant is None else _not_granted(connection, grant, subject, state)
    if code is None and state in (None, subjects.ERASED):
        code = "subject.unknown" if state is None else "subject.erased"
    return None if code is None else _denied(code, grant, subject)


def _not_granted(connection: sa.Connection, grant: Grant, subject: uuid.UUID, state: str | None) -> str | None:
    """The code that refuses this grant, or None; vs_report on PostgreSQL does the same."""
    purpose, needs = grant.purpose, grant.purpose.requires
    if needs.subjects != "self" and purpose.name != DESK:
        return "not.granted"
    if (needs.subjects is not None or grant.subjects is not None) and subject not in (grant.subjects or ()):
        return "subject.not_named"
    if needs.case and not _on_case(connection, grant, subject):
        return "case.missing"
    return "subject.restricted" if state == subjects.RESTRICTED and not needs.sees_restricted else None


def _denied(code: str, grant: Grant | None, subject: uuid.UUID) -> AccessDenied | None:
    """The error of a code of ours; None for others."""
    who, purpose = ("", "") if grant is None else (grant.actor.id, grant.purpose.name)
    known: dict[str, tuple[type[AccessDenied], str]] = {
        "not.granted": (
            AccessDenied,
            (
                f"{purpose} makes no reports: a member has their own, under a purpose with `subjects: self`, and"
                f" {DESK} makes them for others"
            ),
        ),
        "subject.not_named": (NotDisclosed, f"the token does not name subject {subject}"),
        "case.missing": (ApprovalMissing, f"no open case of {who} names subject {subject}"),
        "subject.restricted": (
            SubjectRestricted,
            f"processing of subject {subject} is restricted, and {purpose} does not see that",
        ),
        "subject.unknown": (NotDisclosed, f"no subject {subject} is registered"),
        "subject.erased": (
            SubjectErased,
            (
                f"subject {subject} was erased: the audit log no longer knows which lines were theirs, so there is no"
                " report; the certificate of erasure is what there is"
            ),
        ),
    }
    if code not in known:
        return None
    kind, text = known[code]
    return kind(text, reason=code, subject=subject)


def _on_case(connection: sa.Connection, grant: Grant, subject: uuid.UUID) -> bool:
    query = (
        sa.select(sa.literal(1))
        .select_from(vs_cases.join(vs_case_subjects, vs_case_subjects.c.case_id == vs_cases.c.id))
        .where(vs_cases.c.id == grant.case, vs_cases.c.assigned_to == grant.actor.id)
        .where(vs_cases.c.closed_at.is_(None), vs_case_subjects.c.subject == subject.bytes)
    )
    return connection.execute(query).first() is not None


def _audit(
    connection: sa.Connection, maker: Maker, subject: uuid.UUID, state: str | None, code: str | None, now: datetime
) -> int:
    """Write down that the report is made or refused; the subject's last number, which is this entry's."""
    number = 0
    if state is not None and state != subjects.ERASED:
        advance = (
            vs_subjects.update()
            .where(vs_subjects.c.subject == subject.bytes)
            .values(number=vs_subjects.c.number + 1)
            .returning(vs_subjects.c.number)
        )
        number = connection.execute(advance).scalar_one()
    # Of an erased subject nothing is written down that names them.
    lines = [] if state == subjects.ERASED else [Line(subject.bytes, number, code or "reported")]
    entry = build_entry(
        id=str(uuid.uuid4()),
        time=now,
        kind=MAKING,
        actor=pseudonyms.pseudonym(pseudonyms.key_of(connection), maker.actor),
        role=maker.role,
        attributes=maker.attributes,
        purpose=maker.purpose,
        jti=maker.jti,
        case=maker.case,
        model=None,
        categories=(),
        counts={"subjects": 1},
        outcome="reported" if code is None else f"refused:{code}",
        lines=lines,
        salts=os.urandom(32 * len(lines)),
    )
    _append(connection, entry.id, now, maker.actor, entry.leaf, entry.lines, entry.outcomes)
    return number


def _append(
    connection: sa.Connection,
    entry_id: str,
    time: datetime,
    actor: str,
    leaf: str,
    lines: bytes,
    outcomes: tuple[str, ...],
) -> None:
    values = {"id": entry_id, "time": time, "kind": MAKING, "actor": actor, "leaf": leaf, "lines": lines}
    written = vs_entries.insert().values(**values, outcomes=json.dumps(outcomes)).returning(vs_entries.c.seq)
    connection.execute(vs_pending.insert().values(seq=connection.execute(written).scalar_one()))

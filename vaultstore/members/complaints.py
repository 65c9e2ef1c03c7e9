"""Complaints: a case opens within one call, and the promise runs: contact within 24 hours, a plan within 48.

The case is what lets its agent at the member's care card (purpose ``care.complaint``), until it is closed. What was
complained about stands elsewhere: a complaint has a kind, times and a store.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import select

from vaultstore import Store
from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.members.models import Complaint, Member

__all__ = ["KINDS", "ComplaintOpened", "Complaints", "Overdue"]

PURPOSE = "care.intake"
CASE = "complaint"

KINDS = ("calls", "conduct", "data", "fraud", "refund", "other")
"""What a complaint can be about."""

CONTACT_WITHIN = timedelta(hours=24)
PLAN_WITHIN = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class ComplaintOpened:
    """A complaint that was taken: `case` is what a token of ``care.complaint`` names."""

    case: str
    member: uuid.UUID
    store: str
    contact_due: datetime
    plan_due: datetime


@dataclass(frozen=True, slots=True)
class Overdue:
    """A promise that was not kept in time."""

    case: str
    store: str
    agent: str
    what: Literal["contact", "plan"]
    due: datetime


class Complaints:
    """Takes complaints and follows them up. Every method takes an agent's token of ``care.intake``."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store, self._clock = store, clock

    def __repr__(self) -> str:
        return "<Complaints>"

    def open(self, token: str, member: uuid.UUID, *, kind: str) -> ComplaintOpened:
        """Take a complaint of `member`: the case is open, and assigned to the agent who holds the token.

        Raises AccessDenied (``member.missing``: nobody of this id), UnsupportedOperation for a kind that is none.
        """
        if kind not in KINDS:
            raise UnsupportedOperation(f"a complaint is about one of {', '.join(KINDS)}")
        agent, now, case = self._store.verify(token).actor.id, self._clock(), uuid.uuid4()
        with self._store.begin(token) as session:
            store = session.scalar(select(Member.store).where(Member.id == member))
            if store is None:
                raise AccessDenied(f"there is no member {member}", reason="member.missing", subject=member)
            session.add(
                Complaint(
                    id=case,
                    member_id=member,
                    store=store,
                    agent=agent,
                    kind=kind,
                    opened_at=now,
                    contact_due=now + CONTACT_WITHIN,
                    plan_due=now + PLAN_WITHIN,
                )
            )
            session.flush()
            # Before the row commits: a complaint without its case would have nobody to look at it.
            self._store.cases.open(CASE, assigned_to=agent, subjects=[member], case_id=str(case))
        return ComplaintOpened(str(case), member, store, now + CONTACT_WITHIN, now + PLAN_WITHIN)

    def contacted(self, token: str, case: str) -> None:
        """Note that the member was spoken to; the first time counts."""
        self._note(token, case, "contacted_at")

    def planned(self, token: str, case: str) -> None:
        """Note that the member was told what will be done; the first time counts."""
        self._note(token, case, "planned_at")

    def close(self, token: str, case: str) -> None:
        """End a complaint: its case lets nobody in any more."""
        self._note(token, case, "closed_at")
        found = self._store.cases.get(case)
        if found is not None and found.closed_at is None:
            self._store.cases.close(case)

    def overdue(self, token: str, at: datetime | None = None) -> dict[str, list[Overdue]]:
        """Store -> promises that are not kept at that time [now], the longest overdue first."""
        now = at or self._clock()
        query = select(Complaint).where(Complaint.closed_at.is_(None), Complaint.contact_due <= now)
        found: dict[str, list[Overdue]] = {}
        with self._store.session(token) as session:
            for one in sorted(_overdue(session.scalars(query), now), key=lambda each: each.due):
                found.setdefault(one.store, []).append(one)
        return dict(sorted(found.items()))

    def _note(self, token: str, case: str, what: Literal["contacted_at", "planned_at", "closed_at"]) -> None:
        agent = self._store.verify(token).actor.id
        with self._store.begin(token) as session:
            try:
                found = session.get(Complaint, uuid.UUID(case), with_for_update=True)
            except ValueError:
                found = None
            if found is None or found.agent != agent:
                raise AccessDenied(f"{agent} has no complaint {case}", reason="case.missing")
            if getattr(found, what) is None:
                setattr(found, what, self._clock())


def _overdue(complaints: Iterable[Complaint], now: datetime) -> Iterable[Overdue]:
    for one in complaints:
        if one.contacted_at is None and one.contact_due <= now:
            yield Overdue(str(one.id), one.store, one.agent, "contact", one.contact_due)
        if one.planned_at is None and one.plan_due <= now:
            yield Overdue(str(one.id), one.store, one.agent, "plan", one.plan_due)

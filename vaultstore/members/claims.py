"""Claims: whose lead a member is. Matchmakers show their tokens to the lead desk, and the desk writes it down.

How many claims a day are the policy's to say (`limits: claim`), and the gate's to count. A claim is written and counted
before it is committed: who is over the limit has no lead, and of two who want the same member one has it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy import CursorResult, Update, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from vaultstore import Store
from vaultstore.errors import AccessDenied
from vaultstore.members.models import Lead, Member

__all__ = ["Claim", "Claims", "LeadRules"]

DESK = "sales.desk"
POOLS = ("sales.pool", "sales.city")
MANAGE = "sales.manage"

_GRADES = MappingProxyType({"X": frozenset("ABCD"), "Y": frozenset("BCD"), "Z": frozenset("CD")})


@dataclass(frozen=True, slots=True)
class LeadRules:
    """What is the house's to say and not the policy's: how long a lead is held, and who may claim which grades."""

    hold: timedelta = timedelta(days=7)
    grades: Mapping[str, frozenset[str]] = field(default_factory=lambda: _GRADES)
    """Rank of a matchmaker (the attribute ``rank`` of their token) -> grades of leads. No rank: none."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lead that somebody holds."""

    lead: uuid.UUID
    member: uuid.UUID
    actor: str
    store: str
    expires_at: datetime


class Claims:
    """The lead desk. `desk` gives a token of ``sales.desk``; it is asked for each act, and may be the same for long.

    `out` says which of some members are in no pool (suppressed, blocked), as for `Pools`.
    """

    def __init__(
        self,
        store: Store,
        desk: Callable[[], str],
        *,
        rules: LeadRules | None = None,
        out: Callable[[Sequence[uuid.UUID]], set[uuid.UUID]] = lambda members: set(),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._desk, self._rules, self._out, self._clock = store, desk, rules or LeadRules(), out, clock

    def __repr__(self) -> str:
        return "<Claims>"

    def claim(self, token: str, member: uuid.UUID) -> Claim:
        """Make `member` a lead of the matchmaker who holds `token` (of a pool's purpose), for `LeadRules.hold`.

        Raises AccessDenied: ``not.granted`` (no pool's token), ``pool.missing`` (not in that pool), ``lead.rank`` (a
        grade beyond the rank), ``lead.taken`` (somebody holds it), and what the gate refuses: BudgetExhausted,
        ConsentMissing, SubjectRestricted. Whatever is refused leaves nothing behind.
        """
        grant = self._store.verify(token)
        if grant.purpose.name not in POOLS:
            raise AccessDenied(f"{grant.purpose.name} claims no leads", reason="not.granted", subject=member)
        with self._store.session(token) as seen:
            found = seen.execute(select(Member.grade, Member.store).where(Member.id == member)).one_or_none()
        if found is None or self._out([member]):
            self._store.gate.check(grant)
            raise AccessDenied(f"member {member} is not in this pool", reason="pool.missing", subject=member)
        if found.grade not in self._rules.grades.get(grant.actor.attributes.get("rank", ""), frozenset()):
            raise AccessDenied(
                f"the rank of {grant.actor.id} does not claim leads of this grade", reason="lead.rank", subject=member
            )
        now = self._clock()
        lead = Lead(
            member_id=member,
            actor_id=grant.actor.id,
            store=grant.actor.attributes.get("store", found.store),
            state="open",
            claimed_at=now,
            expires_at=now + self._rules.hold,
        )
        try:
            with self._store.begin(self._desk()) as session:
                over = update(Lead).where(Lead.member_id == member, Lead.state == "open", Lead.expires_at <= now)
                session.execute(over.values(state="expired", ended_at=now))
                session.add(lead)
                session.flush()
                self._store.gate.charge(grant, "claim", "Member", member.bytes)
                claim = _claim(lead)
        except IntegrityError:
            taken = AccessDenied(f"somebody holds member {member} as a lead", reason="lead.taken", subject=member)
        else:
            return claim
        raise taken

    def held(self, token: str) -> list[Claim]:
        """The leads that the holder of `token` has open now, oldest first."""
        actor, now = self._live(token), self._clock()
        query = select(Lead).where(Lead.actor_id == actor, Lead.state == "open", Lead.expires_at > now)
        with self._store.session(self._desk()) as session:
            return [_claim(lead) for lead in session.scalars(query.order_by(Lead.claimed_at, Lead.id))]

    def give_back(self, token: str, member: uuid.UUID) -> None:
        """End one's own lead of `member`. Raises AccessDenied (``lead.missing``) where one has none."""
        actor = self._live(token)
        if not self._end(member, "returned", actor):
            raise AccessDenied(f"{actor} holds no lead of member {member}", reason="lead.missing", subject=member)

    def reassign(self, token: str, member: uuid.UUID, to: str) -> Claim:
        """Give an open lead of the manager's own store to the matchmaker `to`; counted and audited as ``assign``.

        Raises AccessDenied: ``not.granted`` (no token of ``sales.manage``), ``lead.missing``, what the gate refuses.
        """
        grant = self._store.verify(token)
        if grant.purpose.name != MANAGE:
            raise AccessDenied(f"{grant.purpose.name} reassigns no leads", reason="not.granted", subject=member)
        query = select(Lead.id, Lead.store).where(Lead.member_id == member, Lead.state == "open")
        with self._store.session(token) as seen:  # its row scope: the store's own leads
            found = seen.execute(query).one_or_none()
        missing = AccessDenied(
            f"there is no open lead of member {member} in this store", reason="lead.missing", subject=member
        )
        if found is None:
            raise missing
        now = self._clock()
        with self._store.begin(self._desk()) as session:
            old = update(Lead).where(Lead.id == found.id, Lead.state == "open")
            if not _changed(session, old.values(state="reassigned", ended_at=now)):  # meanwhile
                raise missing
            lead = Lead(
                member_id=member,
                actor_id=to,
                store=found.store,
                state="open",
                claimed_at=now,
                expires_at=now + self._rules.hold,
            )
            session.add(lead)
            session.flush()
            self._store.gate.charge(grant, "assign", "Member", member.bytes)
            return _claim(lead)

    def close(self, member: uuid.UUID) -> bool:
        """The member said no: end whatever lead there is of them. Whether there was one."""
        return self._end(member, "refused")

    def expire(self) -> int:
        """End the leads whose time is over; how many. What is over counts as ended anyhow: this tidies up."""
        now = self._clock()
        over = update(Lead).where(Lead.state == "open", Lead.expires_at <= now)
        with self._store.begin(self._desk()) as session:
            return _changed(session, over.values(state="expired", ended_at=now))

    def free(self, members: list[uuid.UUID]) -> list[uuid.UUID]:
        """Those of `members` whom nobody holds, in their order."""
        query = select(Lead.member_id).where(
            Lead.member_id.in_(members), Lead.state == "open", Lead.expires_at > self._clock()
        )
        with self._store.session(self._desk()) as session:
            held = set(session.scalars(query))
        return [member for member in members if member not in held]

    def _live(self, token: str) -> str:
        """Who holds the token, which the gate takes."""
        grant = self._store.verify(token)
        self._store.gate.check(grant)
        return grant.actor.id

    def _end(self, member: uuid.UUID, state: str, actor: str | None = None) -> bool:
        held = update(Lead).where(Lead.member_id == member, Lead.state == "open")
        if actor is not None:
            held = held.where(Lead.actor_id == actor)
        with self._store.begin(self._desk()) as session:
            return _changed(session, held.values(state=state, ended_at=self._clock())) > 0


def _changed(session: Session, statement: Update) -> int:
    """How many rows an UPDATE changed."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def _claim(lead: Lead) -> Claim:
    return Claim(lead.id, lead.member_id, lead.actor_id, lead.store, lead.expires_at)

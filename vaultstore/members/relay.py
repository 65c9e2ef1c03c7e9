"""Contact by relay: a seller asks for a call or text, and never sees the number. What is asked for waits in an outbox.

Every ground to refuse is looked at when the contact is asked for, so that the seller is told, and again by the worker
at the moment of sending (`relay_worker`), because a member may have said no in between.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import select

from vaultstore import Store
from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.members.models import ContactRequest, Member
from vaultstore.members.suppression import suppressed_among
from vaultstore.members.templates import Templates

__all__ = ["ContactRules", "Relay", "Requested"]

ASKS = "sales.outreach"


@dataclass(frozen=True, slots=True)
class ContactRules:
    """What is the house's to say and not the policy's: when nobody is contacted, and which texts are approved."""

    quiet_from: time = time(21)
    quiet_until: time = time(9)
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    templates: Templates = field(default_factory=Templates)

    def quiet(self, now: datetime) -> bool:
        """Whether nobody is contacted at `now`."""
        here = now.astimezone(self.timezone).time()
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= here < self.quiet_until
        return here >= self.quiet_from or here < self.quiet_until


@dataclass(frozen=True, slots=True)
class Requested:
    """What became of a contact that was asked for, as the seller is told."""

    id: uuid.UUID
    member: uuid.UUID
    channel: Literal["call", "text"]
    state: str
    reason: str | None = None


class Relay:
    """Takes contacts down. `desk` gives a token of ``relay.desk``."""

    def __init__(
        self,
        store: Store,
        desk: Callable[[], str],
        *,
        rules: ContactRules | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._desk, self._clock = store, desk, clock
        self.rules = rules or ContactRules()

    def __repr__(self) -> str:
        return "<Relay>"

    def request(
        self,
        token: str,
        member: uuid.UUID,
        channel: Literal["call", "text"],
        *,
        template: str | None = None,
        values: Mapping[str, str] | None = None,
    ) -> Requested:
        """Ask for a call or text to a member whose lead the holder of `token` (``sales.outreach``) has.

        A text is an approved one, its blanks filled by `values`. It is queued; the number is nowhere in it.

        Raises AccessDenied with a reason: ``not.granted``, ``lead.missing``, ``contact.quiet``, ``contact.suppressed``;
        from the gate ConsentMissing, SubjectRestricted, BudgetExhausted (the caps on how often a member is contacted,
        by whomever, and the rate of one seller). Raises UnsupportedOperation for a text that is not approved.
        """
        grant = self._store.verify(token)
        if grant.purpose.name != ASKS:
            raise AccessDenied(f"{grant.purpose.name} contacts nobody", reason="not.granted", subject=member)
        text = self._text(channel, template, values)
        with self._store.session(token) as session:  # its row scope: the seller's own leads
            if session.scalar(select(Member.id).where(Member.id == member)) is None:
                self._store.gate.check(grant)
                raise AccessDenied(
                    f"{grant.actor.id} holds no lead of member {member}", reason="lead.missing", subject=member
                )
        now = self._clock()
        if self.rules.quiet(now):
            raise AccessDenied("nobody is contacted at this hour", reason="contact.quiet", subject=member)
        request = ContactRequest(
            id=uuid.uuid4(),
            member_id=member,
            actor_id=grant.actor.id,
            store=grant.actor.attributes.get("store", ""),
            channel=channel,
            text=text,
            state="queued",
            requested_at=now,
        )
        with self._store.begin(self._desk()) as session:
            session.add(request)
            session.flush()
            if suppressed_among(session, [member]):
                raise AccessDenied(
                    f"member {member} is not to be contacted", reason="contact.suppressed", subject=member
                )
            self._store.gate.charge(grant, "contact", "Member", member.bytes, unit=request.id.bytes)
            return Requested(request.id, member, channel, "queued")

    def status(self, token: str, request: uuid.UUID) -> Requested:
        """What became of a contact that the holder of `token` asked for. Raises AccessDenied (``contact.missing``)."""
        grant = self._store.verify(token)
        self._store.gate.check(grant)
        actor = grant.actor.id
        with self._store.session(self._desk()) as session:
            found = session.get(ContactRequest, request)
            if found is None or found.actor_id != actor:
                raise AccessDenied(f"{actor} asked for no contact {request}", reason="contact.missing")
            channel: Literal["call", "text"] = "text" if found.channel == "text" else "call"
            state = "queued" if found.state == "sending" else found.state
            return Requested(found.id, found.member_id, channel, state, found.reason)

    def _text(self, channel: str, template: str | None, values: Mapping[str, str] | None) -> str | None:
        if channel == "call":
            if template is not None or values:
                raise UnsupportedOperation("a call carries no text")
            return None
        if channel != "text":
            raise UnsupportedOperation("a contact is a call or a text")
        if template is None:
            raise UnsupportedOperation("a text is an approved one: name its template")
        return self.rules.templates.fill(template, values or {})

"""Chat safety: triage by flags, warnings to the likely victim, blocks, and conversations opened in a case.

Analysts show their tokens (``safety.triage``, ``safety.investigation``) and see pseudonyms, flags and counts. What is
written down, who is blocked and who was warned, the safety desk writes under a token of its own: an analyst's token
can't.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from vaultstore import Store, is_masked
from vaultstore.errors import AccessDenied, BudgetExhausted, SubjectErased, SubjectRestricted, UnsupportedOperation
from vaultstore.grants import Grant
from vaultstore.members.models import ChatMessage, MemberBlock, SafetyWarning
from vaultstore.members.pseudonyms import Pseudonyms
from vaultstore.members.safety_rules import WarningPlan, alarmed
from vaultstore.members.safety_values import FlaggedConversation, Opened, TriagePage, Warned, Written
from vaultstore.orm import PurposeSession

__all__ = ["REASONS", "FlaggedConversation", "Opened", "Safety", "TriagePage", "Warned", "Written", "blocked_among"]

TRIAGE = "safety.triage"
INVESTIGATION = "safety.investigation"
DELIVERY = "chat.delivery"
INBOX = "member.inbox"

REASONS = ("scam", "harassment", "false identity", "other")
"""Why somebody is blocked. What they wrote is not kept."""


@dataclass(slots=True)
class _Tally:
    messages: int = 0
    withheld: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    alarms: list[tuple[datetime, uuid.UUID, uuid.UUID]] = field(default_factory=list)

    def pair(self) -> tuple[uuid.UUID, uuid.UUID]:
        """(suspect, target): who wrote most of the alarms, and to whom."""
        [(pair, _)] = Counter((sender, recipient) for _, sender, recipient in self.alarms).most_common(1)
        return pair


class Safety:
    """The safety team's desk.

    `desk` gives a token of ``safety.desk``; `secret` (32 bytes or more, kept where the service's other secrets are)
    makes pseudonyms. `plan` says when warnings are repeated, `text_version` which text they show.
    """

    def __init__(
        self,
        store: Store,
        desk: Callable[[], str],
        *,
        secret: bytes,
        plan: WarningPlan | None = None,
        text_version: str = "1",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store, self._desk, self._clock = store, desk, clock
        self._names, self._plan, self._text_version = Pseudonyms(secret), plan or WarningPlan(), text_version

    def __repr__(self) -> str:
        return "<Safety>"

    # ------------------------------------------------------------------------------------------------- triage

    def triage(
        self, token: str, *, since: datetime | None = None, after: uuid.UUID | None = None, size: int = 50
    ) -> TriagePage:
        """The flagged ones among the next `size` conversations in which anything was written since a time.

        By default of the last 30 days. `token` is of ``safety.triage``. Raises AccessDenied (``not.granted``) for
        another's, and what the gate refuses as a whole.
        """
        self._granted(token, TRIAGE)
        if not 1 <= size <= 500:
            raise UnsupportedOperation("a page has 1 to 500 conversations")
        since = since or self._clock() - timedelta(days=30)
        query = select(ChatMessage.conversation_id).where(ChatMessage.sent_at >= since).distinct()
        if after is not None:
            query = query.where(ChatMessage.conversation_id > after)
        with self._store.session(token) as session:
            ids = list(session.scalars(query.order_by(ChatMessage.conversation_id).limit(size)))
            tallies = self._tallies(session, ids, since)
        warnings, blocked = self._written_down(tallies)
        frame = self._today()
        flagged = [self._shown(frame, c, tally, warnings, blocked) for c, tally in tallies.items() if tally.alarms]
        flagged.sort(key=lambda one: (-one.alarms, one.conversation))
        withheld = sum(tally.withheld for tally in tallies.values())
        return TriagePage(tuple(flagged), len(ids), withheld, ids[-1] if len(ids) == size else None)

    # ----------------------------------------------------------------------------------------------- warnings

    def warn(self, token: str, conversation: str) -> int | None:
        """Warn the likely victim of a conversation, if the plan says that a warning is due; its number.

        `conversation` is its pseudonym of today, `token` of ``safety.triage``. Of two who warn at the same time one
        does. Raises AccessDenied (``not.granted``, ``conversation.missing``).
        """
        self._granted(token, TRIAGE)
        at = self._names.known(self._today(), conversation)
        with self._store.session(token) as session:
            tally = self._tallies(session, [at], None).get(at)
        if tally is None or not tally.alarms:
            raise AccessDenied("there is no conversation with alarms of this name today", reason="conversation.missing")
        _, target = tally.pair()
        alarms, now = sum(to == target for _, _, to in tally.alarms), self._clock()
        query = select(SafetyWarning).where(SafetyWarning.conversation_id == at, SafetyWarning.recipient_id == target)
        try:
            with self._store.session(self._desk()) as session:
                last = session.scalars(query.order_by(SafetyWarning.number.desc()).limit(1)).first()
                number, then, made = (last.number, last.alarms, last.made_at) if last else (0, 0, None)
            if not self._plan.due(alarms, number, then, made, now):
                return None
            with self._store.begin(self._desk()) as session:
                session.add(
                    SafetyWarning(recipient_id=target, conversation_id=at, number=number + 1, alarms=alarms,
                                  text_version=self._text_version, made_at=now)
                )  # fmt: skip
        except IntegrityError:
            return None  # somebody else just did
        return number + 1

    def warnings(self, token: str) -> list[Warned]:
        """The warnings of the member who holds `token` (of ``member.inbox``), newest first."""
        self._granted(token, INBOX)
        query = select(SafetyWarning).order_by(SafetyWarning.made_at.desc(), SafetyWarning.number.desc())
        with self._store.session(token) as session:
            return [Warned(w.conversation_id, w.number, w.text_version, w.made_at) for w in session.scalars(query)]

    # ------------------------------------------------------------------------------------------------- blocks

    def block(self, token: str, suspect: str, *, reason: str) -> None:
        """Let a suspect (a pseudonym of today) send nothing. Harmless when repeated.

        Raises AccessDenied (``not.granted``, ``pseudonym.unknown``), UnsupportedOperation for a reason that is none.
        """
        grant = self._granted(token, TRIAGE)
        if reason not in REASONS:
            raise UnsupportedOperation(f"a block's reason is one of {', '.join(REASONS)}")
        member = self._suspect(token, suspect)
        try:
            with self._store.session(self._desk()) as session:
                last = _last_block(session, member)
                number = 1 if last is None else last.number + 1
                if last is not None and last.lifted_at is None:
                    return
            with self._store.begin(self._desk()) as session:
                made = {"blocked_by": grant.actor.id, "blocked_at": self._clock()}
                session.add(MemberBlock(member_id=member, number=number, reason=reason, **made))
        except IntegrityError:
            return  # somebody else just did

    def unblock(self, token: str, suspect: str) -> bool:
        """Lift a block; whether there was one. Raises AccessDenied (``not.granted``, ``pseudonym.unknown``)."""
        grant = self._granted(token, TRIAGE)
        member = self._suspect(token, suspect)
        held = update(MemberBlock).where(MemberBlock.member_id == member, MemberBlock.lifted_at.is_(None))
        with self._store.begin(self._desk()) as session:
            done: Any = session.execute(held.values(lifted_by=grant.actor.id, lifted_at=self._clock()))
            return bool(done.rowcount)

    def is_blocked(self, member: uuid.UUID) -> bool:
        """Whether a member is blocked: for delivery, and for pools (`Pools(..., out=...)`)."""
        return bool(self.blocked([member]))

    def blocked(self, members: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Those of `members` who are blocked."""
        with self._store.session(self._desk()) as session:
            return blocked_among(session, members)

    def deliver(
        self, token: str, *, sender: uuid.UUID, recipient: uuid.UUID, conversation: uuid.UUID, text: str
    ) -> uuid.UUID:
        """Seal a message and its flags, unless its sender is blocked; its id. `token` is of ``chat.delivery``.

        Raises AccessDenied (``sender.blocked``, and what the gate refuses).
        """
        self._granted(token, DELIVERY)
        with self._store.session(token) as session:
            if blocked_among(session, [sender]):
                raise AccessDenied(f"member {sender} is blocked", reason="sender.blocked", subject=sender)
        with self._store.begin(token) as session:
            message = ChatMessage(
                sender_id=sender,
                recipient_id=recipient,
                conversation_id=conversation,
                sent_at=self._clock(),
                body=text,
            )
            session.add(message)
            session.flush()
            return message.id

    # -------------------------------------------------------------------------------------------- investigation

    def request_opening(self, token: str, conversation: str, *, hours: int = 4) -> Opened:
        """Open a case about a conversation (pseudonym of today) and ask for it to be opened to the caller.

        It names those who wrote in it. Two others have to approve the request under their own tokens
        (``store.approve``); it holds for `hours`. Raises AccessDenied (``not.granted``, ``conversation.missing``).
        """
        grant = self._granted(token, TRIAGE)
        if not 1 <= hours <= 24:
            raise UnsupportedOperation("a conversation is opened for 1 to 24 hours")
        at = self._names.known(self._today(), conversation)
        query = select(ChatMessage.sender_id).where(ChatMessage.conversation_id == at).distinct()
        with self._store.session(token) as session:
            subjects = tuple(sorted(session.scalars(query)))
        if not subjects:
            raise AccessDenied("there is no conversation of this name today", reason="conversation.missing")
        case = self._store.cases.open(
            "fraud", assigned_to=grant.actor.id, subjects=subjects, scopes={one: [at] for one in subjects}
        )
        lasts = timedelta(hours=hours)
        request = self._store.request_access(grant.actor, INVESTIGATION, case=case, subjects=subjects, ttl=lasts)
        return Opened(case, request, subjects, self._clock() + lasts)

    def open_conversation(self, token: str, case: str, *, limit: int = 200) -> list[Written]:
        """What was written in the conversations of a case, oldest first.

        `token` is of ``safety.investigation``, for exactly this case and its subjects. The gate sees to the case, the
        two approvals and their time, and audits every subject. Raises AccessDenied (``not.granted``),
        ApprovalMissing.
        """
        grant = self._granted(token, INVESTIGATION)
        if grant.case != case:
            raise AccessDenied("the token is for another case", reason="not.granted")
        frame = Pseudonyms.frame(case=case)
        query = (
            select(ChatMessage)
            .where(
                ChatMessage.sender_id.in_(grant.subjects or ()), ChatMessage.conversation_id.in_(self._named_by(case))
            )
            .order_by(ChatMessage.sent_at, ChatMessage.id)
            .limit(min(max(limit, 1), 1000))
        )
        with self._store.session(token) as session:
            messages = list(session.scalars(query))
            session.disclose(messages)
            return [self._opened(frame, session, message) for message in messages]

    # ------------------------------------------------------------------------------------------------ inside

    def _granted(self, token: str, purpose: str) -> Grant:
        grant = self._store.verify(token)
        if grant.purpose.name != purpose:
            raise AccessDenied(f"this takes a token of {purpose}, not of {grant.purpose.name}", reason="not.granted")
        return grant

    def _today(self) -> str:
        return Pseudonyms.frame(day=self._clock().astimezone(UTC).date())

    def _suspect(self, token: str, suspect: str) -> uuid.UUID:
        """The member behind a pseudonym, if they ever wrote anything."""
        member = self._names.known(self._today(), suspect)
        query = select(func.count()).select_from(ChatMessage).where(ChatMessage.sender_id == member)
        with self._store.session(token) as session:
            if not session.scalar(query):
                raise AccessDenied("nobody has this name today", reason="pseudonym.unknown")
        return member

    def _named_by(self, case: str) -> list[uuid.UUID]:
        """The conversations that a case is about."""
        found = self._store.cases.get(case)
        scopes = found.scopes.values() if found is not None else ()
        return sorted({uuid.UUID(bytes=one) for each in scopes for one in each})

    def _opened(self, frame: str, session: PurposeSession, message: ChatMessage) -> Written:
        try:
            text: str | None = message.body
        except (SubjectRestricted, SubjectErased, BudgetExhausted):
            text = None
        sender, recipient = (
            self._names.member(frame, message.sender_id),
            self._names.member(frame, message.recipient_id),
        )
        return Written(sender, recipient, message.sent_at, text)

    def _tallies(
        self, session: PurposeSession, ids: Sequence[uuid.UUID], since: datetime | None
    ) -> dict[uuid.UUID, _Tally]:
        query = select(ChatMessage).where(ChatMessage.conversation_id.in_(ids))
        if since is not None:
            query = query.where(ChatMessage.sent_at >= since)
        tallies: dict[uuid.UUID, _Tally] = {}
        for message in session.scalars(query.order_by(ChatMessage.conversation_id, ChatMessage.sent_at)):
            tally = tallies.setdefault(message.conversation_id, _Tally())
            tally.messages += 1
            try:
                shown = message.body
            except AccessDenied:
                tally.withheld += 1
                continue
            flags = shown.value if is_masked(shown) else None
            if isinstance(flags, list) and alarmed(flags):
                tally.flags.update(map(str, flags))
                tally.alarms.append((message.sent_at, message.sender_id, message.recipient_id))
        return tallies

    def _written_down(self, tallies: Mapping[uuid.UUID, _Tally]) -> tuple[Counter[uuid.UUID], set[uuid.UUID]]:
        flagged = [conversation for conversation, tally in tallies.items() if tally.alarms]
        suspects = [tallies[conversation].pair()[0] for conversation in flagged]
        query = select(SafetyWarning.conversation_id).where(SafetyWarning.conversation_id.in_(flagged))
        with self._store.session(self._desk()) as session:
            return Counter(session.scalars(query)), blocked_among(session, suspects)

    def _shown(
        self, frame: str, at: uuid.UUID, tally: _Tally, warnings: Mapping[uuid.UUID, int], blocked: set[uuid.UUID]
    ) -> FlaggedConversation:
        suspect, target = tally.pair()
        times = [when for when, _, _ in tally.alarms]
        return FlaggedConversation(
            conversation=self._names.conversation(frame, at),
            suspect=self._names.member(frame, suspect),
            target=self._names.member(frame, target),
            messages=tally.messages,
            alarms=len(tally.alarms),
            flags=dict(sorted(tally.flags.items())),
            first_alarm=min(times),
            last_alarm=max(times),
            warnings=warnings.get(at, 0),
            blocked=suspect in blocked,
        )


def blocked_among(session: PurposeSession, members: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of `members` who are blocked; `session` is of a purpose that lists MemberBlock."""
    query = select(MemberBlock.member_id).where(MemberBlock.member_id.in_(members), MemberBlock.lifted_at.is_(None))
    return set(session.scalars(query))


def _last_block(session: PurposeSession, member: uuid.UUID) -> MemberBlock | None:
    query = select(MemberBlock).where(MemberBlock.member_id == member).order_by(MemberBlock.number.desc())
    return session.scalars(query.limit(1)).first()

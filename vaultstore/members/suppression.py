"""Suppression: who said no stays out of every pool, call and text, with this account and with the next.

A person is known by tags of their phone and ID number: HMACs under keys that serve nothing else, and whose versions are
all kept. Nothing else of the person is kept, no number, and no member's id beside the tag. `SuppressedMember` says
which members the tags hold for right now. It goes when the member does, and comes back when the number does.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, select

from vaultstore import Store, uuid7
from vaultstore.errors import AccessDenied, UnsupportedOperation
from vaultstore.lifecycle.journal_replay import journaled
from vaultstore.lifecycle.parts import Parts
from vaultstore.members.models import Member, SuppressedMember, Suppression
from vaultstore.orm import PurposeSession

__all__ = ["REASONS", "Suppressions", "suppress_new", "suppressed_among"]

REPLAYED = "replayed from the journal"
REASONS = ("needs no service", "complaint", "own switch")
"""Why somebody is suppressed. What they said is not kept."""

_NUMBERS: Mapping[str, tuple[Any, Any]] = {
    "phone": (Suppression.phone, Member.phone),
    "id_number": (Suppression.id_number, Member.id_number),
}
_SAYS_NO = {"sales.outreach": REASONS[0], "care.complaint": REASONS[1], "member.self": REASONS[2]}


class Suppressions:
    """The suppression desk.

    `desk` gives a token of ``suppression.desk`` that names the given member; `closed` is told of members who said no,
    to close their leads (`Claims.close`).
    """

    def __init__(
        self, store: Store, desk: Callable[[uuid.UUID], str], *, closed: Callable[[uuid.UUID], object] | None = None
    ) -> None:
        self._store, self._desk, self._closed = store, desk, closed or (lambda member: None)

    def __repr__(self) -> str:
        return "<Suppressions>"

    def suppress(self, token: str, member: uuid.UUID) -> None:
        """The member said no: to the seller whose lead they are, in a complaint, or by their own switch.

        `token` is the seller's (``sales.outreach``, of a member whose lead they hold), the agent's (``care.complaint``,
        with the case) or the member's own. From now on the person is in no pool and is neither called nor texted,
        until they opt in themselves. Harmless when repeated. Raises AccessDenied for anybody else.
        """
        self.write_down(member, self.speaks_for(token, member))

    def speaks_for(self, token: str, member: uuid.UUID) -> str:
        """The reason that goes with who says it. Raises AccessDenied unless the holder of `token` may say it.

        For a process that serves its callers' purposes where the desk is another: it asks this, then has the desk
        `write_down` what was said.
        """
        return self._who_says(token, member, _SAYS_NO)

    def write_down(self, member: uuid.UUID, reason: str) -> None:
        """The desk's part of `suppress`, which asks no caller's token: who calls it has seen to that."""
        if reason not in REASONS:
            raise UnsupportedOperation(f"somebody is suppressed for one of: {', '.join(REASONS)}")
        with self._store.begin(self._desk(member)) as session:
            numbers = self._numbers(session, member)
            members, made = {member}, dict[str, str]()
            for kind, value in numbers.items():
                tag, field = _NUMBERS[kind]
                [tags] = session.tags(tag, [value])
                known = session.scalars(select(Suppression.id).where(Suppression.tag.in_(tags))).first()
                if known is None:
                    session.add(Suppression(tag=tags[0], kind=kind, reason=reason))
                made[tags[0]] = kind
                members.update(session.scalars(select(Member.id).where(field == value)))
            _mark(session, members)
            self._journal("suppress", [{"tag": tag, "of": kind, "member": member} for tag, kind in made.items()])
        for one in members:
            self._closed(one)

    def opt_in(self, token: str) -> None:
        """The member wants to be contacted again: only they can say so, with their own token."""
        self.take_back(self.asks_for_it(token))

    def asks_for_it(self, token: str) -> uuid.UUID:
        """The member who holds `token`, which is live. Raises AccessDenied for anybody else's. See `speaks_for`."""
        actor = self._store.verify(token).actor.id
        try:
            me = uuid.UUID(actor)
        except ValueError:
            raise AccessDenied(f"{actor} is no member", reason="not.granted") from None
        self._who_says(token, me, {"member.self": ""})
        return me

    def take_back(self, me: uuid.UUID) -> None:
        """The desk's part of `opt_in`, which asks no token: who calls it has seen to that."""
        with self._store.begin(self._desk(me)) as session:
            members, gone = {me}, list[dict[str, object]]()
            for kind, value in self._numbers(session, me).items():
                tag, field = _NUMBERS[kind]
                [tags] = session.tags(tag, [value])
                for known in session.scalars(select(Suppression).where(Suppression.tag.in_(tags))):
                    session.delete(known)
                members.update(session.scalars(select(Member.id).where(field == value)))
                gone += [{"tag": tag, "member": me} for tag in tags]
            for marked in session.scalars(select(SuppressedMember).where(SuppressedMember.member_id.in_(members))):
                session.delete(marked)
            session.flush()
            self._journal("opt_in", gone)

    def _journal(self, kind: str, lines: Sequence[Mapping[str, object]]) -> None:
        """Have the journal take it down, before the members' side commits: whoever restores a backup does it again."""
        parts = self._store.parts
        with parts.ledger.gate() as connection:
            for facts in lines:
                parts.journal.append(kind, connection=connection, **facts)

    def _numbers(self, session: PurposeSession, member: uuid.UUID) -> dict[str, str]:
        found = session.get(Member, member)
        if found is None:
            raise AccessDenied(f"there is no member {member}", reason="member.missing", subject=member)
        return {kind: value for kind in _NUMBERS if (value := getattr(found, kind)) is not None}

    def _who_says(self, token: str, member: uuid.UUID, allowed: Mapping[str, str]) -> str:
        """The reason that goes with the token. Raises AccessDenied unless its holder may speak of this member."""
        grant = self._store.verify(token)
        self._store.gate.check(grant)
        reason = allowed.get(grant.purpose.name)
        if reason is None:
            raise AccessDenied(f"{grant.purpose.name} suppresses nobody", reason="not.granted", subject=member)
        if grant.purpose.name == "member.self":
            mine = grant.actor.id == str(member)
        elif grant.case is not None:
            case = self._store.cases.get(grant.case)
            mine = case is not None and case.closed_at is None and case.assigned_to == grant.actor.id
            mine = mine and member.bytes in (case.subjects if case else ())
        else:
            with self._store.session(token) as session:  # its row scope: the seller's own leads
                mine = session.scalar(select(Member.id).where(Member.id == member)) is not None
        if not mine:
            raise AccessDenied(
                f"{grant.actor.id} does not speak for member {member}", reason="not.granted", subject=member
            )
        return reason


def suppress_new(session: PurposeSession, members: Sequence[Member]) -> list[uuid.UUID]:
    """Mark those of some new members, whose numbers are at hand, who said no under another account; which they are.

    For the sign-up service, in the transaction that registers them (`session` is one of ``registration``): one search
    for phones and one for ID numbers, whatever their number.
    """
    numbers = {
        kind: {member.id: value for member in members if (value := getattr(member, kind)) is not None}
        for kind in _NUMBERS
    }  # before anything is asked: that writes the rows, and from then on their numbers can't be read here
    found: set[uuid.UUID] = set()
    for kind, given in numbers.items():
        tag, _ = _NUMBERS[kind]
        made = dict(zip(given, session.tags(tag, list(given.values())), strict=True))
        every = [one for tags in made.values() for one in tags]
        known = set(session.scalars(select(Suppression.tag).where(Suppression.tag.in_(every))))
        found.update(one for one, tags in made.items() if known.intersection(tags))
    session.flush()
    _mark(session, found)
    return sorted(found)


def suppressed_among(session: PurposeSession, members: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of `members` who are suppressed."""
    query = select(SuppressedMember.member_id).where(SuppressedMember.member_id.in_(members))
    return set(session.scalars(query))


def _mark(session: PurposeSession, members: Iterable[uuid.UUID]) -> None:
    wanted = sorted(members)
    there = suppressed_among(session, wanted)
    session.add_all(SuppressedMember(member_id=one) for one in wanted if one not in there)
    session.flush()


def _suppressed_again(parts: Parts, facts: Mapping[str, str], at: datetime) -> bool:
    """A suppression that a restored store has forgotten: its tag, and the mark of the member it was said by."""
    tags, marks, members = _tables()
    member = uuid.UUID(facts["member"])
    with parts.engine.begin() as connection:
        known = connection.execute(select(tags.c.id).where(tags.c.tag == facts["tag"])).first()
        if known is None:
            row = {"id": uuid7(), "tag": facts["tag"], "kind": facts["of"], "reason": REPLAYED, "since": at}
            connection.execute(tags.insert().values(**row))
        there = connection.execute(select(members.c.id).where(members.c.id == member)).first()
        marked = connection.execute(select(marks.c.member_id).where(marks.c.member_id == member)).first()
        if there is not None and marked is None:
            connection.execute(marks.insert().values(member_id=member, since=at))
    return known is None or (there is not None and marked is None)


def _opted_in_again(parts: Parts, facts: Mapping[str, str], at: datetime) -> bool:
    """What a member took back themselves."""
    tags, marks, _ = _tables()
    with parts.engine.begin() as connection:
        gone = connection.execute(tags.delete().where(tags.c.tag == facts["tag"])).rowcount
        gone += connection.execute(marks.delete().where(marks.c.member_id == uuid.UUID(facts["member"]))).rowcount
    return gone > 0


def _tables() -> tuple[Table, Table, Table]:
    tags, marks, members = Suppression.__table__, SuppressedMember.__table__, Member.__table__
    return cast(Table, tags), cast(Table, marks), cast(Table, members)


journaled("suppress", ("tag", "of", "member"), _suppressed_again)
journaled("opt_in", ("tag", "member"), _opted_in_again)

"""Writing cleaned rows: each kind of file under its own purpose, and only rows that are not there yet."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Protocol

from sqlalchemy import select

from vaultstore import Actor, Store
from vaultstore.members.ids import conversation_id, view_event
from vaultstore.members.kinds import Row
from vaultstore.members.models import ChatMessage, Member, ProfileView, Suppression
from vaultstore.members.report import Refusal
from vaultstore.members.suppression import suppress_new
from vaultstore.orm import PurposeSession

__all__ = ["Chats", "Members", "Passes", "Sifted", "Views", "Writer", "writer_for"]

_CHINA = timezone(timedelta(hours=8))
_ROLES = {"registration": "registrar", "chat.delivery": "courier", "matching": "matcher"}


class Passes:
    """Tokens for the purposes that an import works under, made anew before they run out."""

    def __init__(self, store: Store, actor: str, clock: Callable[[], datetime]) -> None:
        self._store, self._actor, self._clock = store, actor, clock
        self._held: dict[str, tuple[str, datetime]] = {}

    def session(self, purpose: str) -> PurposeSession:
        """A session under `purpose`."""
        token, until = self._held.get(purpose, ("", datetime.min.replace(tzinfo=UTC)))
        if self._clock() >= until:
            token = self._store.issue(Actor(self._actor, role=_ROLES[purpose]), purpose)
            grant = self._store.verify(token)
            # Half of its life: a chunk that starts now ends well before the token does.
            self._held[purpose] = token, grant.issued_at + (grant.expires_at - grant.issued_at) / 2
        return self._store.session(token)


@dataclass(frozen=True, slots=True)
class Sifted:
    """A chunk parted into what is new, what is there already, and what can't be stored."""

    new: Sequence[Row]
    already: Sequence[Row]
    refused: Sequence[Refusal] = field(default=())


class Writer(Protocol):
    """How one kind of row is stored."""

    purpose: str
    columns: tuple[str, str]
    """Names of the column of the row's own id and of the column that names its subject."""

    def sift(self, session: PurposeSession, rows: Sequence[Row]) -> Sifted:
        """Part `rows`, in a constant number of queries."""

    def add(self, session: PurposeSession, rows: Sequence[Row]) -> int:
        """Add the new rows to the session; how many are of people who said no under another account."""

    def after(self, rows: Sequence[Row], source: str) -> int:
        """What follows once the rows are committed, and is made up for when it was missed; how many were done."""


class Members:
    """members.csv, written as registrations; a consent date becomes an entry of the consent ledger."""

    purpose, columns = "registration", ("member_id", "member_id")

    def __init__(self, store: Store, notice: str) -> None:
        self._store, self._notice = store, notice

    def sift(self, session: PurposeSession, rows: Sequence[Row]) -> Sifted:
        there = _there(session, Member, [row.values["member_id"] for row in rows])
        return Sifted(
            [row for row in rows if row.values["member_id"] not in there],
            [row for row in rows if row.values["member_id"] in there],
        )

    def add(self, session: PurposeSession, rows: Sequence[Row]) -> int:
        # Needles are counted: where nobody said no, none is looked for. And asked now, since a query writes the rows.
        anybody = session.scalars(select(Suppression.id).limit(1)).first() is not None
        members = [self._built(row) for row in rows]
        session.add_all(members)
        return len(suppress_new(session, members)) if anybody and members else 0

    @staticmethod
    def _built(row: Row) -> Member:
        given = dict(row.values)
        given.pop("consent_matchmaking")
        return Member(id=given.pop("member_id"), name=given.pop("real_name"), **given)

    def after(self, rows: Sequence[Row], source: str) -> int:
        dated = {
            row.values["member_id"]: datetime.combine(row.values["consent_matchmaking"], time(), _CHINA)
            for row in rows
            if row.values["consent_matchmaking"] is not None
        }
        if not dated:
            return 0
        return self._store.consents.take_over(
            "matchmaking", dated, notice_version=self._notice, evidence=f"import of {source}"
        )


class Chats:
    """chats.csv, written as the delivery service does. Both people must be members."""

    purpose, columns = "chat.delivery", ("message_id", "sender_id")

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def sift(self, session: PurposeSession, rows: Sequence[Row]) -> Sifted:
        there = _there(session, ChatMessage, [row.values["message_id"] for row in rows])
        fresh = [row for row in rows if row.values["message_id"] not in there]
        known, refused = _known(self._passes, fresh, "sender_id", "recipient_id")
        return Sifted(known, [row for row in rows if row.values["message_id"] in there], refused)

    def add(self, session: PurposeSession, rows: Sequence[Row]) -> int:
        session.add_all([self._built(row) for row in rows])
        return 0

    @staticmethod
    def _built(row: Row) -> ChatMessage:
        sender, recipient = row.values["sender_id"], row.values["recipient_id"]
        return ChatMessage(
            id=row.values["message_id"],
            sender_id=sender,
            recipient_id=recipient,
            conversation_id=conversation_id(sender, recipient),
            sent_at=row.values["sent_at"],
            body=row.values["body"],
        )

    def after(self, rows: Sequence[Row], source: str) -> int:
        return 0


class Views:
    """views.csv, written as the matching service does. A view has no id in the file: its event is its natural key."""

    purpose, columns = "matching", ("viewer_id", "viewer_id")

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def sift(self, session: PurposeSession, rows: Sequence[Row]) -> Sifted:
        events = {_event(row): row for row in rows}
        there = {view.event for view in session.scalars(select(ProfileView).where(ProfileView.event.in_(list(events))))}
        fresh = [row for event, row in events.items() if event not in there]
        known, refused = _known(self._passes, fresh, "viewer_id", "viewed_id")
        return Sifted(known, [row for event, row in events.items() if event in there], refused)

    def add(self, session: PurposeSession, rows: Sequence[Row]) -> int:
        session.add_all([ProfileView(event=_event(row), **row.values) for row in rows])
        return 0

    def after(self, rows: Sequence[Row], source: str) -> int:
        return 0


def writer_for(kind: str, store: Store, passes: Passes, *, notice: str) -> Writer:
    """The writer for a kind of file."""
    if kind == "members":
        return Members(store, notice)
    return Chats(passes) if kind == "chats" else Views(passes)


def _event(row: Row) -> str:
    return view_event(row.values["viewer_id"], row.values["viewed_id"], row.values["viewed_at"])


def _there(
    session: PurposeSession, model: type[Member] | type[ChatMessage], ids: Sequence[uuid.UUID]
) -> set[uuid.UUID]:
    return set(session.scalars(select(model.id).where(model.id.in_(ids))))


def _known(passes: Passes, rows: Sequence[Row], *columns: str) -> tuple[list[Row], list[Refusal]]:
    """Rows whose people are all members, and refusals of the others. Members are the registrar's to look up."""
    if not rows:
        return [], []
    people = {row.values[column] for row in rows for column in columns}
    with passes.session("registration") as session:
        members = _there(session, Member, list(people))
    known: list[Row] = []
    refused: list[Refusal] = []
    for row in rows:
        stranger = next((column for column in columns if row.values[column] not in members), None)
        if stranger is None:
            known.append(row)
        else:
            refused.append(Refusal(row.line, stranger, "is not a member of this store, or their data rests"))
    return known, refused

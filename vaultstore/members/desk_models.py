"""Models of the desks: who is not to be contacted, contacts that were asked for, complaints."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from vaultstore import Encrypted, OnErasure, blind_index, encrypted_column, normalize, uuid7
from vaultstore.members.base import Base, now

__all__ = ["Complaint", "ContactRequest", "SuppressedMember", "Suppression"]


class Suppression(Base):
    """A person who is not to be contacted, whoever they are here: a keyed tag of a number, and nothing else of them.

    The fields are never assigned. They declare the numbers' normal forms and the tags' keys, whose versions are all
    kept: the number that a tag was made of is nowhere, so no tag can be made anew.
    """

    __tablename__ = "suppressions"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    tag: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    """``phone`` or ``id_number``."""
    reason: Mapped[str]
    since: Mapped[datetime] = mapped_column(default=now)

    phone: Encrypted[str | None] = encrypted_column(
        category="suppression", index=blind_index(normalize=normalize.phone_e164(region="CN"), forever=True)
    )
    id_number: Encrypted[str | None] = encrypted_column(
        category="suppression", index=blind_index(normalize=normalize.resident_id(), forever=True)
    )


class SuppressedMember(Base):
    """A member who is not to be contacted: in no pool, nobody's lead. It follows from the tags."""

    __tablename__ = "suppressed_members"
    __subject__ = "member_id"
    __erasure__ = OnErasure(delete=True)

    member_id: Mapped[uuid.UUID] = mapped_column(Uuid(), ForeignKey("members.id"), primary_key=True)
    since: Mapped[datetime] = mapped_column(default=now)


class ContactRequest(Base):
    """A call or text that was asked for. The number is not in it."""

    __tablename__ = "contact_requests"
    __subject__ = "member_id"
    __erasure__ = OnErasure(delete=True)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(Uuid(), ForeignKey("members.id"), index=True)
    actor_id: Mapped[str] = mapped_column(index=True)
    store: Mapped[str]
    channel: Mapped[str]
    """``call`` or ``text``."""
    text: Mapped[str | None]
    state: Mapped[str] = mapped_column(default="queued", index=True)
    """``queued``, ``sending``; then ``sent``, ``refused``, or ``failed`` where the carrier would not."""
    reason: Mapped[str | None]
    requested_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    ended_at: Mapped[datetime | None]


class Complaint(Base):
    """A complaint that was taken, and whether what was promised was done in time. Its id is that of its case."""

    __tablename__ = "complaints"
    __subject__ = "member_id"
    __erasure__ = OnErasure(
        keep=dict.fromkeys(
            (
                "store",
                "agent",
                "kind",
                "opened_at",
                "contact_due",
                "plan_due",
                "contacted_at",
                "planned_at",
                "closed_at",
            ),
            "how complaints were handled is inspected; what was complained about is not here",
        )
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(Uuid(), ForeignKey("members.id"), index=True)
    store: Mapped[str] = mapped_column(index=True)
    agent: Mapped[str]
    kind: Mapped[str]
    opened_at: Mapped[datetime]
    contact_due: Mapped[datetime]
    plan_due: Mapped[datetime]
    contacted_at: Mapped[datetime | None]
    planned_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

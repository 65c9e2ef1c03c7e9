"""The member store's models: what is clear, what is encrypted, and what others than its readers see of it."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, validates

from vaultstore import (
    Encrypted,
    OnErasure,
    blind_index,
    encrypted_column,
    masks,
    normalize,
    uuid7,
)
from vaultstore.members.base import Base, UtcDateTime, now
from vaultstore.members.desk_models import Complaint, ContactRequest, SuppressedMember, Suppression
from vaultstore.members.identity_proof import identity_proof
from vaultstore.members.safety_models import MemberBlock, SafetyWarning
from vaultstore.members.verification_models import VerificationCount, VerifiedBadge

__all__ = [
    "Base",
    "ChatMessage",
    "Complaint",
    "ConsentNotice",
    "ContactRequest",
    "Lead",
    "Member",
    "MemberBlock",
    "ProfileView",
    "SafetyWarning",
    "SuppressedMember",
    "Suppression",
    "UtcDateTime",
    "VerificationCount",
    "VerifiedBadge",
]

_EDUCATION = masks.one_of("高中", "大专", "本科", "硕士", "博士")
_MARITAL = masks.one_of("未婚", "离异", "丧偶")
_YES_NO = masks.one_of("有", "无")
_AGE = masks.age_band(5)
_HEIGHT = masks.band(*range(150, 200, 5))
_INCOME = masks.band(0, 5_000, 10_000, 20_000, 50_000, 100_000)
_BOOKS = "a contract's place and day belong to records of transactions, kept three years (E-Commerce Law, Art. 31)"
_THEIRS_TOO = "that a message came, and when, is the recipient's record too; what it said is gone"


class Member(Base):
    """A member's profile. The member is the subject."""

    __tablename__ = "members"
    __subject__ = "id"
    __activity__ = ("last_login", "created_at")
    __erasure__ = OnErasure(
        clear={"nickname": "", "gender": "", "city": "", "grade": "", "last_login": None},
        keep={"store": _BOOKS, "created_at": _BOOKS},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    nickname: Mapped[str]
    gender: Mapped[str]
    city: Mapped[str] = mapped_column(index=True)
    store: Mapped[str] = mapped_column(index=True)
    grade: Mapped[str]
    last_login: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    name: Encrypted[str] = encrypted_column(
        category="identity", projections={"sales_card": masks.surname(), "care_card": masks.surname()}
    )
    id_number: Encrypted[str | None] = encrypted_column(
        category="identity",
        index=blind_index(normalize=normalize.resident_id()),
        projections={"care_card": masks.present()},
    )
    phone: Encrypted[str] = encrypted_column(
        category="contact",
        index=blind_index(normalize=normalize.phone_e164(region="CN")),
        projections={"sales_card": masks.keep(last=4), "care_card": masks.keep(first=3, last=4)},
    )
    wechat: Encrypted[str | None] = encrypted_column(category="contact", projections={"sales_card": masks.present()})
    email: Encrypted[str | None] = encrypted_column(
        category="contact",
        index=blind_index(normalize=normalize.email()),
        projections={"care_card": masks.email_domain()},
    )
    address: Encrypted[str | None] = encrypted_column(
        category="contact", projections={"care_card": masks.region("city")}
    )
    birth_date: Encrypted[date | None] = encrypted_column(
        category="profile", projections={"pool_card": _AGE, "sales_card": _AGE, "match_card": _AGE}
    )
    height_cm: Encrypted[int | None] = encrypted_column(
        category="profile", projections={"sales_card": _HEIGHT, "match_card": _HEIGHT}
    )
    education: Encrypted[str | None] = encrypted_column(
        category="profile", projections={"pool_card": _EDUCATION, "sales_card": _EDUCATION, "match_card": _EDUCATION}
    )
    marital: Encrypted[str | None] = encrypted_column(
        category="profile", projections={"sales_card": _MARITAL, "match_card": _MARITAL}
    )
    monthly_income: Encrypted[Decimal | None] = encrypted_column(
        category="profile", projections={"sales_card": _INCOME, "match_card": _INCOME}
    )
    house: Encrypted[str | None] = encrypted_column(
        category="profile", projections={"sales_card": _YES_NO, "match_card": _YES_NO}
    )
    car: Encrypted[str | None] = encrypted_column(
        category="profile", projections={"sales_card": _YES_NO, "match_card": _YES_NO}
    )
    wants: Encrypted[str | None] = encrypted_column(category="preference")
    identity_proof: Encrypted[str | None] = encrypted_column(
        category="identity", index=blind_index(normalize=normalize.text())
    )
    """Name and number in one form, for the real-name check; it follows whenever one of them is assigned."""

    @validates("name", "id_number")
    def _prove(self, key: str, value: Any) -> Any:
        other = {"name": "id_number", "id_number": "name"}[key]
        # Of a row that is loaded the other one is read: who corrects one of them has to be able to see both.
        given = {key: value, other: getattr(self, other)}
        self.identity_proof = identity_proof(given["name"], given["id_number"])
        return value


class ChatMessage(Base):
    """A message between two members. The sender is the subject; each conversation has data keys of its own."""

    __tablename__ = "chat_messages"
    __subject__ = "sender_id"
    __key_scope__ = "conversation_id"
    __erasure__ = OnErasure(keep={"recipient_id": _THEIRS_TOO, "sent_at": _THEIRS_TOO})

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    sender_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"), index=True)
    # No foreign key: on a sharded store the recipient may live in another shard.
    recipient_id: Mapped[uuid.UUID] = mapped_column(index=True)
    conversation_id: Mapped[uuid.UUID] = mapped_column(index=True)
    sent_at: Mapped[datetime]

    body: Encrypted[str] = encrypted_column(
        category="conversation", projections={"chat_flags": masks.flags("chat-safety")}
    )


class ProfileView(Base):
    """Who looked at whom. The viewer is the subject; whom and when are encrypted."""

    __tablename__ = "profile_views"
    __subject__ = "viewer_id"
    __erasure__ = OnErasure(delete=True)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    viewer_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"), index=True)

    viewed_id: Encrypted[uuid.UUID] = encrypted_column(category="browsing")
    viewed_at: Encrypted[datetime] = encrypted_column(category="browsing")
    event: Encrypted[str] = encrypted_column(
        category="browsing", index=blind_index(normalize=normalize.text(), unique=True)
    )


class Lead(Base):
    """A member whom a matchmaker has claimed, for a while. A member has at most one open lead."""

    __tablename__ = "leads"
    __table_args__ = (
        Index(
            "uq_leads_open",
            "member_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )
    __subject__ = "member_id"
    __erasure__ = OnErasure(delete=True)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"), index=True)
    actor_id: Mapped[str] = mapped_column(index=True)
    store: Mapped[str]
    state: Mapped[str] = mapped_column(default="open")
    """``open``; then ``returned``, ``reassigned``, ``expired``, or ``refused`` where the member said no."""
    claimed_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class ConsentNotice(Base):
    """The text that members were shown when they consented, by kind and version."""

    __tablename__ = "consent_notices"

    kind: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    text: Mapped[str]
    published_at: Mapped[datetime]

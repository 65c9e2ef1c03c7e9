"""Models of chat safety: who is blocked, and which members were warned."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from vaultstore import OnErasure, uuid7
from vaultstore.members.base import Base, now

__all__ = ["MemberBlock", "SafetyWarning"]


class MemberBlock(Base):
    """A member who may send nothing for now. The last one of a member counts, while it is not lifted."""

    __tablename__ = "member_blocks"
    __subject__ = "member_id"
    __erasure__ = OnErasure(delete=True)
    __table_args__ = (UniqueConstraint("member_id", "number"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(Uuid(), ForeignKey("members.id"), index=True)
    number: Mapped[int]
    """1, 2, ...: of two who block at the same time one does."""
    reason: Mapped[str]
    blocked_by: Mapped[str]
    blocked_at: Mapped[datetime] = mapped_column(default=now)
    lifted_by: Mapped[str | None]
    lifted_at: Mapped[datetime | None]


class SafetyWarning(Base):
    """A warning to the likely victim of a conversation. It has no word of what was written, and no flag."""

    __tablename__ = "safety_warnings"
    __subject__ = "recipient_id"
    __erasure__ = OnErasure(delete=True)
    __table_args__ = (UniqueConstraint("conversation_id", "recipient_id", "number"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    recipient_id: Mapped[uuid.UUID] = mapped_column(Uuid(), index=True)
    conversation_id: Mapped[uuid.UUID] = mapped_column(Uuid())
    number: Mapped[int]
    text_version: Mapped[str]
    """Which of the house's texts is shown; the text is no part of the row."""
    alarms: Mapped[int]
    """Alarms in the conversation when it was made: the next is due so many later."""
    made_at: Mapped[datetime] = mapped_column(default=now)

"""Models of the real-name check: how often it was tried, and who has passed it."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from vaultstore import OnErasure
from vaultstore.members.base import Base

__all__ = ["VerificationCount", "VerifiedBadge"]


class VerificationCount(Base):
    """Attempts in one window of one member, actor or submitted number, which only a keyed tag tells."""

    __tablename__ = "verification_counts"

    tag: Mapped[str] = mapped_column(primary_key=True)
    used: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(index=True)
    """When it may be swept up."""


class VerifiedBadge(Base):
    """Since when a member is known to be who they say. That and nothing else."""

    __tablename__ = "verified_badges"
    __subject__ = "member_id"
    __erasure__ = OnErasure(delete=True)

    member_id: Mapped[uuid.UUID] = mapped_column(Uuid(), ForeignKey("members.id"), primary_key=True)
    verified_at: Mapped[datetime]

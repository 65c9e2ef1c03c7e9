"""What the safety desk tells: pseudonyms, flags and counts; texts only of a conversation that was opened in a case."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["FlaggedConversation", "Opened", "TriagePage", "Warned", "Written"]


@dataclass(frozen=True, slots=True)
class FlaggedConversation:
    """A conversation with alarms, without a word of it. Names are pseudonyms of the day."""

    conversation: str
    suspect: str
    """Who wrote most of the alarms."""
    target: str
    """Whom they wrote them to."""
    messages: int
    alarms: int
    flags: Mapping[str, int]
    """Flag -> messages that raise it."""
    first_alarm: datetime
    last_alarm: datetime
    warnings: int
    blocked: bool


@dataclass(frozen=True, slots=True)
class TriagePage:
    """Conversations of a page that have alarms, those with most of them first."""

    conversations: tuple[FlaggedConversation, ...]
    looked_at: int
    withheld: int
    """Messages whose flags the gate refused: restricted senders, or a limit that is spent."""
    after: uuid.UUID | None
    """Where the next page goes on; None: this was the last."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning as the member sees it: no sender, no text of theirs."""

    conversation: uuid.UUID
    number: int
    text_version: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Written:
    """A message of a conversation that was opened in a case. Names are pseudonyms of the case."""

    sender: str
    recipient: str
    sent_at: datetime
    text: str | None = field(repr=False)
    """None where the gate withholds it: its sender is none of the case's subjects, or restricted."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A conversation that was asked for: the case, and the request that two other people have to approve."""

    case: str
    request: str
    subjects: tuple[uuid.UUID, ...]
    """Whom a token of ``safety.investigation`` has to name, exactly."""
    until: datetime

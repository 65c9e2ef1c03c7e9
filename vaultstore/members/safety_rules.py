"""When a message counts as an alarm, and when the likely victim is warned again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["WarningPlan", "alarmed"]


def alarmed(flags: object) -> bool:
    """Whether a message with these flags (the value of its `chat_flags`) is an alarm: it raises any flag.

    A flag takes a request and what is asked for, so one is enough. What weighs them against each other is the count
    per conversation, and a person.
    """
    return isinstance(flags, Collection) and not isinstance(flags, str) and len(flags) > 0


@dataclass(frozen=True, slots=True)
class WarningPlan:
    """When the likely victim of a conversation is warned: often, and not with every message."""

    first_after: int = 1
    """Alarms before the first warning."""
    again_after: int = 5
    """New alarms after which the warning is repeated."""
    again_in: timedelta = timedelta(days=3)
    """Time after which it is repeated where the talk goes on: one new alarm is enough then."""
    most: int = 20
    """Warnings a conversation gets at most."""

    def due(self, alarms: int, warnings: int, alarms_then: int, warned_at: datetime | None, now: datetime) -> bool:
        """Whether a warning is due after `alarms`, given how many warnings there were, at how many alarms, and when."""
        if alarms < self.first_after or warnings >= self.most:
            return False
        if warned_at is None:
            return True
        return alarms - alarms_then >= self.again_after or (alarms > alarms_then and now - warned_at >= self.again_in)

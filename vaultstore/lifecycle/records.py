"""What the facades share: the ledger whose tables they change, and ids as 16 bytes."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from vaultstore.errors import SubjectErased
from vaultstore.records import subjects

__all__ = ["Registry", "Subject", "held", "id_of", "key_of"]

Subject = uuid.UUID | bytes
"""A subject as callers name it: a UUID, or its 16 bytes."""


class Registry(Protocol):
    """The gate's tables, as far as a facade changes them. Both ledgers are one."""

    @property
    def now(self) -> datetime:
        """The time by the clock that decides."""

    def gate(self) -> AbstractContextManager[sa.Connection]:
        """A transaction on the tables that the gate decides by."""

    def erasing(self) -> AbstractContextManager[tuple[sa.Connection, sa.Connection]]:
        """(members' side, gate's side) for an erasure, locked in that order."""


def key_of(subject: Subject) -> bytes:
    """The 16 bytes of a subject."""
    return subject.bytes if isinstance(subject, uuid.UUID) else uuid.UUID(bytes=subject).bytes


def id_of(key: bytes) -> uuid.UUID:
    """The subject of these 16 bytes, as a UUID."""
    return uuid.UUID(bytes=key)


def held(connection: sa.Connection, key: bytes, now: datetime) -> str:
    """Register the subject where it is new, lock it against the gate, and give its state. Raises SubjectErased."""
    subjects.ensure(connection, [key], now)
    state = subjects.lock(connection, key)
    if state is None or state == subjects.ERASED:
        raise SubjectErased(
            f"the data keys of subject {id_of(key)} were destroyed", reason="subject.erased", subject=id_of(key)
        )
    return state

"""What the facades of a store work with, put together by the store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa

from vaultstore.audit.log import AuditLog
from vaultstore.errors import UnsupportedOperation
from vaultstore.gate import Gate, OpenGrant, PostgresLedger, SqliteLedger
from vaultstore.grants import Grant
from vaultstore.keys import Keys
from vaultstore.lifecycle.journal import Journal, NoJournal
from vaultstore.lifecycle.retention import Retention
from vaultstore.orm import ModelRegistry, PurposeSession
from vaultstore.policy import BoundPolicy

__all__ = ["HasParts", "Opener", "Parts", "Token", "token_of"]

Token = str | Callable[[], str]
"""A client token, or what gives one: it is called again when a long job outlives the first."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an open store. Safe to share between threads."""

    engine: sa.Engine
    """The members' side."""
    gate_engine: sa.Engine
    ledger: PostgresLedger | SqliteLedger
    keys: Keys = field(repr=False)
    policy: BoundPolicy
    models: ModelRegistry
    clock: Callable[[], datetime]
    gate: Gate
    origin: str
    """Names the audit log."""
    verify: Callable[[str], Grant]
    """Checks a token, see `Store.verify`."""
    session: Callable[..., PurposeSession]
    """Opens a session, see `Store.session`."""
    opened: Callable[[str], OpenGrant]
    """The open grant of a token, shared with its sessions."""
    retention: Retention = field(default_factory=Retention)
    journal: Journal = field(default_factory=NoJournal)

    @property
    def now(self) -> datetime:
        """The time by the clock that decides."""
        return self.ledger.now

    def log(self) -> AuditLog:
        """The audit log."""
        return AuditLog(self.gate_engine, self.origin)


class HasParts(Protocol):
    """A store, as far as facades need it."""

    @property
    def parts(self) -> Parts:
        """Its parts."""


Opener = Callable[[], AbstractContextManager[HasParts]]
"""Opens the store in another process: a function of a module, so that it can be pickled."""


def token_of(token: Token) -> str:
    """The token to use now. Raises UnsupportedOperation for what is neither a token nor gives one."""
    given = token() if callable(token) else token
    if not isinstance(given, str):
        raise UnsupportedOperation("a token is a string, or a function that returns one")
    return given

"""What happens at the ends of a session's transactions, and when objects leave it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import InstanceState, SessionTransaction
from sqlalchemy.orm.attributes import instance_state

from vaultstore.orm.flush import seal_pending
from vaultstore.orm.registry import info_of
from vaultstore.orm.role import enter
from vaultstore.orm.types import NOTHING, OPEN_KEY, Cell

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["close_state", "listen"]


def close_state(state: InstanceState[Any]) -> None:
    """Take the plaintext off an object; what was assigned and is not sealed yet stays, it is the caller's own."""
    info = info_of(state.manager.mapper)
    for key in info.sealed_keys:  # that a value is NULL was disclosed too
        if key not in state.committed_state and state.dict.get(key, NOTHING) is None:
            del state.dict[key]
    for values in (state.dict, state.committed_state):
        for key in info.sealed_keys:
            cell = values.get(key)
            if cell.__class__ is Cell and cell.ct is not None:
                values[key] = cell.ct
                with contextlib.suppress(AttributeError):
                    del cell.v  # for shallow copies of the object, which share the cell
    state.dict.pop(OPEN_KEY, None)


def listen(session_class: type[PurposeSession]) -> None:
    """Put the rules on every session of this class."""
    for name, rule in _RULES.items():
        event.listen(session_class, name, rule)


def _created(session: PurposeSession, transaction: SessionTransaction) -> None:
    session.lease.take()  # a session may be used again after close()


def _begun(session: PurposeSession, transaction: SessionTransaction, connection: Connection) -> None:
    if not transaction.nested and connection.dialect.name == "postgresql" and session.role is not None:
        enter(session, session.role, connection)


def _before_flush(session: PurposeSession, context: Any, instances: Any) -> None:
    session.check_alive()
    seal_pending(session)


def _detached(session: PurposeSession, instance: Any) -> None:
    close_state(instance_state(instance))


def _committed(session: PurposeSession) -> None:
    session.epoch += 1
    session.minting.on_commit(session)


def _rolled_back(session: PurposeSession) -> None:
    session.epoch += 1


def _ended(session: PurposeSession, transaction: SessionTransaction) -> None:
    session.minting.on_end(transaction)


_RULES: dict[str, Callable[..., None]] = {
    "after_transaction_create": _created,
    "after_begin": _begun,
    "before_flush": _before_flush,
    "persistent_to_detached": _detached,
    "deleted_to_detached": _detached,
    "after_commit": _committed,
    "after_rollback": _rolled_back,
    "after_transaction_end": _ended,
}

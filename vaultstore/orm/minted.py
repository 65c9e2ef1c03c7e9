"""Data keys made in a transaction: good for later seals only once that transaction has committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.orm import SessionTransaction

from vaultstore.gate.protocol import KeyRef

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["MintedKeys"]


class MintedKeys:
    """Follows the session's transactions and savepoints.

    The wraps of new keys are rows of the transaction that made them: rolled back, they are gone, and a value sealed
    under a key that was kept would be lost. So a key counts as committed on evidence only.
    """

    def __init__(self, session: PurposeSession) -> None:
        self._opened = session.opened
        # In somebody else's transaction, the session's commit is not the one that counts.
        self._external = isinstance(session.bind, Connection)
        self._waiting: dict[SessionTransaction, list[KeyRef]] = {}
        self._committed: set[SessionTransaction] = set()

    def add(self, session: PurposeSession, refs: Sequence[KeyRef]) -> None:
        """Note keys of the innermost transaction."""
        transaction = _innermost(session)
        if refs and transaction is not None:
            self._waiting.setdefault(transaction, []).extend(refs)

    def on_commit(self, session: PurposeSession) -> None:
        """The innermost transaction or savepoint has committed."""
        transaction = _innermost(session)
        if transaction in self._waiting:
            self._committed.add(transaction)

    def on_end(self, transaction: SessionTransaction) -> None:
        """A transaction or savepoint is over, one way or the other."""
        refs = self._waiting.pop(transaction, None)
        if not refs:
            return
        outer = _outer(transaction)
        if transaction not in self._committed:
            self._opened.rolled_back(refs)
        elif outer is not None:
            self._waiting.setdefault(outer, []).extend(refs)
        elif not self._external:
            self._opened.committed(refs)
        self._committed.discard(transaction)


def _innermost(session: PurposeSession) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _outer(transaction: SessionTransaction) -> SessionTransaction | None:
    """The savepoint or transaction around a savepoint; None around a transaction."""
    outer = transaction.parent
    while outer is not None and not outer.nested and outer.parent is not None:
        outer = outer.parent
    return outer

"""Subjects: registered, restricted, erased."""

from __future__ import annotations

from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle import restriction
from vaultstore.lifecycle.journal import NoJournal
from vaultstore.lifecycle.parts import Parts, Token, token_of
from vaultstore.lifecycle.records import Registry, Subject, key_of
from vaultstore.records import keyring, states, subjects
from vaultstore.records.states import StateChange

__all__ = ["Subjects"]


class Subjects:
    """States of subjects. Each change waits for admissions and writes that are under way, and holds new ones up."""

    def __init__(self, registry: Registry, parts: Parts | None = None) -> None:
        self._registry, self._parts = registry, parts

    def __repr__(self) -> str:
        return "<Subjects>"

    def register(self, *named: Subject) -> None:
        """Register subjects as active, where they are new; `seal` does so by itself."""
        now = self._registry.now
        with self._registry.gate() as connection:
            subjects.ensure(connection, map(key_of, named), now)

    def state(self, subject: Subject) -> str | None:
        """``active``, ``restricted`` or ``erased``; None where it is not registered."""
        with self._registry.gate() as connection:
            return subjects.lock(connection, key_of(subject))

    def restrict(
        self, subject: Subject, *, reason: str, token: Token | None = None, operator: str = "operator"
    ) -> None:
        """Restrict processing: only purposes that see restricted subjects read, none writes; others see no rows.

        Under a `token` of ``privacy.request``, or the member's own (a purpose with ``subjects: self``); else an
        operator is named for the audit log. `reason` is kept and is no place for personal data. Harmless when repeated.
        Raises SubjectErased, and AccessDenied where the token may not.
        """
        self._change(subject, reason, token, operator, lifted=False)

    def lift(self, subject: Subject, *, reason: str, token: Token | None = None, operator: str = "operator") -> None:
        """Lift a restriction; see `restrict`. A member's own token can't: silent accounts are taken over first."""
        self._change(subject, reason, token, operator, lifted=True)

    def history(self, subject: Subject) -> list[StateChange]:
        """Every state that a subject was in, oldest first, with reasons."""
        with self._registry.gate() as connection:
            return states.history(connection, key_of(subject))

    def erase(self, subject: Subject, *, reason: str) -> int:
        """Destroy every data key of a subject, for ever; how many there were. Harmless when repeated.

        This is the crypto-shredding: no value sealed under those keys opens again, in no backup of the rows either.
        """
        key, now = key_of(subject), self._registry.now
        with self._registry.erasing() as (members, gate):
            subjects.ensure(gate, [key], now)
            if subjects.lock(gate, key) != subjects.ERASED:
                subjects.change(gate, key, subjects.ERASED, now, reason)
            states.show(members, [key])
            return keyring.destroy(members, key)

    def _change(self, subject: Subject, reason: str, token: Token | None, operator: str, *, lifted: bool) -> None:
        grant, journal = None, NoJournal() if self._parts is None else self._parts.journal
        if token is not None:
            if self._parts is None:
                raise UnsupportedOperation("without a store there is nobody to check a token")
            grant = self._parts.verify(token_of(token))
        now, key = self._registry.now, key_of(subject)
        order = restriction.order_of(now, reason=reason, lifted=lifted, grant=grant, operator=operator)
        changed = restriction.change_state(self._registry, [key], order, journal)
        restriction.raise_refusal(changed, order, [key])

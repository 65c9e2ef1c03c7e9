"""Subjects: registered, restricted, erased."""

from __future__ import annotations

from vaultstore.lifecycle.records import Registry, Subject, held, key_of
from vaultstore.records import keyring, subjects

__all__ = ["Subjects"]


class Subjects:
    """States of subjects. Each change waits for admissions and writes that are under way, and holds new ones up."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

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

    def restrict(self, subject: Subject, *, reason: str) -> None:
        """Restrict processing: only purposes that see restricted subjects read, none writes. Raises SubjectErased."""
        self._change(subject, subjects.RESTRICTED, reason)

    def lift(self, subject: Subject, *, reason: str) -> None:
        """Lift a restriction. Raises SubjectErased."""
        self._change(subject, subjects.ACTIVE, reason)

    def erase(self, subject: Subject, *, reason: str) -> int:
        """Destroy every data key of a subject, for ever; how many there were. Harmless when repeated.

        This is the crypto-shredding: no value sealed under those keys opens again, in no backup of the rows either.
        """
        key, now = key_of(subject), self._registry.now
        with self._registry.erasing() as (members, gate):
            subjects.ensure(gate, [key], now)
            if subjects.lock(gate, key) != subjects.ERASED:
                subjects.change(gate, key, subjects.ERASED, now, reason)
            return keyring.destroy(members, key)

    def _change(self, subject: Subject, state: str, reason: str) -> None:
        key, now = key_of(subject), self._registry.now
        with self._registry.gate() as connection:
            if held(connection, key, now) != state:
                subjects.change(connection, key, state, now, reason)

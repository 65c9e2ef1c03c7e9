"""Consent: given under a version of a notice, and withdrawn as easily."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.journal import Journal, NoJournal
from vaultstore.lifecycle.records import Registry, Subject, held, key_of
from vaultstore.records import consents, subjects
from vaultstore.records.consents import Consent

__all__ = ["Consents"]


class Consents:
    """The consent ledger. A withdrawal waits for admissions that are under way, and holds for all later ones."""

    def __init__(self, registry: Registry, journal: Journal | None = None) -> None:
        self._registry, self._journal = registry, journal or NoJournal()

    def __repr__(self) -> str:
        return "<Consents>"

    def grant(self, subject: Subject, kind: str, *, notice_version: str, evidence: str | None = None) -> None:
        """Write down that the subject consented, having been shown that version of the notice. Raises SubjectErased.

        `evidence` says how that is known (a form's id, a recording's); it is no place for personal data.
        """
        key, now = key_of(subject), self._registry.now
        with self._registry.gate() as connection:
            held(connection, key, now)
            consents.add(connection, Consent(key, kind, notice_version, now, None, evidence))

    def take_over(
        self, kind: str, granted: Mapping[Subject, datetime], *, notice_version: str, evidence: str | None = None
    ) -> int:
        """Write down consents that were given elsewhere, with their times, in one transaction; how many were new.

        Subjects who have an entry of that kind already, withdrawn ones included, keep it as it is: taking over the
        same list twice changes nothing, and never revives what a member took back. Erased subjects are passed over.
        Times are aware (else UnsupportedOperation); a consent whose time is still to come does not hold before it.
        """
        if any(at.tzinfo is None for at in granted.values()):
            raise UnsupportedOperation("the time of a consent must be aware")
        now = self._registry.now
        given = [Consent(key_of(subject), kind, notice_version, at, None, evidence) for subject, at in granted.items()]
        with self._registry.gate() as connection:
            subjects.ensure(connection, [consent.subject for consent in given], now)
            return consents.add_first(connection, given)

    def withdraw(self, subject: Subject, kind: str) -> int:
        """End every consent of that kind which still holds; how many there were."""
        key, now = key_of(subject), self._registry.now
        with self._registry.gate() as connection:
            held(connection, key, now)
            ended = consents.withdraw(connection, key, kind, now)
            if ended:
                self._journal.append("withdraw", connection=connection, subject=key, consent=kind, at=now)
            return ended

    def history(self, subject: Subject) -> list[Consent]:
        """Every consent that the subject ever gave, oldest first."""
        with self._registry.gate() as connection:
            return consents.history(connection, key_of(subject))

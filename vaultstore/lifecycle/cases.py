"""Cases: what lets one person at the data of the subjects that it names, while it is open."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from vaultstore.errors import ApprovalMissing
from vaultstore.lifecycle.records import Registry, Subject, key_of
from vaultstore.records import cases
from vaultstore.records.cases import Case

__all__ = ["Cases"]


class Cases:
    """Opens and closes cases."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __repr__(self) -> str:
        return "<Cases>"

    def open(
        self,
        kind: str,
        *,
        assigned_to: str,
        subjects: Iterable[Subject],
        note: str | None = None,
        case_id: str | None = None,
    ) -> str:
        """Open a case of `kind` and assign it to an actor; its id, a new one unless one is given.

        `subjects` are all that it will ever name. `note` is no place for personal data.
        """
        case_id = case_id or str(uuid.uuid4())
        named, now = tuple(sorted({key_of(subject) for subject in subjects})), self._registry.now
        with self._registry.gate() as connection:
            cases.add(connection, Case(case_id, kind, assigned_to, now, None, note, named))
        return case_id

    def close(self, case_id: str) -> None:
        """Close a case: it lets nobody in any more. Raises ApprovalMissing where there is no such open case."""
        now = self._registry.now
        with self._registry.gate() as connection:
            if not cases.close(connection, case_id, now):
                raise ApprovalMissing(f"there is no open case {case_id}", reason="case.missing")

    def get(self, case_id: str) -> Case | None:
        """The case of that id, or None."""
        with self._registry.gate() as connection:
            return cases.get(connection, case_id)

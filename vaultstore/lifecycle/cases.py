"""Cases: what lets one person at the data of the subjects that it names, while it is open."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from vaultstore.errors import ApprovalMissing, UnsupportedOperation
from vaultstore.lifecycle import erasure
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.records import Registry, Subject, key_of
from vaultstore.orm.role import sqlstate
from vaultstore.records import cases
from vaultstore.records.cases import Case

__all__ = ["Cases"]


class Cases:
    """Opens and closes cases."""

    def __init__(self, registry: Registry, parts: Parts | None = None) -> None:
        self._registry, self._parts = registry, parts

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
        scopes: Mapping[Subject, Iterable[uuid.UUID]] | None = None,
    ) -> str:
        """Open a case of `kind` and assign it to an actor; its id, a new one unless one is given.

        `subjects` are all that it will ever name. `scopes` are what the case can't do without: where a subject of it
        is erased, the keys of these scopes (conversations) stay, for this case alone, until it closes. A case
        that is opened after the erasure gets nothing back. `note` is no place for personal data. Raises
        UnsupportedOperation for scopes of a subject that the case does not name, or that is not registered.
        """
        case_id = case_id or str(uuid.uuid4())
        named, now = tuple(sorted({key_of(subject) for subject in subjects})), self._registry.now
        kept = {key_of(subject): frozenset(s.bytes for s in each) for subject, each in (scopes or {}).items()}
        if kept.keys() - set(named):
            raise UnsupportedOperation("a case keeps scopes of subjects that it names")
        try:
            with self._registry.gate() as connection:
                cases.add(connection, Case(case_id, kind, assigned_to, now, None, note, named, kept))
        except sa.exc.IntegrityError as error:
            # Subjects and the case itself are there: only scopes refer to what may be missing.
            if sqlstate(error) != "23503" and "FOREIGN KEY" not in str(error.orig):
                raise
        else:
            return case_id
        raise UnsupportedOperation("a case keeps scopes of subjects that are registered")

    def close(self, case_id: str) -> list[uuid.UUID]:
        """Close a case: it lets nobody in any more, and what it held of erased subjects is destroyed: of whom.

        Raises ApprovalMissing where there is no such open case.
        """
        order = erasure.order_of(self._registry.now, self._parts, reason="the case was closed")
        released = erasure.close_case(self._registry, case_id, order)
        if released is None:
            raise ApprovalMissing(f"there is no open case {case_id}", reason="case.missing")
        return released

    def get(self, case_id: str) -> Case | None:
        """The case of that id, or None."""
        with self._registry.gate() as connection:
            return cases.get(connection, case_id)

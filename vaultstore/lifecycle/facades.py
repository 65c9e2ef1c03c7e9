"""What a store offers over its records and keys, beside sessions: one attribute a concept."""

from __future__ import annotations

from vaultstore.lifecycle.approvals import Approvals
from vaultstore.lifecycle.cases import Cases
from vaultstore.lifecycle.consents import Consents
from vaultstore.lifecycle.jobs import Jobs
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.revocations import Revocations
from vaultstore.lifecycle.subjects import Subjects

__all__ = ["Facades"]


class Facades:
    """Base of a store: its facades."""

    consents: Consents
    cases: Cases
    subjects: Subjects
    jobs: Jobs
    parts: Parts
    """What the facades work with; not for callers."""

    def _furnish(self, parts: Parts) -> None:
        self.parts = parts
        self.consents = Consents(parts.ledger)
        self.cases = Cases(parts.ledger)
        self.subjects = Subjects(parts.ledger)
        self.jobs = Jobs(parts.engine)
        self._approvals = Approvals(parts.ledger, parts.gate)
        self._revocations = Revocations(parts.ledger)

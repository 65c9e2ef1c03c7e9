"""What a store offers over its records and keys, beside sessions: one attribute a concept."""

from __future__ import annotations

from vaultstore.lifecycle.approvals import Approvals
from vaultstore.lifecycle.cases import Cases
from vaultstore.lifecycle.consents import Consents
from vaultstore.lifecycle.indexes import Indexes
from vaultstore.lifecycle.jobs import Jobs
from vaultstore.lifecycle.journal_replay import Facades as Doers
from vaultstore.lifecycle.journals import Journals
from vaultstore.lifecycle.keyring import Keyring
from vaultstore.lifecycle.keyring_dump import KeyringDump
from vaultstore.lifecycle.moves import Moves
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.portability import Portability
from vaultstore.lifecycle.projections import Projections
from vaultstore.lifecycle.rekey import SubjectKeys
from vaultstore.lifecycle.revocations import Revocations
from vaultstore.lifecycle.subjects import Subjects

__all__ = ["Facades"]


class Facades:
    """Base of a store: its facades."""

    consents: Consents
    cases: Cases
    subjects: Subjects
    jobs: Jobs
    moves: Moves
    projections: Projections
    portability: Portability
    subject_keys: SubjectKeys
    journal: Journals
    keyring: Keyring
    keyring_dump: KeyringDump
    indexes: Indexes
    parts: Parts
    """What the facades work with; not for callers."""

    def _furnish(self, parts: Parts) -> None:
        self.parts = parts
        self.consents = Consents(parts.ledger, parts.journal)
        self.cases = Cases(parts.ledger, parts)
        self.subjects = Subjects(parts.ledger, parts)
        self.jobs = Jobs(parts.engine)
        self.moves = Moves(parts, self.jobs)
        self.projections = Projections(parts, self.jobs)
        self.portability = Portability(parts)
        self.subject_keys = SubjectKeys(parts)
        self._approvals = Approvals(parts.ledger, parts.gate)
        self._revocations = Revocations(parts.ledger, parts.journal)
        self.journal = Journals(Doers(parts, self.subjects, self.consents, self.cases, self._revocations))
        self.keyring = Keyring(parts, self.jobs)
        self.indexes = Indexes(parts, self.jobs)
        self.keyring_dump = KeyringDump(parts)

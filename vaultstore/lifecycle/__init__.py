"""What happens to subjects, consents, cases, approvals and tokens over time."""

from __future__ import annotations

from vaultstore.lifecycle.approvals import Approvals
from vaultstore.lifecycle.cases import Cases
from vaultstore.lifecycle.consents import Consents
from vaultstore.lifecycle.jobs import Jobs
from vaultstore.lifecycle.revocations import Revocations
from vaultstore.lifecycle.subjects import Subjects
from vaultstore.records.cases import Case
from vaultstore.records.consents import Consent

__all__ = ["Approvals", "Case", "Cases", "Consent", "Consents", "Jobs", "Revocations", "Subjects"]

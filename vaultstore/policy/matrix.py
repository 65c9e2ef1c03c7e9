"""The policy as a table and as an explanation: what each purpose gets of each field, and which line says so."""

from __future__ import annotations

from dataclasses import dataclass

from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.lattice import OPERATIONS, verdict
from vaultstore.policy.model import Purpose
from vaultstore.policy.rights import Decision, entry_of

__all__ = ["Cell", "Explanation", "explain", "matrix"]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one purpose may do with one field."""

    purpose: str
    model: str
    field: str
    category: str
    """The field's source category."""
    read: str
    """``clear``, ``masked:CATEGORY`` or ``denied``."""
    search: bool
    write: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and the policy behind it."""

    cell: Cell
    decision: Decision
    line: str
    """The line of policy at `decision.place`."""
    rows: str | None
    """Name of the row scope that the purpose reads the model under."""
    purpose: Purpose
    """With its requirements, limits and times."""


def matrix(bound: BoundPolicy) -> tuple[Cell, ...]:
    """Every purpose against every field, in the order of the policy and of the models."""
    return tuple(
        _cell(bound, purpose, model.name, field.name)
        for purpose in bound.purposes
        for model in bound.catalogue
        for field in model.fields
    )


def explain(bound: BoundPolicy, purpose: str, model: str, field: str) -> Explanation:
    """Why a purpose gets what it gets of a field. Raises PolicyError for a name that is not one."""
    asked, decision = bound.purpose(purpose), bound.decision(purpose, model, field)
    owner, _ = bound.field(model, field)
    return Explanation(
        cell=_cell(bound, purpose, model, field),
        decision=decision,
        line=bound.rules.line(decision.place),
        rows=asked.rows(owner.name, *owner.bases) if entry_of(asked.read, owner) else None,
        purpose=asked,
    )


def _cell(bound: BoundPolicy, purpose: str, model: str, field: str) -> Cell:
    asked = bound.purpose(purpose)
    owner, found = bound.field(model, field)
    read, search, write = (verdict(asked, owner, found, operation) for operation in OPERATIONS)
    return Cell(purpose, model, field, found.category, read, search == "allowed", write == "allowed")

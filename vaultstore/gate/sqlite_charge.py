"""The gate's steps on SQLite for acts that are counted and open nothing: a claim, a call."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from vaultstore.errors import AuditError
from vaultstore.gate.ledger import Admission

if TYPE_CHECKING:
    from vaultstore.gate.claims import Claims
    from vaultstore.gate.sqlite_steps import Step

__all__ = ["ACTS", "ChargeSteps"]

ACTS = frozenset({"claim", "assign", "contact"})
"""What can be counted without opening anything."""


class ChargeSteps:
    """A part of SqliteLedger."""

    def _step(self, claims: Claims, begin: str = ...) -> AbstractContextManager[Step]:  # type: ignore[empty-body]
        """SqliteLedger's."""

    def charge(self, claims: Claims, verb: str, model: str, subject: bytes, unit: bytes, whose: str) -> Admission:
        """Steps 1 to 4 for an act of `verb` on one subject, which counts as `unit` against the purpose's limits."""
        if verb not in ACTS:
            raise AuditError(f"{verb!r} is no act that is counted, so nothing was admitted")
        with self._step(claims) as step:
            closure, code = step.ready(lambda c: bool(c.limits.get(verb)) and model in c.read, reads=False)
            if closure is None:
                return step.refuse(verb, code, {"subjects": 1}, model=model)
            numbers, odd = step.number([subject])
            refused = step.judge(closure, [subject], odd)
            if not refused and step.spend(closure, verb, [unit], whose=whose):
                refused = {subject: "budget.exhausted"}
            lines, salts = step.lines([subject], numbers, odd, refused, "counted")
            outcome = refused.get(subject)
            entry = step.write(
                verb,
                "counted" if outcome is None else f"refused:{outcome}",
                {"subjects": 1, "counted": 1 - len(refused)},
                model=model,
                lines=lines,
                salts=salts,
            )
            return Admission(entry, refused=refused)

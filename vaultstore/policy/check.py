"""`policy check`: everything that is wrong with a policy, and what deserves a second look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vaultstore.catalogue import Catalogue
from vaultstore.errors import PolicyError
from vaultstore.policy.bind import problems
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.lattice import verdict
from vaultstore.policy.lock import Lock
from vaultstore.policy.model import PolicyTest
from vaultstore.policy.remarks import Remark, remarks
from vaultstore.policy.remarks_reach import reach_remarks
from vaultstore.policy.remarks_services import service_remarks
from vaultstore.policy.rights import entry_of
from vaultstore.policy.rules import Rules

__all__ = ["HasRules", "Report", "check"]


class HasRules(Protocol):
    """A policy, loaded or bound."""

    @property
    def rules(self) -> Rules:
        """What its files say."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    errors: tuple[PolicyError, ...]
    warnings: tuple[Remark, ...]
    tests: int = 0
    """How many tests of the policy ran."""
    bound: BoundPolicy | None = None
    """The policy bound to its models, where it fits them."""

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings do not count."""
        return not self.errors


def check(policy: HasRules, catalogue: Catalogue, lock: Lock | str | Path | None = None) -> Report:
    """Bind, run every rule of `never` and every test, and compare with the lock where one is given (or its path)."""
    rules = policy.rules
    warnings = [*remarks(rules, catalogue), *service_remarks(rules, catalogue)]
    errors = problems(rules, catalogue)
    errors += _locked(catalogue, lock) if lock is not None else ()
    if any(error for error in errors if error.file in rules.files):
        return Report(tuple(errors), tuple(sorted(warnings)))
    bound = BoundPolicy(rules, catalogue)
    warnings += reach_remarks(bound)
    for number, test in enumerate(rules.tests):
        actual, because = _outcome(bound, test)
        if actual != test.expect:
            verb = {"read": "gets", "search": "searches", "write": "writes"}[test.verb]
            what = f"{test.model}.{test.field}" if test.field else f"rows of {test.model}"
            reason = f"test failed: {test.purpose} {verb} {what}: expected {test.expect}, is {actual}"
            errors.append(rules.places.at("tests", str(number)).error(f"{reason} ({because})"))
    return Report(tuple(errors), tuple(sorted(warnings)), len(rules.tests), bound)


def _outcome(bound: BoundPolicy, test: PolicyTest) -> tuple[str, str]:
    """What is so, and why."""
    if not test.field:
        return _rows(bound, test)
    purpose = bound.purpose(test.purpose)
    model, field = bound.field(test.model, test.field)
    actual, names = verdict(purpose, model, field, test.verb), (model.name, *model.bases)
    if test.verb == "read":
        decision = bound.decision(test.purpose, test.model, test.field)
        return actual, f"{decision.because}, {decision.place}"
    listed = purpose.searches(*names) if test.verb == "search" else purpose.writes(*names)
    place = bound.rules.places.at("purposes", purpose.name, test.verb, model.name)
    because = f"{purpose.name} may {test.verb} {', '.join(sorted(listed)) or 'nothing'} of {model.name}, {place}"
    return actual, because


def _rows(bound: BoundPolicy, test: PolicyTest) -> tuple[str, str]:
    purpose, model = bound.purpose(test.purpose), bound.catalogue.models[test.model]
    sections = {"read": purpose.read, "search": purpose.search, "write": purpose.write}
    asked = sections if test.verb == "read" else {"write": purpose.write}
    found = next(((s, name) for s, listed in asked.items() if (name := entry_of(listed, model))), None)
    if found is None:
        place = bound.rules.places.at("purposes", purpose.name)
        return "denied", f"{purpose.name} lists {model.name} not under {' or '.join(asked)}, {place}"
    return "allowed", f"listed under {found[0]}, {bound.rules.places.at('purposes', purpose.name, *found)}"


def _locked(catalogue: Catalogue, lock: Lock | str | Path) -> Iterator[PolicyError]:
    try:
        locked = lock if isinstance(lock, Lock) else Lock.load(lock)
    except PolicyError as error:
        yield error
        return
    for change in locked.diff(Lock.of(catalogue)):
        reason = f"{change}: review what people see, then run `vaultstore policy lock`"
        column = 1 if change.line else None
        yield PolicyError(reason, file=locked.path or "fields.lock", line=change.line, column=column)

"""What a policy may say, and yet a reviewer should look at twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vaultstore.catalogue import Catalogue
from vaultstore.policy.model import Purpose
from vaultstore.policy.places import Place
from vaultstore.policy.rules import Rules

__all__ = ["Remark", "remarks"]


@dataclass(frozen=True, slots=True, order=True)
class Remark:
    """A warning and its place."""

    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


def remarks(rules: Rules, catalogue: Catalogue) -> list[Remark]:
    """Every warning, in the order of the policy's lines."""
    found = [*_unused(rules, catalogue)]
    for purpose in rules.purposes.values():
        found += _of_purpose(purpose, rules)
        found += _guessable(purpose, rules, catalogue)
    return sorted(found)


def _unused(rules: Rules, catalogue: Catalogue) -> Iterator[Remark]:
    held = {role for purpose in rules.purposes.values() for role in purpose.roles}
    for role in sorted(set(rules.roles) - held):
        yield Remark(rules.places.at("roles", role), f"no purpose is open to the role {role}")
    for number, rule in enumerate(rules.never):
        for role in sorted(rule.roles - held - set(rules.roles)):
            reason = f"no purpose is open to {role}, so the rule bars nobody of that name: is it spelled right?"
            yield Remark(rules.places.at("never", str(number), "role", role), reason)
    for category in sorted(set(rules.categories) - catalogue.categories):
        yield Remark(rules.places.at("categories", category), f"no field uses the category {category}")
    tested = {test.purpose for test in rules.tests}
    for name in sorted(set(rules.purposes) - tested):
        yield Remark(rules.places.at("purposes", name), f"no test speaks of {name}")


def _of_purpose(purpose: Purpose, rules: Rules) -> Iterator[Remark]:
    path, requires = ("purposes", purpose.name), purpose.requires
    here = rules.places.at(*path)
    for key in ("description", "label", "basis"):
        if not getattr(purpose, key):
            yield Remark(here, f"{purpose.name} has no {key}")
    if purpose.basis in ("consent", "separate_consent") and requires.consent is None:
        reason = f"{purpose.name} rests on consent, but `requires` names none: the gate will not look for it"
        yield Remark(rules.places.at(*path, "basis"), reason)
    if purpose.basis == "consent" and requires.subjects is None:
        yield from _without_own_consent(purpose, rules)
    if requires.approvals and not any(purpose.name in other.approves for other in rules.purposes.values()):
        reason = f"{purpose.name} requires approvals, but no purpose approves it: nobody will ever get in"
        yield Remark(rules.places.at(*path, "requires"), reason)
    opens = purpose.search or any(entry.categories for entry in purpose.read.values())
    if requires.sees_restricted and opens and not (requires.case or requires.subjects or requires.approvals):
        reason = f"{purpose.name} sees restricted members without a case, approvals or named subjects"
        yield Remark(rules.places.at(*path, "requires"), reason)
    if purpose.search and "search" not in purpose.limits:
        reason = f"{purpose.name} searches without a limit: a list of guesses is a dump"
        yield Remark(rules.places.at(*path, "search"), reason)
    reads = any(entry.categories for entry in purpose.read.values())
    for verb, may in (("disclose", reads), ("search", bool(purpose.search))):
        if verb in purpose.limits and not may:
            reason = f"{purpose.name} limits {verb}, which it may not do at all"
            yield Remark(rules.places.at(*path, "limits", verb), reason)
    if "disclose" in purpose.limits or requires.subjects == "self":
        return
    for model, entry in purpose.read.items():
        for name in sorted(c for c in entry.categories if rules.categories[c].sensitive):
            reason = f"{purpose.name} reads {name}, which is sensitive, without a limit on disclose"
            yield Remark(rules.places.at(*path, "read", model, "category", name), reason)


def _without_own_consent(purpose: Purpose, rules: Rules) -> Iterator[Remark]:
    """PIPL Art. 29. Whoever opens one named member at a time was asked for that member; whoever lists was not."""
    for model, entry in purpose.read.items():
        for name in sorted(entry.categories):
            if rules.categories[name].sensitive and rules.categories[name].consent is None:
                reason = (
                    f"{purpose.name} rests on consent and reads {name}: sensitive, and without a consent of its own"
                )
                yield Remark(
                    rules.places.at("purposes", purpose.name, "read", model, "category", name),
                    f"{reason}: one consent for everything is none for what is sensitive",
                )


def _guessable(purpose: Purpose, rules: Rules, catalogue: Catalogue) -> Iterator[Remark]:
    """A writer of an indexed field holds its HMAC key, with which a guess can be tested against the index column."""
    for rule in rules.never:
        for role in sorted(rule.roles & purpose.roles):
            for model in catalogue:
                barred = rule.categories & purpose.writes(model.name, *model.bases)
                for field in model.fields:
                    if field.index is not None and field.category in barred:
                        path = ("purposes", purpose.name, "write", model.name, field.category)
                        reason = f"{role} may not read {field.category}, but writes {model.name}.{field.name}"
                        yield Remark(
                            rules.places.at(*path), f"{reason} and so holds its index key, which tests guesses"
                        )

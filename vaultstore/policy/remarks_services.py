"""What deserves a second look in the services: purposes that no program serves, and programs that serve too much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vaultstore.catalogue import Catalogue
from vaultstore.policy.model import Purpose, Service
from vaultstore.policy.remarks import Remark
from vaultstore.policy.rights import violations
from vaultstore.policy.rules import Rules

__all__ = ["service_remarks"]

_KEPT = {"consents": "consent", "cases": "case", "approvals": "approvals"}
"""Records that a service keeps -> the requirement that rests on them."""


def service_remarks(rules: Rules, catalogue: Catalogue) -> Iterator[Remark]:
    """Warnings about services; none where none is declared, because then one program does everything."""
    if not rules.services:
        return
    for name, purpose in rules.purposes.items():
        yield from _served(name, purpose, rules)
    for service in rules.services.values():
        yield from _believed(service, rules)
        yield from _mixed(service, rules, catalogue)
        yield from _handed(service, rules)


def _served(name: str, purpose: Purpose, rules: Rules) -> Iterator[Remark]:
    if not any(name in service.purposes for service in rules.services.values()):
        yield Remark(rules.places.at("purposes", name), f"no service serves {name}: nobody can use it")
        return
    kept = {record for service in rules.services.values() for record in service.keeps}
    for record, requirement in _KEPT.items():
        if getattr(purpose.requires, requirement) and record not in kept:
            reason = f"{name} requires {requirement}, but no service keeps {record}: nobody will ever get in"
            yield Remark(rules.places.at("purposes", name, "requires"), reason)
    approvers = [other for other, p in rules.purposes.items() if name in p.approves]
    served = [other for other in approvers if any(other in s.purposes for s in rules.services.values())]
    if purpose.requires.approvals and approvers and not served:
        reason = f"{name} is approved under {', '.join(approvers)} alone, which no service serves"
        yield Remark(rules.places.at("purposes", name, "requires"), reason)


def _believed(service: Service, rules: Rules) -> Iterator[Remark]:
    """Whoever takes such a service over makes up what should have held it back."""
    for name in sorted(service.purposes):
        if "consents" in service.keeps and rules.purposes[name].requires.consent:
            reason = f"{service.name} keeps consents and serves {name}, which requires one: it could make it up"
            yield Remark(rules.places.at("services", service.name, "keeps", "consents"), reason)


def _mixed(service: Service, rules: Rules, catalogue: Catalogue) -> Iterator[Remark]:
    """A bar divides people; a program that serves both sides has, once it is taken over, what the bar keeps apart."""
    served = [rules.purposes[name] for name in sorted(service.purposes)]
    for rule in rules.never:
        barred = [purpose for purpose in served if purpose.roles & rule.roles]
        if not barred:
            continue
        roles = ", ".join(sorted(barred[0].roles & rule.roles))
        for other in served:
            as_barred = replace(other, roles=rule.roles)
            crossed = next(violations(as_barred, rule, catalogue), None)
            if other not in barred and crossed is not None:
                what = crossed.says.partition(" and ")[2].partition(", ")[0]
                reason = f"{service.name} serves {barred[0].name}, open to {roles}, and {other.name}, which {what}"
                place = rules.places.at("services", service.name, "purposes", other.name)
                yield Remark(place, f"{reason}: {rule.place} keeps those apart")


def _handed(service: Service, rules: Rules) -> Iterator[Remark]:
    """Wraps are handed out to be wrapped anew, subject by subject unseen; with a key that opens them they are data."""
    served = [rules.purposes[name] for name in sorted(service.purposes)]
    for keeper in (purpose for purpose in served if "rewrap" in purpose.keeps_keys):
        opening = [p.name for p in served if any(entry.categories for entry in p.read.values())]
        if opening:
            reason = (
                f"{service.name} serves {keeper.name}, which is handed wraps, and {', '.join(opening)}, which opens"
                " some: taken over, it reads without the gate. Give key upkeep a service of its own"
            )
            yield Remark(rules.places.at("services", service.name, "purposes", keeper.name), reason)

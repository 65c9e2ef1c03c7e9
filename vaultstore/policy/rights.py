"""What a purpose may do with a field: the decision itself, apart from whoever enforces or explains it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from vaultstore.catalogue import Catalogue, Field, Model
from vaultstore.policy.model import Category, Never, Purpose

__all__ = [
    "Decision",
    "Kind",
    "Violation",
    "consents_of",
    "entry_of",
    "excepted",
    "granted_form",
    "touches",
    "violations",
]

Kind = Literal["clear", "masked", "denied"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a purpose gets of a field, and why."""

    kind: Kind
    category: str | None
    """The category that it is read under; None where it is denied."""
    because: str
    place: str
    """``file:line:column`` of the policy behind it."""

    def __str__(self) -> str:
        return f"masked:{self.category}" if self.kind == "masked" else self.kind


@dataclass(frozen=True, slots=True)
class Violation:
    """A right that a rule of `never` bars."""

    field: str
    """The field that is reached; "" where it is a whole category."""
    path: tuple[str, ...]
    """Where the right is given, as a path of the policy's places."""
    rule: Never
    says: str


def entry_of(section: Mapping[str, object], model: Model) -> str | None:
    """The model whose entry in a purpose's section holds for `model`: itself, or its nearest listed base."""
    return next((name for name in (model.name, *model.bases) if name in section), None)


def touches(purpose: Purpose, model: Model) -> bool:
    """Whether the purpose sees rows of `model` at all."""
    return any(entry_of(section, model) is not None for section in (purpose.read, purpose.search, purpose.write))


def consents_of(purpose: Purpose, categories: Mapping[str, Category]) -> dict[str, str]:
    """Category -> the consent of its own that the purpose takes to open or write it, of those that name one.

    It is asked of purposes that rest on consent: others have another reason to process what is sensitive.
    """
    if purpose.basis not in ("consent", "separate_consent"):
        return {}
    reached = {c for entry in purpose.read.values() for c in entry.categories}
    reached |= {c for written in purpose.write.values() for c in written}
    kinds = {name: categories[name].consent for name in sorted(reached) if name in categories}
    return {name: kind for name, kind in kinds.items() if kind is not None}


def granted_form(granted: frozenset[str], field: Field) -> tuple[Kind, str | None]:
    """The form in which `granted` categories show a field: the source wins, then a projection, else nothing."""
    if field.category in granted:
        return "clear", field.category
    masked = next((p.category for p in field.projections if p.category in granted), None)
    return ("denied", None) if masked is None else ("masked", masked)


def excepted(rule: Never, model: Model, field: Field) -> frozenset[str]:
    """Projections of a field that `rule` allows all the same."""
    return frozenset().union(
        *(rule.exceptions.get(f"{m}.{field.name}", frozenset()) for m in (model.name, *model.bases))
    )


def violations(purpose: Purpose, rule: Never, catalogue: Catalogue) -> Iterator[Violation]:
    """Every right of `purpose` that `rule` bars: reading a category, a projection of its fields, or searching them.

    Writing is not barred: who may enter a phone number need not be able to read one, and never gets a key that opens.
    """
    if not purpose.roles & rule.roles:
        return
    said = set()
    for model in catalogue:
        for violation in _of_model(purpose, rule, model):
            if (violation.path, violation.field) not in said:  # a model that inherits the field adds nothing
                said.add((violation.path, violation.field))
                yield violation


def _of_model(purpose: Purpose, rule: Never, model: Model) -> Iterator[Violation]:
    who = f"{purpose.name} is open to {', '.join(sorted(purpose.roles & rule.roles))}"
    granted = purpose.reads(model.name, *model.bases)
    read_at = ("purposes", purpose.name, "read", entry_of(purpose.read, model) or model.name, "category")
    for category in sorted(granted & rule.categories):
        yield Violation("", (*read_at, category), rule, f"{who} and reads {category} of {model.name}")
    searched = purpose.searches(model.name, *model.bases)
    search_at = ("purposes", purpose.name, "search", entry_of(purpose.search, model) or model.name)
    for field in model.fields:
        if field.category not in rule.categories:
            continue
        for projection in field.projections:
            if projection.category in granted - rule.categories - excepted(rule, model, field):
                mask = f"{projection.category}, a projection of {field.category}"
                says = f"{who} and reads {model.name}.{field.name} as {mask}"
                yield Violation(field.name, (*read_at, projection.category), rule, says)
        if field.name in searched:
            yield Violation(field.name, (*search_at, field.name), rule, f"{who} and searches {model.name}.{field.name}")

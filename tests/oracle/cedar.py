"""The policy written down a second time, in Cedar: what its YAML says, and none of vaultstore's own decisions.

What a purpose lists becomes a permit for each of its roles; a rule of `never` becomes a forbid. Fields, masks and
models are entities, and their parents say what belongs to what:

    Field::"Member.phone"             in Slot::"Member/contact", Model::"Member", Field::"Base.phone" of its base
    Mask::"Member.phone#sales_card"   in Slot::"Member/sales_card", Masked::"contact", Mask of its base
    Slot::"Member/contact"            in Category::"contact", Slot::"Base/contact" of its base

An entry for a base holds for its subclasses that have none of their own: `unless { resource in Model::"Sub" }`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from vaultstore.catalogue import Catalogue

__all__ = ["Asked", "Cedar", "Form"]

Form = str
"""``clear``, ``masked:CATEGORY`` or ``denied``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: may somebody in this role, under this purpose, do this with that?"""

    purpose: str
    role: str
    action: str
    """``read_clear``, ``search`` and ``write`` of a field, ``read_mask`` of a mask, ``see``, ``change`` of a model."""
    resource: str
    """``Field::"Member.phone"``, as Cedar writes it."""


def _id(kind: str, name: str) -> str:
    return f'{kind}::"{name}"'


class Cedar:
    """Cedar's answers for the policy in `document` (what the YAML files say, sections merged) over `catalogue`.

    `never` False leaves the forbids out: where a policy keeps its own rules that changes no answer.
    """

    def __init__(self, document: Mapping[str, Any], catalogue: Catalogue, *, never: bool = True) -> None:
        self.document, self.catalogue = document, catalogue
        forbids = list(self._forbids()) if never else []
        # A permit of another purpose never holds, so each purpose is asked of its own permits and of every forbid.
        self._policies = {
            purpose: cedarpy.PolicySet.from_str("\n".join([*self._permits(purpose), *forbids]))
            for purpose in self.purposes
        }
        self._entities = cedarpy.Entities.from_json_str(json.dumps(list(self._things())))
        self._answers: dict[Asked, bool] = {}

    # ------------------------------------------------------------------------------------------------ questions

    @property
    def purposes(self) -> Mapping[str, Any]:
        """Purposes as the files have them."""
        purposes: Mapping[str, Any] = self.document["purposes"]
        return purposes

    @property
    def roles(self) -> list[str]:
        """Every role that the files name."""
        named = {role for purpose in self.purposes.values() for role in purpose["roles"]}
        return sorted(named | set(self.document.get("roles", ())))

    def resources(self) -> Iterator[tuple[str, str]]:
        """(action, resource) of every cell."""
        for model in self.catalogue:
            yield "see", _id("Model", model.name)
            yield "change", _id("Model", model.name)
            for field in model.fields:
                name = _id("Field", f"{model.name}.{field.name}")
                yield from ((action, name) for action in ("read_clear", "search", "write"))
                for projection in field.projections:
                    yield "read_mask", _id("Mask", f"{model.name}.{field.name}#{projection.category}")

    def everything(self) -> list[Asked]:
        """Every cell: each purpose in each role, allowed to use it or not."""
        return [
            Asked(purpose, role, action, resource)
            for purpose in self.purposes
            for role in self.roles
            for action, resource in self.resources()
        ]

    # ------------------------------------------------------------------------------------------------ answers

    def ask(self, questions: Sequence[Asked]) -> dict[Asked, bool]:
        """Cedar's answer to each; an error of Cedar's own is no answer, and fails."""
        new: dict[str, list[Asked]] = {}
        for asked in questions:
            if asked not in self._answers:
                new.setdefault(asked.purpose, []).append(asked)
        for purpose, of_it in new.items():
            self._ask(of_it, self._policies[purpose])
        return {asked: self._answers[asked] for asked in questions}

    def _ask(self, new: Sequence[Asked], policies: cedarpy.PolicySet) -> None:
        requests = [
            {
                "principal": _id("User", f"a {asked.role}"),
                "action": _id("Action", asked.action),
                "resource": asked.resource,
                "context": {"purpose": asked.purpose},
            }
            for asked in new
        ]
        answers = cedarpy.is_authorized_batch(requests, policies, self._entities)
        assert len(answers) == len(new)
        for asked, answer in zip(new, answers, strict=True):
            assert not answer.diagnostics.errors, (asked, answer.diagnostics.errors)
            assert answer.decision is not cedarpy.Decision.NoDecision, asked
            self._answers[asked] = answer.allowed

    def _yes(self, purpose: str, role: str, action: str, kind: str, name: str) -> bool:
        asked = Asked(purpose, role, action, _id(kind, name))
        return self.ask([asked])[asked]

    def opens(self, purpose: str, role: str, model: str, field: str) -> set[str]:
        """The categories that somebody reads of a field, as itself or as masks of it."""
        found = self.catalogue.models[model].field(field)
        assert found is not None
        name = f"{model}.{field}"
        masks = {p.category for p in found.projections}
        opened = {c for c in masks if self._yes(purpose, role, "read_mask", "Mask", f"{name}#{c}")}
        return opened | ({found.category} if self._yes(purpose, role, "read_clear", "Field", name) else set())

    def read(self, purpose: str, role: str, model: str, field: str) -> Form:
        """How somebody in `role` reads a field under `purpose`: in clear where they may, else as the mask they may."""
        found = self.catalogue.models[model].field(field)
        assert found is not None
        opened = self.opens(purpose, role, model, field)
        if found.category in opened:
            return "clear"
        assert len(opened) <= 1, f"{purpose} reads {model}.{field} through two masks"
        return f"masked:{min(opened)}" if opened else "denied"

    def key_rights(self, purpose: str, role: str) -> tuple[set[str], set[str], set[str]]:
        """Categories that a purpose's login has to open, categories it has to seal, and indexes it has to compute: the
        union over all models, since a key service knows of none.
        """
        unwrap, wrap, hmac = set[str](), set[str](), set[str]()
        for model in self.catalogue:
            for field in model.fields:
                asked = (purpose, role, model.name, field.name)
                unwrap |= self.opens(*asked)
                wrap |= set(field.categories) if self.writes(*asked) else set()
                if field.index and (self.writes(*asked) or self.searches(*asked)):
                    hmac.add(field.index.name)
        return unwrap, wrap, hmac

    def searches(self, purpose: str, role: str, model: str, field: str) -> bool:
        """Whether they may search a field."""
        return self._yes(purpose, role, "search", "Field", f"{model}.{field}")

    def writes(self, purpose: str, role: str, model: str, field: str) -> bool:
        """Whether they may write a field."""
        return self._yes(purpose, role, "write", "Field", f"{model}.{field}")

    def sees(self, purpose: str, role: str, model: str) -> bool:
        """Whether a model's rows and clear columns are there for them at all."""
        return self._yes(purpose, role, "see", "Model", model)

    def changes(self, purpose: str, role: str, model: str) -> bool:
        """Whether they may insert, change and delete a model's rows."""
        return self._yes(purpose, role, "change", "Model", model)

    # --------------------------------------------------------------------------------------------- what is there

    def _things(self) -> Iterator[dict[str, Any]]:
        categories, slots = set(), set()
        for role in self.roles:
            yield _entity("Role", role)
            yield _entity("User", f"a {role}", ("Role", role))
        for model in self.catalogue:
            bases = model.bases
            yield _entity("Model", model.name, *(("Model", base) for base in bases))
            for field in model.fields:
                name, inherited = f"{model.name}.{field.name}", [b for b in bases if self._has(b, field.name)]
                categories |= {*field.categories}
                slots |= {(model.name, category) for category in field.categories}
                own = (("Slot", f"{model.name}/{field.category}"), ("Model", model.name))
                yield _entity("Field", name, *own, *(("Field", f"{b}.{field.name}") for b in inherited))
                for projection in field.projections:
                    yield _entity(
                        "Mask",
                        f"{name}#{projection.category}",
                        ("Slot", f"{model.name}/{projection.category}"),
                        ("Masked", field.category),
                        ("Model", model.name),
                        *(("Mask", f"{b}.{field.name}#{projection.category}") for b in inherited),
                    )
        for name, category in sorted(slots):
            above = [("Slot", f"{base}/{category}") for base in self.catalogue.models[name].bases]
            yield _entity("Slot", f"{name}/{category}", ("Category", category), *above)
        for base, category in sorted(self._slots_above() - slots):
            yield _entity("Slot", f"{base}/{category}", ("Category", category))
        for category in sorted(categories):
            yield _entity("Category", category)
            yield _entity("Masked", category)

    def _has(self, model: str, field: str) -> bool:
        return self.catalogue.models[model].field(field) is not None

    def _slots_above(self) -> set[tuple[str, str]]:
        return {(base, category) for model in self.catalogue for base in model.bases for category in model.categories}

    # ---------------------------------------------------------------------------------------------- what is said

    def _permits(self, purpose: str) -> Iterator[str]:
        says = self.purposes[purpose]
        for role in says["roles"]:
            yield from self._of(purpose, role, says)

    def _of(self, purpose: str, role: str, says: Mapping[str, Any]) -> Iterator[str]:
        read, search, write = (says.get(verb) or {} for verb in ("read", "search", "write"))

        def permit(action: str, resource: str, unless: Iterable[str] = ()) -> str:
            but = " || ".join(f"resource in {_id('Model', name)}" for name in unless)
            return (
                f"permit(principal in {_id('Role', role)}, action == {_id('Action', action)}, resource in {resource})"
                f' when {{ context.purpose == "{purpose}" }}' + (f" unless {{ {but} }};" if but else ";")
            )

        for model, entry in read.items():
            nearer = self._nearer(model, read)
            for category in entry["categories"]:
                slot = _id("Slot", f"{model}/{category}")
                yield permit("read_clear", slot, nearer)
                yield permit("read_mask", slot, nearer)
        for model, fields in search.items():
            for field in fields:
                yield permit("search", _id("Field", f"{model}.{field}"), self._nearer(model, search))
        for model, categories in write.items():
            for category in categories:
                yield permit("write", _id("Slot", f"{model}/{category}"), self._nearer(model, write))
            yield permit("change", _id("Model", model))
        for model in sorted({*read, *search, *write}):
            yield permit("see", _id("Model", model))

    def _nearer(self, model: str, section: Iterable[str]) -> list[str]:
        """Subclasses with an entry of their own."""
        return [name for name in section if name != model and model in self.catalogue.models[name].bases]

    def _forbids(self) -> Iterator[str]:
        for rule in self.document.get("never") or ():
            excepted = [
                _id("Mask", f"{target}#{card}") for target, cards in rule.get("except", {}).items() for card in cards
            ]
            but = " || ".join(f"resource in {mask}" for mask in excepted)
            for role in rule["roles"]:
                for category in rule["categories"]:
                    who = f"forbid(principal in {_id('Role', role)}, action"
                    reading = "in [" + ", ".join(_id("Action", a) for a in ("read_clear", "read_mask", "search")) + "]"
                    yield f"{who} {reading}, resource in {_id('Category', category)});"
                    through = f"== {_id('Action', 'read_mask')}, resource in {_id('Masked', category)})"
                    yield f"{who} {through}" + (f" unless {{ {but} }};" if but else ";")


def _entity(kind: str, name: str, *parents: tuple[str, str]) -> dict[str, Any]:
    return {
        "uid": {"type": kind, "id": name},
        "attrs": {},
        "parents": [{"type": parent, "id": of} for parent, of in parents],
    }

"""A policy that fits its models: what the rest of the library asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from vaultstore.canonical import canonical_json
from vaultstore.catalogue import Catalogue, Field, Model
from vaultstore.errors import PolicyError
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.policy.bind import problems
from vaultstore.policy.closure import closure_of
from vaultstore.policy.model import KEEPS, Category, Purpose, Service
from vaultstore.policy.rights import Decision, consents_of, entry_of, excepted, granted_form, touches
from vaultstore.policy.rules import Rules
from vaultstore.policy.words import hint, shown

__all__ = ["BoundPolicy"]


class BoundPolicy:
    """Rules bound to the models they speak of. Made by `Policy.bind`, and immutable.

    Raises PolicyError (the first in the order of the files) where the rules do not fit the models.
    """

    def __init__(self, rules: Rules, catalogue: Catalogue) -> None:
        for problem in problems(rules, catalogue):
            raise problem
        self.rules, self.catalogue = rules, catalogue
        self._digests = {name: _digest(self.closure(name)) for name in rules.purposes}

    def __repr__(self) -> str:
        return f"<BoundPolicy of {len(self.purposes)} purposes over {len(self.catalogue.models)} models>"

    @property
    def purposes(self) -> Mapping[str, Purpose]:
        """Every purpose by name."""
        return self.rules.purposes

    @property
    def categories(self) -> Mapping[str, Category]:
        """Every category by name."""
        return self.rules.categories

    @property
    def services(self) -> Mapping[str, Service]:
        """Every service by name; where no file declares any, one called ``app`` serves all purposes and keeps all."""
        return self.rules.services or {"app": Service("app", "", frozenset(self.purposes), frozenset(KEEPS))}

    def purpose(self, name: str) -> Purpose:
        """The purpose called `name`; PolicyError with the nearest name where there is none."""
        if name not in self.purposes:
            raise PolicyError(f"unknown purpose {shown(name)}{hint(name, self.purposes)}")
        return self.purposes[name]

    def closure(self, name: str) -> dict[str, Any]:
        """The compiled closure of a purpose, as JSON data (see closure.py); a new dict each time."""
        return closure_of(self.purpose(name), self.rules.never, self.catalogue, self.categories)

    def digest(self, name: str) -> str:
        """``sha256:`` and the hex SHA-256 of the closure's canonical JSON (RFC 8785): a token's ``pol``."""
        return self._digests[self.purpose(name).name]

    def key_access(self, issuer: str) -> KeyAccess:
        """What a key service must enforce; `issuer` is the ``iss`` of the login tokens it takes."""
        return KeyAccess(
            issuer=issuer,
            categories=self.catalogue.categories,
            indexes=self.catalogue.indexes,
            purposes={name: self._keys(name) for name in self.purposes},
        )

    def _keys(self, name: str) -> PurposeKeys:
        purpose, closure, hmac = self.purpose(name), self.closure(name), set()
        for model in self.catalogue:
            searched, written = purpose.searches(model.name, *model.bases), purpose.writes(model.name, *model.bases)
            hmac |= {f.index.name for f in model.fields if f.index and (f.name in searched or f.category in written)}
        return PurposeKeys(
            digest=self.digest(name),
            unwrap=frozenset().union(*closure["read"].values()),
            wrap=frozenset().union(*closure["seals"].values()),
            hmac=frozenset(hmac),
            **dict.fromkeys(purpose.keeps_keys, self.catalogue.categories),
            rotate_indexes=frozenset(self.catalogue.indexes if "rotate" in purpose.keeps_keys else ()),
            retire_indexes=frozenset(self.catalogue.indexes if "retire" in purpose.keeps_keys else ()),
            ttl=max(1, int(purpose.ttl.total_seconds())),
        )

    def decision(self, purpose: str, model: str, field: str) -> Decision:
        """What a purpose gets of a field. Raises PolicyError for a name that is not one."""
        asked = self.purpose(purpose)
        owner, found = self.field(model, field)
        granted = asked.reads(owner.name, *owner.bases)
        kind, category = granted_form(granted, found)
        listed = entry_of(asked.read, owner)
        path = ("purposes", asked.name, *(("read", listed) if listed else ()))
        if category is not None:
            because = f"{asked.name} reads {category}" + ("" if kind == "clear" else f", a mask of {found.category}")
            return Decision(kind, category, because, str(self.rules.places.at(*path, "category", category)))
        return Decision(kind, None, self._denial(asked, owner, found, granted), str(self.rules.places.at(*path)))

    def field(self, model: str, field: str) -> tuple[Model, Field]:
        """A model and a field of it by name; PolicyError with the nearest name where there is none."""
        owner = self.catalogue.model(model)
        if owner is None:
            raise PolicyError(f"unknown model {shown(model)}{hint(model, self.catalogue.models)}")
        found = owner.field(field)
        if found is None:
            raise PolicyError(f"unknown field {shown(field)} of {model}{hint(field, (f.name for f in owner.fields))}")
        return owner, found

    def consents(self, name: str, category: str | None = None) -> tuple[str, ...]:
        """Kinds of consent that a purpose takes: its own, and those of `category`, or of all it opens or writes."""
        purpose = self.purpose(name)
        own = consents_of(purpose, self.categories)
        kinds = own.values() if category is None else [own[category]] if category in own else []
        return tuple(dict.fromkeys([*([purpose.requires.consent] if purpose.requires.consent else []), *kinds]))

    def _denial(self, purpose: Purpose, model: Model, field: Field, granted: frozenset[str]) -> str:
        if not touches(purpose, model):
            return f"{purpose.name} lists {model.name} in none of read, search and write"
        reads = ", ".join(sorted(granted)) or "nothing"
        forms = ", ".join(p.category for p in field.projections) or "none"
        because = (
            f"{purpose.name} reads {reads} of {model.name}; {field.name} is {field.category} (projections: {forms})"
        )
        for rule in self.rules.never:
            if rule.roles & purpose.roles and field.category in rule.categories:
                allowed = ", ".join(sorted(excepted(rule, model, field)))
                because += f"; barred{f' but as {allowed}' if allowed else ''} by {rule.place}: {rule.because}"
        return because


def _digest(closure: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(canonical_json(closure)).hexdigest()

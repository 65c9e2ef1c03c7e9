"""The policy as cells: what each purpose may do with each field, and what that comes to in a plane that sees less.

The lattice is the one source of the matrix, of tests in a policy, of the difference between two policies and of what a
live deployment is probed for. A plane enforces a projection of it: Vault knows categories and no models, so its cell is
the union over models; `excess` says where that is more than a model's list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vaultstore.catalogue import Field, Model
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.closure import seals_of
from vaultstore.policy.model import Purpose
from vaultstore.policy.rights import entry_of, granted_form, touches

__all__ = ["OPERATIONS", "UPKEEP", "Excess", "excess", "lattice", "row_cells", "vault_cells", "verdict"]

OPERATIONS = ("read", "search", "write")
"""What may be done with a field."""


UPKEEP = {"rewrap": "rewrap", "rotate": "rotate", "config": "retire", "trim": "retire"}
"""What is done to a category's key -> the verb of the policy that lets it be done."""


@dataclass(frozen=True, slots=True, order=True)
class Excess:
    """A right that Vault has to give for more models than the policy lists it for."""

    purpose: str
    category: str
    operation: str
    """``decrypt``, or ``encrypt`` of a source category."""
    model: str
    """Has fields of `category` which the purpose does not read (or write): only the other planes refuse those."""
    because: str
    """A model of which the purpose has the right."""


def verdict(purpose: Purpose, model: Model, field: Field, operation: str) -> str:
    """What `purpose` gets of a field: ``clear``, ``masked:CATEGORY`` or ``denied``; of a search or a write, ``allowed``
    or ``denied``.
    """
    names = (model.name, *model.bases)
    if operation == "read":
        kind, category = granted_form(purpose.reads(*names), field)
        return f"masked:{category}" if kind == "masked" else kind
    allowed = (
        field.name in purpose.searches(*names) if operation == "search" else field.category in purpose.writes(*names)
    )
    return "allowed" if allowed else "denied"


def lattice(bound: BoundPolicy) -> Mapping[tuple[str, str, str, str], str]:
    """(purpose, model, field, operation) -> `verdict`, for every encrypted field, in the policy's order."""
    return MappingProxyType(
        {
            (name, model.name, field.name, operation): verdict(purpose, model, field, operation)
            for name, purpose in bound.purposes.items()
            for model in bound.catalogue
            for field in model.fields
            for operation in OPERATIONS
        }
    )


def row_cells(bound: BoundPolicy) -> Mapping[tuple[str, str, str], bool]:
    """(purpose, model, ``read`` or ``write``) -> whether it sees (within its scope) or writes rows."""
    cells = {}
    for name, purpose in bound.purposes.items():
        for model in bound.catalogue:
            cells[name, model.name, "read"] = touches(purpose, model)
            cells[name, model.name, "write"] = entry_of(purpose.write, model) is not None
    return MappingProxyType(cells)


def vault_cells(bound: BoundPolicy) -> Mapping[tuple[str, str, str], bool]:
    """The projection that Vault enforces: (purpose, ``category X``, ``decrypt``, ``encrypt`` or a verb of key upkeep)
    and (purpose, ``index X``, ``hmac``) -> whether it is allowed. Each is the union over all models.
    """
    cells = {}
    for name, purpose in bound.purposes.items():
        read, sealed, hashed = set[str](), set[str](), set[str]()
        for model in bound.catalogue:
            read |= purpose.reads(model.name, *model.bases)
            sealed |= seals_of(model, purpose.writes(model.name, *model.bases))
            for field in model.fields:
                used = any(verdict(purpose, model, field, verb) == "allowed" for verb in ("search", "write"))
                if field.index is not None and used:
                    hashed.add(field.index.name)
        for category in sorted(bound.catalogue.categories):
            cells[name, f"category {category}", "decrypt"] = category in read
            cells[name, f"category {category}", "encrypt"] = category in sealed
            for operation, verb in UPKEEP.items():
                cells[name, f"category {category}", operation] = verb in purpose.keeps_keys
            cells[name, f"category {category}", "read the key"] = bool(purpose.keeps_keys)
        for index in bound.catalogue.indexes:
            cells[name, f"index {index}", "hmac"] = index in hashed
    return MappingProxyType(cells)


def excess(bound: BoundPolicy) -> Iterator[Excess]:
    """Where Vault's union over models is more than a model's list."""
    for name, purpose in bound.purposes.items():
        for operation in ("decrypt", "encrypt"):
            listed = {m.name: _categories(purpose, m, operation) for m in bound.catalogue}
            for model in bound.catalogue:
                for category in sorted(model.categories - listed[model.name]):
                    giver = next((other for other, granted in listed.items() if category in granted), None)
                    if giver is not None:
                        yield Excess(name, category, operation, model.name, giver)


def _categories(purpose: Purpose, model: Model, operation: str) -> frozenset[str]:
    names = (model.name, *model.bases)
    return purpose.reads(*names) if operation == "decrypt" else purpose.writes(*names)

"""What changed in the bars, told by their effect: rules have no names, and may be split, joined and reworded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vaultstore.catalogue import Catalogue
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.finding import Direction, Finding, Pair
from vaultstore.policy.model import Never
from vaultstore.policy.rights import excepted

__all__ = ["bar_changes"]

_Bars = Mapping[tuple[str, str], Never]
"""(role, what it is barred from) -> a rule that bars it."""


def bar_changes(pair: Pair) -> Iterator[Finding]:
    """Bars that are lost, which is wider, and bars that are new."""
    old, new = _bars(pair.old, pair.new.catalogue), _bars(pair.new, pair.old.catalogue)
    yield from _told(old, new, "wider", "is no longer barred from")
    yield from _told(new, old, "narrower", "is now barred from")


def _told(these: _Bars, others: _Bars, direction: Direction, says: str) -> Iterator[Finding]:
    lost: dict[tuple[str, str], list[str]] = {}
    for role, thing in sorted(these.keys() - others.keys()):
        lost.setdefault((role, these[role, thing].place), []).append(thing)
    for (role, place), things in lost.items():
        # A category that is barred no more says it all: the masks of its fields go with it.
        whole = [thing for thing in things if " as " not in thing]
        yield Finding(direction, f"role {role}", f"{says} {', '.join(whole or things)}", place)


def _bars(bound: BoundPolicy, other: Catalogue) -> _Bars:
    """Categories, and masks of fields that both catalogues have: a new field would show as a new bar."""
    found: dict[tuple[str, str], Never] = {}
    for rule in bound.rules.never:
        for role in rule.roles:
            for category in rule.categories:
                found.setdefault((role, category), rule)
            for model in bound.catalogue:
                theirs = other.model(model.name)
                for field in model.fields:
                    if field.category not in rule.categories or theirs is None or theirs.field(field.name) is None:
                        continue
                    for projection in field.projections:
                        if projection.category not in excepted(rule, model, field):
                            found.setdefault((role, f"{model.name}.{field.name} as {projection.category}"), rule)
    return found

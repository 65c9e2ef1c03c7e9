"""What deserves a second look in what purposes reach: unread data, masks that leave little, rights that add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from vaultstore.catalogue import Field, Model
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.lattice import excess, verdict
from vaultstore.policy.model import Limit, Purpose
from vaultstore.policy.remarks import Remark
from vaultstore.policy.rights import entry_of

__all__ = ["reach_remarks"]

_FEW = 1000
"""Candidates: a mask that leaves fewer, all fields together, shows nearly what it masks."""
_SOON = 30
"""Days: whoever can try out all candidates within so many has read the value."""
_DAY = 86_400

_Form = tuple[str, str]
"""A field's form: ``clear`` or the mask's fingerprint, and the word for it."""
_CLEAR = "clear"


def reach_remarks(bound: BoundPolicy) -> Iterator[Remark]:
    """Warnings that take the models to see."""
    yield from _beyond_the_list(bound)
    yield from _unread(bound)
    for purpose in bound.purposes.values():
        yield from _nearly_clear(bound, purpose)
    roles = dict.fromkeys(role for purpose in bound.purposes.values() for role in sorted(purpose.roles))
    for role in roles:
        held = [purpose for purpose in bound.purposes.values() if role in purpose.roles]
        yield from _adds_up(bound, role, held)
        yield from _guessed(bound, role, held)


def _beyond_the_list(bound: BoundPolicy) -> Iterator[Remark]:
    """Vault knows categories and no models, so its right is the union."""
    for more in excess(bound):
        section = {"decrypt": ("read", "category"), "encrypt": ("write",)}[more.operation]
        path = ("purposes", more.purpose, section[0], more.because, *section[1:], more.category)
        reason = (
            f"in Vault {more.purpose} may {more.operation} {more.category} of {more.model} as well, which is not listed"
        )
        yield Remark(bound.rules.places.at(*path), f"{reason}: only the other planes refuse it")


def _unread(bound: BoundPolicy) -> Iterator[Remark]:
    read = {c for p in bound.purposes.values() for entry in p.read.values() for c in entry.categories}
    used: dict[str, bool] = {}
    for model in bound.catalogue:
        for field in model.fields:
            searched = any(verdict(p, model, field, "search") == "allowed" for p in bound.purposes.values())
            used[field.category] = used.get(field.category, False) or searched or bool(read & {*field.categories})
            for projection in field.projections:
                used[projection.category] = projection.category in read
    for category in sorted(name for name, is_used in used.items() if not is_used):
        if bound.categories[category].projection:
            reason = f"no purpose reads {category}: its masks are made for nobody"
        else:
            reason = f"no purpose reads {category}, in clear or as a card, or searches it: is it kept for nobody?"
        yield Remark(bound.rules.places.at("categories", category), reason)


def _nearly_clear(bound: BoundPolicy, purpose: Purpose) -> Iterator[Remark]:
    """What the masks of one model leave open together: the product of what each of them does."""
    for model in bound.catalogue:
        masked = [(f, r) for f in model.fields if (r := _residual(purpose, model, f)) is not None]
        left = [residual for _, residual in masked]
        if masked and 0 not in left and prod(left) < _FEW:
            listed = entry_of(purpose.read, model) or model.name
            fields = ", ".join(field.name for field, _ in masked)
            reason = f"the masks of {model.name} that {purpose.name} sees ({fields}) leave {_many(prod(left))}"
            place = bound.rules.places.at("purposes", purpose.name, "read", listed)
            yield Remark(place, f"{reason}: they show nearly what they mask")


def _residual(purpose: Purpose, model: Model, field: Field) -> int | None:
    """Candidates behind the mask that the purpose sees; 0 where nobody can tell, None where it sees no mask."""
    kind, _, category = verdict(purpose, model, field, "read").partition(":")
    projection = field.projection(category) if kind == "masked" else None
    return None if projection is None else projection.residual or 0


def _many(candidates: int) -> str:
    return f"{candidates:,} candidate{'' if candidates == 1 else 's'} at the least"


def _adds_up(bound: BoundPolicy, role: str, held: list[Purpose]) -> Iterator[Remark]:
    """Whoever has the role joins what its purposes show of one member."""
    seen = [_forms(bound, purpose) for purpose in held]
    if len(held) < 2 or not any(seen):
        return
    joined = {where: {forms[where] for forms in seen if where in forms} for forms in seen for where in forms}
    missing = [[w for w, forms in joined.items() if not _covers(mine.get(w), forms)] for mine in seen]
    best = min(range(len(held)), key=lambda at: len(missing[at]))
    for other, forms in zip(held, seen, strict=True):
        added = [
            where for where in missing[best] if where in forms and not _covers(seen[best].get(where), {forms[where]})
        ]
        if added:
            shown = ", ".join(f"{model}.{field} ({forms[model, field][1]})" for model, field in added)
            reason = f"{role} reaches more through {held[best].name} and {other.name} than through either"
            yield Remark(bound.rules.places.at("purposes", other.name, "roles"), f"{reason}: {other.name} adds {shown}")


def _forms(bound: BoundPolicy, purpose: Purpose) -> Mapping[tuple[str, str], _Form]:
    found = {}
    for model in bound.catalogue:
        for field in model.fields:
            kind, _, category = verdict(purpose, model, field, "read").partition(":")
            projection = field.projection(category) if kind == "masked" else None
            if kind != "denied":
                found[model.name, field.name] = (projection.mask, category) if projection else (_CLEAR, _CLEAR)
    return found


def _covers(mine: _Form | None, forms: set[_Form]) -> bool:
    return mine is not None and (mine[0] == _CLEAR or {form[0] for form in forms} == {mine[0]})


def _guessed(bound: BoundPolicy, role: str, held: list[Purpose]) -> Iterator[Remark]:
    """A mask leaves so many candidates, a search tries so many a day: together they may read the value."""
    for model in bound.catalogue:
        for field in model.fields:
            left = [(r, p) for p in held if (r := _residual(p, model, field))]
            tries = [(rate, p) for p in held if (rate := _a_day(p, model, field))]
            if not left or not tries:
                continue
            candidates, seeing = min(left, key=lambda one: one[0])
            days = candidates / sum(each for each, _ in tries)
            if days < _SOON:
                searching = tries[0][1].name
                reason = f"{role} sees {model.name}.{field.name} in {seeing.name} but for {_many(candidates)}"
                listed = entry_of(tries[0][1].search, model) or model.name
                place = bound.rules.places.at("purposes", searching, "search", listed, field.name)
                yield Remark(place, f"{reason}, and tries them out by searching within {max(1, round(days))} days")


def _a_day(purpose: Purpose, model: Model, field: Field) -> float:
    """Searches that the purpose's limits allow in a day; 0 where it has no such search, or no limit (which is told)."""
    limits = purpose.limits.get("search", ())
    if verdict(purpose, model, field, "search") == "denied" or not limits:
        return 0
    return min(_rate(limit) for limit in limits)


def _rate(limit: Limit) -> float:
    return limit.max * (1 if limit.window is None else _DAY / limit.window.total_seconds())

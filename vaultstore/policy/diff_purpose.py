"""What changed in one purpose: its cells, its rows, and all that stands between a token and the gate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vaultstore.catalogue import Field, Model
from vaultstore.policy.bound import BoundPolicy
from vaultstore.policy.fields import short
from vaultstore.policy.finding import Direction, Finding, Pair, added_and_removed, toward
from vaultstore.policy.lattice import OPERATIONS, verdict
from vaultstore.policy.model import Limit, Purpose
from vaultstore.policy.rights import consents_of, entry_of, touches

__all__ = ["changes_of", "reach_of"]

_NO_ROWS, _ALL_ROWS = "none", "all"
_CONSENT = "none"
_SUBJECTS = {None: "any", "named": "named", "self": "self"}
_REACH = {"any": 3, "named": 2, "self": 1}
_VERDICTS = {"denied": 0, "masked": 1, "clear": 2, "allowed": 2}


def changes_of(pair: Pair, name: str) -> Iterator[Finding]:
    """Everything that changed in the purpose called `name`, which both policies have."""
    old, new, subject = pair.old.purposes[name], pair.new.purposes[name], f"purpose {name}"
    at = ("purposes", name)
    yield from _cells(pair, old, new)
    for model in _models(pair):
        yield from _rows(pair, old, new, model)
        yield from _listed(pair, old, new, model)
    yield from _consents(pair, old, new)
    yield from added_and_removed(
        subject, old.roles, new.roles, "is now open to", "is no longer open to", pair.place(*at, "roles")
    )
    approves = pair.place(*at, "approves")
    yield from added_and_removed(subject, old.approves, new.approves, "now approves", "no longer approves", approves)
    keeps = pair.place(*at, "keeps_keys")
    yield from added_and_removed(
        subject, old.keeps_keys, new.keeps_keys, "may now, of keys,", "may no longer, of keys,", keeps
    )
    if old.replaces_keys != new.replaces_keys:
        says = f"{'may now' if new.replaces_keys else 'may no longer'} replace a subject's data keys"
        direction: Direction = "wider" if new.replaces_keys else "narrower"
        yield Finding(direction, subject, says, pair.place(*at, "replaces_keys"))
    for what, before, now, direction, key in _settings(old, new):
        if before != now:
            yield Finding(direction, subject, f"{what}: {before} -> {now}", pair.place(*at, key))
    for verb in sorted({*old.limits, *new.limits}):
        yield from _limits(pair, name, verb, _by_window(old, verb), _by_window(new, verb))
    for key in ("basis", "label", "dpv", "description"):
        before, now = getattr(old, key) or "none", getattr(new, key) or "none"
        if before != now:
            says = f"{key}: {before} -> {now}" if key != "description" else "another description"
            yield Finding("note", subject, says, pair.place(*at, key))


def reach_of(bound: BoundPolicy, name: str) -> str:
    """What a purpose reaches, in a line: for one that is new, or gone."""
    purpose = bound.purposes[name]
    parts = [f"open to {', '.join(sorted(purpose.roles))}"]
    for model in bound.catalogue:
        names = (model.name, *model.bases)
        if read := sorted(purpose.reads(*names)):
            parts.append(f"reads {', '.join(read)} of {model.name}, rows: {_scope(purpose, model)}")
        elif touches(purpose, model):
            parts.append(f"sees rows of {model.name}: {_scope(purpose, model)}")
        if searched := sorted(purpose.searches(*names)):
            parts.append(f"searches {', '.join(f'{model.name}.{field}' for field in searched)}")
        if entry_of(purpose.write, model) is not None:
            written = ", ".join(sorted(purpose.writes(*names))) or "clear columns"
            parts.append(f"writes {written} of {model.name}")
    if purpose.approves:
        parts.append(f"approves {', '.join(sorted(purpose.approves))}")
    if purpose.keeps_keys:
        parts.append(f"may {', '.join(sorted(purpose.keeps_keys))} keys")
    if purpose.replaces_keys:
        parts.append("replaces a subject's data keys")
    return "; ".join(parts)


def _models(pair: Pair) -> Iterator[Model]:
    yield from pair.new.catalogue
    yield from (model for model in pair.old.catalogue if pair.new.catalogue.model(model.name) is None)


def _cells(pair: Pair, old: Purpose, new: Purpose) -> Iterator[Finding]:
    """Fields of one model that changed alike are one finding."""
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for model in _models(pair):
        names = dict.fromkeys(f.name for b in (pair.new, pair.old) for f in _fields(b, model.name))
        for name in names:
            for operation in OPERATIONS:
                before = _verdict(pair.old, old, model.name, name, operation)
                now = _verdict(pair.new, new, model.name, name, operation)
                if before != now:
                    alike.setdefault((model.name, operation, before, now), []).append(name)
    for (owner, operation, before, now), found in alike.items():
        fields = ", ".join(f"{owner}.{name}" for name in found)
        place = _place_of_cell(pair, old, new, owner, found[0], operation)
        ranks = (_VERDICTS[verdict.partition(":")[0]] for verdict in (before, now))
        yield Finding(toward(*ranks), f"purpose {new.name}", f"{operation} {fields}: {before} -> {now}", place)


def _fields(bound: BoundPolicy, model: str) -> Iterator[Field]:
    found = bound.catalogue.model(model)
    return iter(found.fields if found else ())


def _verdict(bound: BoundPolicy, purpose: Purpose, model: str, field: str, operation: str) -> str:
    owner = bound.catalogue.model(model)
    found = owner and owner.field(field)
    return verdict(purpose, owner, found, operation) if owner and found else "denied"


def _place_of_cell(pair: Pair, old: Purpose, new: Purpose, model: str, field: str, operation: str) -> str:
    if operation == "read":
        for bound in (pair.new, pair.old):
            owner = bound.catalogue.model(model)
            decided = bound.decision(new.name, model, field) if owner and owner.field(field) else None
            if decided is not None and (decided.category is not None or bound is pair.old):
                return decided.place
        return pair.place("purposes", new.name)
    owner = pair.new.catalogue.model(model) or pair.old.catalogue.models[model]
    section = {"search": (new.search, old.search), "write": (new.write, old.write)}[operation]
    listed = next((name for found in section if (name := entry_of(found, owner))), model)
    return pair.place("purposes", new.name, operation, listed)


def _scope(purpose: Purpose, model: Model | None) -> str:
    if model is None or not touches(purpose, model):
        return _NO_ROWS
    return purpose.rows(model.name, *model.bases) or _ALL_ROWS


def _rows(pair: Pair, old: Purpose, new: Purpose, model: Model) -> Iterator[Finding]:
    was, now = pair.old.catalogue.model(model.name), pair.new.catalogue.model(model.name)
    scopes, ranks = (_scope(old, was), _scope(new, now)), {_NO_ROWS: 0, _ALL_ROWS: 2}
    if scopes[0] != scopes[1]:
        direction = toward(*(ranks.get(scope, 1) for scope in scopes))
        place = pair.place("purposes", new.name, "read", entry_of(new.read, model) or model.name)
        yield Finding(direction, f"purpose {new.name}", f"rows of {model.name}: {scopes[0]} -> {scopes[1]}", place)
    writes = [m is not None and entry_of(p.write, m) is not None for p, m in ((old, was), (new, now))]
    if writes[0] != writes[1]:
        place = pair.place("purposes", new.name, "write", entry_of(new.write, model) or model.name)
        says = f"{'now' if writes[1] else 'no longer'} writes rows of {model.name}"
        yield Finding("wider" if writes[1] else "narrower", f"purpose {new.name}", says, place)


def _listed(pair: Pair, old: Purpose, new: Purpose, model: Model) -> Iterator[Finding]:
    """A category that is listed or no longer, while every cell stays: a card beside its source."""
    was, now = pair.old.catalogue.model(model.name), pair.new.catalogue.model(model.name)
    before = old.reads(was.name, *was.bases) if was else frozenset()
    after = new.reads(now.name, *now.bases) if now else frozenset()
    if was is None or now is None or before == after:
        return
    fields = {f.name for f in (*was.fields, *now.fields)}
    cells = [
        (_verdict(pair.old, old, model.name, f, "read"), _verdict(pair.new, new, model.name, f, "read")) for f in fields
    ]
    if all(one == other for one, other in cells):
        says = (
            f"reads {', '.join(sorted(before)) or 'nothing'} -> {', '.join(sorted(after)) or 'nothing'} of {model.name}"
        )
        place = pair.place("purposes", new.name, "read", entry_of(new.read, model) or model.name)
        yield Finding("note", f"purpose {new.name}", f"{says}, which shows the same", place)


def _settings(old: Purpose, new: Purpose) -> Iterator[tuple[str, str, str, Direction, str]]:
    """(what, before, now, direction, key): everything with one value."""
    before, now = old.requires, new.requires
    consents = (before.consent or _CONSENT, now.consent or _CONSENT)
    yield "requires consent", *consents, toward(*(int(c is None) for c in (before.consent, now.consent))), "requires"
    for key, wider in (("case", False), ("sees_restricted", True), ("sees_canaries", True)):
        flags = (getattr(before, key), getattr(now, key))
        direction = toward(*(int(flag is wider) for flag in flags))
        yield key, str(flags[0]).lower(), str(flags[1]).lower(), direction, "requires"
    approvals = (before.approvals, now.approvals)
    yield "approvals", str(approvals[0]), str(approvals[1]), toward(-approvals[0], -approvals[1]), "requires"
    subjects = (_SUBJECTS[before.subjects], _SUBJECTS[now.subjects])
    yield "subjects", *subjects, toward(*(_REACH[word] for word in subjects)), "requires"
    yield "batch", str(old.batch), str(new.batch), toward(old.batch, new.batch), "batch"
    for key in ("ttl", "report_after"):
        spans = (getattr(old, key), getattr(new, key))
        ranks = (int(span.total_seconds()) for span in spans)
        yield key, short(spans[0]), short(spans[1]), toward(*ranks), key


def _consents(pair: Pair, old: Purpose, new: Purpose) -> Iterator[Finding]:
    """Consents that single categories take: of what both reach, whatever took them away or brought them."""
    before, now = consents_of(old, pair.old.categories), consents_of(new, pair.new.categories)
    both = _reached(old) & _reached(new)
    for category in sorted((before.keys() | now.keys()) & both):
        kinds = (before.get(category), now.get(category))
        if kinds[0] != kinds[1]:
            says = f"requires consent for {category}: {kinds[0] or _CONSENT} -> {kinds[1] or _CONSENT}"
            place = pair.place("categories", category)
            yield Finding(toward(*(int(kind is None) for kind in kinds)), f"purpose {new.name}", says, place)


def _reached(purpose: Purpose) -> set[str]:
    read = {c for entry in purpose.read.values() for c in entry.categories}
    return read | {c for written in purpose.write.values() for c in written}


def _by_window(purpose: Purpose, verb: str) -> Mapping[tuple[str, str], Limit]:
    return {(limit.per, limit.by): limit for limit in purpose.limits.get(verb, ())}


def _limits(
    pair: Pair,
    name: str,
    verb: str,
    old: Mapping[tuple[str, str], Limit],
    new: Mapping[tuple[str, str], Limit],
) -> Iterator[Finding]:
    place = pair.place("purposes", name, "limits", verb)
    for per, by in sorted({*old, *new}):
        before, now = (limits[per, by].max if (per, by) in limits else None for limits in (old, new))
        if before != now:
            ranks = (10**12 if maximum is None else maximum for maximum in (before, now))
            says = f"limit on {verb} per {per} by {by}: {_none(before)} -> {_none(now)}"
            yield Finding(toward(*ranks), f"purpose {name}", says, place)


def _none(maximum: int | None) -> str:
    return "none" if maximum is None else f"{maximum:,}"

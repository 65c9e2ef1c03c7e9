"""Rules against models: every reason why a policy does not fit a catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vaultstore.catalogue import Catalogue, Model
from vaultstore.errors import PolicyError
from vaultstore.policy.model import Never, Purpose
from vaultstore.policy.places import Places
from vaultstore.policy.rights import entry_of, violations
from vaultstore.policy.rules import Rules
from vaultstore.policy.words import hint, shown

__all__ = ["problems"]


def problems(rules: Rules, catalogue: Catalogue) -> list[PolicyError]:
    """What is wrong with `rules` for the models of `catalogue`, in the order of the policy's lines."""
    found = [*_categories(rules, catalogue)]
    for purpose in rules.purposes.values():
        found += _purpose(purpose, rules, catalogue)
    for number, rule in enumerate(rules.never):
        found += _exceptions(rule, ("never", str(number)), rules.places, catalogue)
    for number, test in enumerate(rules.tests):
        found += _field(test.model, test.field, ("tests", str(number)), rules.places, catalogue)
    return sorted(found, key=lambda e: (str(e.file), e.line or 0, e.column or 0))


def _categories(rules: Rules, catalogue: Catalogue) -> Iterator[PolicyError]:
    sources = {f.category: f"{m.name}.{f.name}" for m in catalogue for f in m.fields}
    masks = {p.category: f"{m.name}.{f.name}" for m in catalogue for f in m.fields for p in f.projections}
    for name in sorted(catalogue.categories):
        place, user = rules.places.at("categories", name), sources.get(name) or masks[name]
        category = rules.categories.get(name)
        if category is None:
            near = hint(name, rules.categories)
            yield rules.places.at("categories").error(f"{user} uses the category {name!r}, which no file defines{near}")
        elif name in sources and name in masks:
            yield place.error(
                f"category {name} is a source ({sources[name]}) and a projection ({masks[name]}): take two"
            )
        elif category.projection and name in sources:
            yield place.error(f"category {name} is marked as a projection, but it is the source category of {user}")
        elif not category.projection and name in masks:
            yield place.error(f"category {name} holds masks of {user}: mark it with `projection: true`")


def _model(name: str, path: tuple[str, ...], places: Places, catalogue: Catalogue) -> Model | PolicyError:
    model = catalogue.model(name)
    return model or places.at(*path).error(f"unknown model {shown(name)}{hint(name, catalogue.models)}")


def _purpose(purpose: Purpose, rules: Rules, catalogue: Catalogue) -> Iterator[PolicyError]:
    places, path = rules.places, ("purposes", purpose.name)
    sections: dict[str, Mapping[str, object]] = {
        "read": purpose.read,
        "search": purpose.search,
        "write": purpose.write,
    }
    for section, entries in sections.items():
        for name in entries:
            model = _model(name, (*path, section, name), places, catalogue)
            if isinstance(model, PolicyError):
                yield model
            elif section == "read":
                yield from _read(purpose, model, places, catalogue)
            elif section == "search":
                yield from _search(purpose, model, places, catalogue)
            else:
                yield from _write(purpose, model, places)
    yield from _two_masks(purpose, places, catalogue)
    for rule in rules.never:
        for violation in violations(purpose, rule, catalogue):
            reason = f"{violation.says}, which the rule at {rule.place} bars: {rule.because}"
            yield places.at(*violation.path).error(reason)


def _read(purpose: Purpose, model: Model, places: Places, catalogue: Catalogue) -> Iterator[PolicyError]:
    entry, at = purpose.read[model.name], ("purposes", purpose.name, "read", model.name)
    for category in sorted(entry.categories - model.categories):
        near = hint(category, model.categories)
        yield places.at(*at, "category", category).error(f"no field of {model.name} has the category {category}{near}")
    if entry.rows is not None and entry.rows not in catalogue.scopes:
        near = hint(entry.rows, catalogue.scopes)
        yield places.at(*at, "rows").error(f"unknown row scope {shown(entry.rows)}{near}")


def _search(purpose: Purpose, model: Model, places: Places, catalogue: Catalogue) -> Iterator[PolicyError]:
    for name in sorted(purpose.search[model.name]):
        path = ("purposes", purpose.name, "search", model.name, name)
        field = model.field(name)
        if field is None:
            yield places.at(*path).error(f"unknown field {shown(name)} of {model.name}{hint(name, _fields(model))}")
        elif field.index is None:
            indexed = ", ".join(f.name for f in model.fields if f.index) or "none"
            yield places.at(*path).error(
                f"{model.name}.{name} has no blind index, so it can't be searched; with one: {indexed}"
            )


def _write(purpose: Purpose, model: Model, places: Places) -> Iterator[PolicyError]:
    sources = {f.category for f in model.fields}
    for category in sorted(purpose.write[model.name] - sources):
        path = ("purposes", purpose.name, "write", model.name, category)
        yield places.at(*path).error(
            f"{category} is not the source category of any field of {model.name}{hint(category, sources)}"
        )


def _two_masks(purpose: Purpose, places: Places, catalogue: Catalogue) -> Iterator[PolicyError]:
    """Two masks of one value show more than either was reviewed for."""
    for model in catalogue:
        granted = purpose.reads(model.name, *model.bases)
        for field in model.fields:
            both = [p.category for p in field.projections if p.category in granted]
            if field.category not in granted and len(both) > 1:
                listed = entry_of(purpose.read, model) or model.name
                found = [places.at("purposes", purpose.name, "read", listed, "category", c) for c in both]
                reason = f"{purpose.name} reads {model.name}.{field.name} through two projections"
                masks = " and ".join(sorted(both))
                yield max(found).error(f"{reason}, {masks}: two masks together show more than either; keep one")


def _exceptions(rule: Never, path: tuple[str, ...], places: Places, catalogue: Catalogue) -> Iterator[PolicyError]:
    for target, allowed in rule.exceptions.items():
        name, _, field_name = target.partition(".")
        at = (*path, "except", target)
        wrong = next(_field(name, field_name, at, places, catalogue), None)
        if wrong is not None:
            yield wrong
            continue
        model = catalogue.models[name]
        field = next(f for f in model.fields if f.name == field_name)
        if field.category not in rule.categories:
            yield places.at(*at).error(f"{target} is {field.category}, which this rule does not bar: nothing to except")
        for category in sorted(allowed - set(field.categories)):
            near = hint(category, (p.category for p in field.projections))
            yield places.at(*at, category).error(f"{target} has no projection {category}{near}")


def _field(
    model_name: str, name: str, path: tuple[str, ...], places: Places, catalogue: Catalogue
) -> Iterator[PolicyError]:
    model = _model(model_name, (*path, "model"), places, catalogue)
    if isinstance(model, PolicyError):
        yield model
    elif name and model.field(name) is None:
        near = hint(name, _fields(model))
        yield places.at(*path, "field").error(f"unknown field {shown(name)} of {model.name}{near}")


def _fields(model: Model) -> list[str]:
    return [f.name for f in model.fields]

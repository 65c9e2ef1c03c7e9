"""What stands below the matrix on its page: purposes, services, bars, and what the cards show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from vaultstore.cli.common import duration
from vaultstore.markup import Markup, join, tag, text
from vaultstore.policy import BoundPolicy, Purpose
from vaultstore.policy.model import Category
from vaultstore.policy.rights import consents_of

__all__ = ["bars", "categories", "purposes", "services"]


def purposes(bound: BoundPolicy, shown: Collection[str]) -> Markup:
    """A card for each purpose: what for, who, under which conditions, and its digest."""
    return tag("div", *(_purpose(bound, name) for name in shown), class_="purposes")


def _purpose(bound: BoundPolicy, name: str) -> Markup:
    purpose = bound.purposes[name]
    lines = (join((tag("dt", key), tag("dd", value))) for key, value in _said(bound, purpose) if value)
    return tag(
        "article",
        tag("h3", name, id=f"purpose-{name}"),
        tag("p", purpose.description) if purpose.description else "",
        tag("dl", *lines),
        class_="purpose",
        aria_labelledby=f"purpose-{name}",
    )


def _said(bound: BoundPolicy, purpose: Purpose) -> Iterator[tuple[str, str]]:
    needs = purpose.requires
    yield "roles", ", ".join(sorted(purpose.roles))
    yield "services", ", ".join(n for n, s in bound.services.items() if purpose.name in s.purposes) or "none serves it"
    for model, entry in purpose.read.items():
        categories_read = ", ".join(sorted(entry.categories)) or "clear columns only"
        yield f"reads {model}", f"{categories_read}; rows: {entry.rows or 'all'}"
    for model, fields in purpose.search.items():
        yield f"searches {model}", ", ".join(sorted(fields))
    for model, written in purpose.write.items():
        yield f"writes {model}", ", ".join(sorted(written)) or "clear columns only"
    yield "approves", ", ".join(sorted(purpose.approves))
    yield "keeps keys", ", ".join(sorted(purpose.keeps_keys))
    if purpose.replaces_keys:
        yield "replaces keys", "of the subjects that its tokens name"
    restricted = ("sees restricted members",) if needs.sees_restricted else ()
    canaries = ("sees canaries",) if needs.sees_canaries else ()
    own = [f"consent {kind} for {name}" for name, kind in consents_of(purpose, bound.categories).items()]
    yield "requires", ", ".join([*needs.words(), *own, *restricted, *canaries]) or "nothing more"
    for verb, limits in purpose.limits.items():
        yield f"limit on {verb}", ", ".join(f"{limit.max:,} per {limit.per} by {limit.by}" for limit in limits)
    yield "token", f"holds for {duration(purpose.ttl)}; {purpose.batch} at a time"
    if purpose.report_after:
        yield "report", f"a member sees what for after {duration(purpose.report_after)}"
    yield "basis", purpose.basis.replace("_", " ")
    yield "data use", ", ".join(filter(None, (purpose.label, purpose.dpv)))
    yield "where", tag("code", str(bound.rules.places.at("purposes", purpose.name)))
    yield "digest", tag("code", bound.digest(purpose.name))


def services(bound: BoundPolicy) -> Markup:
    """Which program serves which purposes, and what it keeps."""
    note = "" if bound.rules.services else tag("p", "No file declares a service: one program serves everything.")
    rows = (
        (name, service.description, ", ".join(sorted(service.purposes)), ", ".join(sorted(service.keeps)) or "nothing")
        for name, service in bound.services.items()
    )
    return join((note, _table("Programs, each with one login", ("service", "what it is", "serves", "keeps"), rows)))


def bars(bound: BoundPolicy) -> Markup:
    """What no purpose may give to a role, whoever writes it."""
    if not bound.rules.never:
        return tag("p", "There are none.")
    rows = (
        (
            ", ".join(sorted(rule.roles)),
            ", ".join(sorted(rule.categories)),
            "; ".join(f"{field} as {', '.join(sorted(masks))}" for field, masks in sorted(rule.exceptions.items())),
            rule.because,
            tag("code", rule.place, class_="place"),
        )
        for rule in bound.rules.never
    )
    columns = ("roles", "never reach", "but for", "because", "where")
    return _table("Lines that no purpose may cross", columns, rows)


def categories(bound: BoundPolicy) -> Markup:
    """Every category, and what each card shows of each field."""
    kinds = {True: "card of masks", False: "source"}
    rows = (
        (name, kinds[category.projection] + _traits(category), category.description)
        for name, category in bound.categories.items()
    )
    masks = (
        (f"{model.name}.{field.name}", projection.category, tag("code", projection.mask))
        for model in bound.catalogue
        for field in model.fields
        for projection in field.projections
    )
    return join(
        (
            _table("Categories: each has a key of its own", ("category", "kind", "what it holds"), rows),
            _table("What a card shows", ("field", "card", "mask"), masks),
        )
    )


def _traits(category: Category) -> str:
    own = f", consent {category.consent}" if category.consent else ""
    return (", sensitive" if category.sensitive else "") + own


def _table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> Markup:
    """The first column heads its row."""
    head = tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns)))
    made = []
    for first, *rest in rows:
        made.append(tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)))
    table = tag("table", tag("caption", text(caption)), head, tag("tbody", *made))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)

"""The policy as a page that a person can read and print: what each purpose gets, what it takes, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from vaultstore.catalogue import Model
from vaultstore.cli.policy_sheets import bars, categories, purposes, services
from vaultstore.cli.policy_style import STYLE
from vaultstore.markup import Markup, join, tag, text
from vaultstore.policy import BoundPolicy, lattice, row_cells

__all__ = ["page"]

_NONE = "·"
_SEARCH, _WRITE = "search by equality", "write"


def page(bound: BoundPolicy, names: Collection[str] = (), model: str | None = None) -> str:
    """The whole page as HTML. `names` and `model` narrow it to some purposes and to one model."""
    shown = [name for name in bound.purposes if not names or name in names]
    models = [m for m in bound.catalogue if model in (None, m.name)]
    parts = [
        tag("a", "Skip to the matrix", class_="skip", href="#matrix"),
        tag("header", tag("h1", "Policy matrix"), _about(bound, shown, models), _contents()),
        tag(
            "main",
            tag("h2", "Who gets what", id="matrix"),
            _legend(),
            *_matrices(bound, shown, models),
            *_sheets(bound, shown),
        ),
    ]
    head = join(
        (
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            # The page needs nothing from anywhere, and says so to the browser that shows it.
            tag("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", "Policy matrix"),
            Markup(f"<style>{STYLE}</style>"),
        ),
        "\n",
    )
    body = join(parts, "\n")
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def _about(bound: BoundPolicy, shown: Collection[str], models: Collection[Model]) -> Markup:
    fields = sum(len(m.fields) for m in models)
    files = str(bound.rules.folder or ", ".join(sorted(bound.rules.files)))
    counts = f"{len(shown)} purposes over {fields} encrypted fields of {len(models)} models."
    return tag("p", f"{counts} From {files}; days in {bound.rules.timezone}.", class_="soft")


def _contents() -> Markup:
    links = {
        "matrix": "Who gets what",
        "purposes": "Purposes",
        "services": "Services",
        "bars": "Bars",
        "categories": "Categories and masks",
    }
    items = (tag("li", tag("a", name, href=f"#{target}")) for target, name in links.items())
    return tag("nav", tag("ul", *items), aria_label="Contents")


def _legend() -> Markup:
    items = (
        join((tag("span", "clear", class_="key clear"), " the value itself")),
        join((tag("span", "a card", class_="key masked"), " a mask of it, made when it was written")),
        join((tag("span", _NONE, class_="key"), " nothing")),
        join((_right("s", _SEARCH), " may search by equality")),
        join((_right("w", _WRITE), " may write")),
    )
    return tag("ul", *(tag("li", item) for item in items), class_="legend", aria_label="Legend")


def _right(letter: str, says: str) -> Markup:
    return tag("abbr", letter, class_="right", title=says)


def _sheets(bound: BoundPolicy, shown: Collection[str]) -> Iterator[Markup]:
    for name, title, content in (
        ("purposes", "Purposes", purposes(bound, shown)),
        ("services", "Services", services(bound)),
        ("bars", "Bars", bars(bound)),
        ("categories", "Categories and masks", categories(bound)),
    ):
        yield tag("section", tag("h2", title, id=name), content, aria_labelledby=name)


def _matrices(bound: BoundPolicy, shown: Collection[str], models: Iterable[Model]) -> Iterator[Markup]:
    """A table for each model with encrypted fields, those with most of them first, and one for all the others."""
    sealed = sorted((m for m in models if m.fields), key=lambda m: -len(m.fields))
    for model in sealed:
        yield _table(bound, shown, (model,), model.name)
    if plain := [m for m in models if not m.fields]:
        yield _table(bound, shown, plain, "Models with nothing encrypted")


def _table(bound: BoundPolicy, shown: Collection[str], models: Collection[Model], title: str) -> Markup:
    """Fields and rows of `models`. A purpose that has nothing to do with them is named below, not shown."""
    rows = row_cells(bound)
    columns = [name for name in shown if any(rows[name, m.name, "read"] for m in models)]
    others = [name for name in shown if name not in columns]
    note = tag("p", f"No rows for {', '.join(others)}.", class_="soft") if others else Markup()
    headers = (tag("th", tag("a", *_broken(name), href=f"#purpose-{name}"), scope="col") for name in columns)
    head = tag("thead", tag("tr", tag("th", "field", scope="col"), *headers))
    lines = []
    for model in models:
        lines += [_field_row(bound, columns, model, at) for at in range(len(model.fields))]
        lines.append(_rows_row(bound, columns, model, "rows" if model.fields else f"rows of {model.name}"))
    table = tag("table", tag("caption", title), head, tag("tbody", *lines), class_="matrix")
    if not columns:
        return join((tag("h3", title), note))
    return join((tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=title), note))


def _field_row(bound: BoundPolicy, columns: Iterable[str], model: Model, at: int) -> Markup:
    field, cells = model.fields[at], lattice(bound)
    name = tag("th", field.name, " ", tag("small", field.category), scope="row")
    made = []
    for purpose in columns:
        read, search, write = (cells[purpose, model.name, field.name, verb] for verb in ("read", "search", "write"))
        kind, _, card = read.partition(":")
        rights = [_right("s", _SEARCH)] * (search == "allowed") + [_right("w", _WRITE)] * (write == "allowed")
        word: tuple[str, ...] = (card or kind,) if kind != "denied" else ()
        if not word and not rights:
            made.append(_nothing())
        else:
            made.append(tag("td", join([*word, *rights], " "), class_=kind if word else None))
    return tag("tr", name, *made)


def _rows_row(bound: BoundPolicy, columns: Iterable[str], model: Model, title: str) -> Markup:
    rows = row_cells(bound)
    made = []
    for name in columns:
        scope = bound.purposes[name].rows(model.name, *model.bases) or "all"
        writes = (" ", _right("w", "insert, change and delete rows")) if rows[name, model.name, "write"] else ()
        seen = rows[name, model.name, "read"]
        made.append(tag("td", scope, *writes) if seen else _nothing())
    return tag("tr", tag("th", title, scope="row"), *made)


def _nothing() -> Markup:
    return tag("td", tag("span", _NONE, aria_hidden="true"), tag("span", "nothing", class_="unseen"), class_="none")


def _broken(name: str) -> Iterator[Markup]:
    """A purpose over several lines: columns stay narrow."""
    first, *rest = name.split(".")
    yield text(first + ("." if rest else ""))
    for number, word in enumerate(rest, 1):
        yield tag("br")
        yield text(word + ("." if number < len(rest) else ""))

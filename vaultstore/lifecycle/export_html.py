"""A copy of a member's data as one page, to read and to print. It fetches nothing and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vaultstore.lifecycle.portable import Bundle
from vaultstore.markup import Markup, join, tag
from vaultstore.page import page

__all__ = ["page_of"]


def page_of(bundle: Bundle) -> str:
    """The copy as HTML."""
    title = "Your data"
    purpose, made_at = bundle.made_for.get("purpose"), f"{bundle.made_at:%Y-%m-%d %H:%M}"
    made = f"A copy of all that was readable under {purpose}, made {made_at} UTC."
    parts = [
        tag("header", tag("h1", title), tag("p", "Member ", tag("code", str(bundle.subject)), class_="soft")),
        tag("p", made),
        *(_model(model, rows) for model, rows in bundle.rows.items()),
        _records("Consents", bundle.consents, "No consent is on file."),
        _records("States", bundle.states, "Nothing is on file."),
        _records("Cases", bundle.cases, "No case is told here."),
        _records("Not in this copy", bundle.withheld, "Nothing was left out."),
        tag(
            "p",
            "This page is for reading. The file that it was made from can be read by machines, and by another service.",
            class_="soft",
        ),
    ]
    return page(title, tag("main", *parts))


def _model(name: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    heading = tag("h2", name, " ", tag("span", f"({len(rows):,})", class_="soft"))
    if not rows:
        return join((heading, tag("p", "There are none.", class_="soft")))
    if len(rows) == 1:
        lines = (tag("tr", tag("th", key, scope="row"), tag("td", _shown(value))) for key, value in rows[0].items())
        return join((heading, _framed(name, tag("table", tag("tbody", *lines)))))
    return join((heading, _framed(name, _table(rows))))


def _records(heading: str, rows: Sequence[Mapping[str, Any]], none: str) -> Markup:
    shown = _framed(heading, _table(rows)) if rows else tag("p", none, class_="soft")
    return join((tag("h2", heading), shown))


def _table(rows: Sequence[Mapping[str, Any]]) -> Markup:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    head = tag("thead", tag("tr", *(tag("th", key, scope="col") for key in keys)))
    return tag("table", head, tag("tbody", *(_line(row, keys) for row in rows)))


def _line(row: Mapping[str, Any], keys: Sequence[str]) -> Markup:
    return tag("tr", *(tag("td", _shown(row.get(key))) for key in keys))


def _framed(label: str, table: Markup) -> Markup:
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _shown(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

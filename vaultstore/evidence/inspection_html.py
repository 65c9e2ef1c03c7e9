"""The inspection of a store as one page, to read and to print. It names no member, and fetches and runs nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from vaultstore.evidence.anomalies import Departure
from vaultstore.evidence.anomalies_tally import Who
from vaultstore.evidence.inspection import Inspection, Staff
from vaultstore.markup import Markup, join, tag
from vaultstore.page import page

__all__ = ["inspection_page"]

_WIDTH, _HEIGHT = 720, 120


def inspection_page(found: Inspection, pseudonyms: bool = True) -> str:
    """The page; `pseudonyms` names actors as members' reports do, else by their ids."""
    name = _Names(found, pseudonyms)
    title = f"Inspection of store {found.store}"
    span = f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d} UTC" if found.first and found.last else "nothing"
    body = join(
        (
            tag(
                "header",
                tag("h1", title),
                tag(
                    "p",
                    f"From the audit log: {span}; days in {found.timezone}. Counts only: no member is named.",
                    class_="soft",
                ),
            ),
            tag(
                "main",
                tag("h2", "What to look at first"),
                _first(found, name),
                tag("h2", "Members read, by day"),
                _bars(found.by_day),
                tag("h2", "Who worked here"),
                _staff(found, name),
                tag("h2", "What departs from the usual"),
                _departures(found.departures, name),
                tag("h2", "Refusals"),
                _counts("refused because", "times", _sum(one.refusals for one in found.staff)),
                tag("h2", "Cases"),
                _counts("case", "entries", _sum(one.cases for one in found.staff)),
                tag("h2", "What this can't tell"),
                tag("ul", *(tag("li", line) for line in _limits_of_this(found))),
            ),
        ),
        "\n",
    )
    return page(title, body)


class _Names:
    def __init__(self, found: Inspection, pseudonyms: bool) -> None:
        self._pseudonyms = pseudonyms
        self._by_id = {one.who.id: one.who for one in found.staff}

    def of(self, who: Who) -> str:
        return who.pseudonym if self._pseudonyms else who.actor

    def fill(self, sentence: str) -> str:
        return re.sub(r"^\{(\d+)\}", lambda match: self.of(self._by_id[int(match[1])]), sentence)


def _first(found: Inspection, name: _Names) -> Markup:
    if not found.look_first:
        return tag("p", "Nothing stands out: nobody departs from their peers, and no limit was reached.")
    return tag("ol", *(tag("li", name.fill(sentence)) for sentence in found.look_first))


def _bars(days: Mapping[str, int]) -> Markup:
    if not days:
        return tag("p", "Nobody read anything.")
    most, step = max(*days.values(), 1), _WIDTH / len(days)
    bars = [
        tag(
            "rect",
            tag("title", f"{day}: {reads:,}"),
            x=f"{at * step:.1f}",
            y=f"{_HEIGHT - reads / most * _HEIGHT:.1f}",
            width=f"{max(step - 1, 0.5):.1f}",
            height=f"{reads / most * _HEIGHT:.1f}",
        )
        for at, (day, reads) in enumerate(days.items())
    ]
    ends = (
        tag("text", min(days), x=0, y=_HEIGHT + 14),
        tag("text", max(days), x=_WIDTH, y=_HEIGHT + 14, text_anchor="end"),
    )
    label = f"Members read on {len(days)} days, at most {most:,}"
    drawn = tag("svg", *bars, *ends, viewBox=f"0 0 {_WIDTH} {_HEIGHT + 18}", role="img", aria_label=label)
    return join((drawn, tag("p", f"At most {most:,} on one day.", class_="soft")))


def _staff(found: Inspection, name: _Names) -> Markup:
    departing = {d.who.id for d in found.departures}
    heads = (
        "actor",
        "role",
        "days",
        "members read",
        "most on a day",
        "busiest minute",
        "searches",
        "refusals",
        "purposes",
        "daily limits",
    )
    rows = [_person(one, name.of(one.who), one.who.id in departing) for one in found.staff]
    return _table(heads, rows)


def _person(one: Staff, called: str, departs: bool) -> Markup:
    figures = (
        len(one.days),
        one.reads,
        max((day.reads for day in one.days), default=0),
        max((day.burst for day in one.days), default=0),
        sum(day.searches for day in one.days),
        sum(one.refusals.values()),
    )
    purposes = ", ".join(f"{purpose} {count:,}" for purpose, count in one.purposes.most_common())
    limits = ", ".join(f"{limit.purpose}: {limit.used:,} of {limit.most:,}" for limit in one.limits)
    cells = (tag("td", one.who.role), *(_number(f) for f in figures), tag("td", purposes), tag("td", limits))
    return tag("tr", tag("th", called, scope="row"), *cells, class_="bad" if departs else None)


def _departures(departures: Iterable[Departure], name: _Names) -> Markup:
    rows = [
        tag(
            "tr",
            tag("th", name.of(departure.who), scope="row"),
            tag("td", finding.kind),
            tag("td", finding.did),
            tag("td", finding.usual),
            tag("td", departure.peers),
            tag("td", "; ".join(finding.days)),
            tag("td", f"{finding.score:.1f}", class_="number"),
        )
        for departure in departures
        for finding in departure.findings
    ]
    if not rows:
        return tag("p", "Nobody departs from their peers.")
    return _table(("actor", "in what", "what they did", "usual among peers", "peers", "on which days", "how far"), rows)


def _counts(what: str, unit: str, counts: Counter[str]) -> Markup:
    if not counts:
        return tag("p", "None.")
    return _table((what, unit), [tag("tr", tag("th", key, scope="row"), _number(n)) for key, n in counts.most_common()])


def _table(heads: Iterable[str], rows: Iterable[Markup]) -> Markup:
    head = tag("thead", tag("tr", *(tag("th", title, scope="col") for title in heads)))
    return tag("div", tag("table", head, tag("tbody", *rows)), class_="scroll", tabindex=0, role="region")


def _number(figure: int) -> Markup:
    return tag("td", f"{figure:,}", class_="number")


def _sum(counts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total


def _limits_of_this(found: Inspection) -> list[str]:
    said = ["A departure is a reason to look and to ask, not a verdict: a busy season or a new task departs too."]
    said.append("Reads past the gate are not here: Vault's own log shows them (vaultstore audit reconcile).")
    alone = sum(who.store == found.store for who in found.anomalies.alone)
    if alone:
        said.append(f"{alone} of the people here have too few peers to say what is usual.")
    return said + [f"Not measured: {sentence}." for sentence in found.anomalies.unmeasured]

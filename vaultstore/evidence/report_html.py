"""A member's report as one page, to read and to print. It fetches nothing and runs nothing."""

from __future__ import annotations

from vaultstore.evidence.check_report import CheckedReport
from vaultstore.evidence.report_text import Gap, Row, about, rows
from vaultstore.markup import Markup, join, tag
from vaultstore.page import page

__all__ = ["page_of"]

_HEADS = ("No.", "when", "what", "who", "why", "which data", "case", "outcome", "proof")


def page_of(report: CheckedReport) -> str:
    """The report as HTML."""
    title = "What was done with your data"
    body = join(
        (
            tag("header", tag("h1", title), tag("p", "Member ", tag("code", str(report.subject)), class_="soft")),
            tag(
                "main",
                *(tag("p", sentence) for sentence in about(report)),
                tag("div", _table(report), class_="scroll", tabindex=0, role="region", aria_label="Lines"),
                tag(
                    "p",
                    "This page is for reading. The proofs are in the report's file, which ",
                    tag("code", "vaultstore audit check-report"),
                    " checks with nothing but the log's public key.",
                    class_="soft",
                ),
            ),
        ),
        "\n",
    )
    return page(title, body)


def _table(report: CheckedReport) -> Markup:
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in _HEADS)))
    return tag("table", head, tag("tbody", *map(_line, rows(report))))


def _line(row: Row | Gap) -> Markup:
    if isinstance(row, Gap):
        numbers = str(row.first) if row.first == row.last else f"{row.first}-{row.last}"
        return tag("tr", tag("th", numbers, scope="row"), tag("td", str(row), colspan=len(_HEADS) - 1), class_="bad")
    if row.withheld:
        told = "withheld for now: the policy says so of investigations"
        short = (tag("td", told, colspan=len(_HEADS) - 2, class_="soft"), tag("td", row.proof))
        return tag("tr", tag("th", row.number, scope="row"), *short)
    data = join((join((name, ": ", tag("strong", form))) for name, form in row.categories), "; ")
    cells = (
        tag("td", row.when, class_="when"),
        tag("td", row.what),
        tag("td", row.who),
        tag("td", row.why),
        tag("td", data),
        tag("td", row.case),
        tag("td", row.outcome),
        tag("td", row.proof),
    )
    return tag("tr", tag("th", row.number, scope="row"), *cells)

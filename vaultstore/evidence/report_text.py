"""A member's report in words: what each line says, for whoever has never seen an audit log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from vaultstore.evidence.check_report import CheckedReport, ReadLine

__all__ = ["ABOUT_NUMBERS", "Gap", "Row", "about", "rows", "text_of"]

ABOUT_NUMBERS = (
    "Each time something is done with your data the entry gets your next number. A missing number means that an entry"
    " was removed. Numbers can't show a read that never made an entry, by somebody who got round the system: that is"
    " found when the key service's own log is compared with this one (`vaultstore audit reconcile`), which an auditor"
    " does."
)

_KINDS = {
    "disclose": "your data was read",
    "seal": "your data was written",
    "search": "somebody was looked up by a value",
    "found": "a search found you",
    "withhold": "a request that had been let in was refused after all",
    "report": "a report like this one was made",
    "reindex": "the key by which you are looked up was changed",
    "rekey": "your data was sealed under new keys, and the old ones were destroyed",
}
_OUTCOMES = {
    "disclosed": "shown",
    "sealed": "written",
    "found": "found",
    "reported": "made",
    "reindexed": "done",
    "rekeyed": "done",
    "not.granted": "refused: the purpose does not reach this",
    "not.admitted": "refused: more was asked for than was let in",
    "subject.unknown": "refused: you were not registered",
    "subject.restricted": "refused: processing of your data is restricted",
    "subject.canary": "refused",
    "subject.erased": "refused: your data had been erased",
    "subject.not_named": "refused: the request did not name you",
    "consent.missing": "refused: your consent was missing",
    "case.missing": "refused: no open case named you",
    "approval.missing": "refused: nobody had approved it",
    "budget.exhausted": "refused: a limit was reached",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line in words. Of one that is withheld everything but `number` and `proof` is empty."""

    number: str
    when: str
    what: str
    who: str
    why: str
    categories: tuple[tuple[str, str], ...]
    """(name and what it is, ``in clear`` or ``masked``)."""
    case: str
    outcome: str
    proof: str
    withheld: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers that no line has."""

    first: int
    last: int

    def __str__(self) -> str:
        numbers = f"number {self.first} is" if self.first == self.last else f"numbers {self.first} to {self.last} are"
        return f"{numbers} missing: an entry about you was removed from the log"


def rows(report: CheckedReport) -> Iterator[Row | Gap]:
    """The report's lines in words by number, with the gaps where they are."""
    gaps = list(report.gaps)
    zone = _zone(report.words["timezone"])
    for line in report.lines:
        while gaps and line.number > gaps[0][0]:
            yield Gap(*gaps.pop(0))
        yield _row(report, line, zone)
    for gap in gaps:
        yield Gap(*gap)


def about(report: CheckedReport) -> list[str]:
    """What the report as a whole says, a sentence each."""
    zone = _zone(report.words["timezone"])
    said = [
        f"Made {_time(report.made_at, zone)} from the log {report.origin}.",
        f"Your running numbers go up to {report.last}; {len(report.lines)} lines follow.",
        ABOUT_NUMBERS,
    ]
    if report.gaps:
        said.append(" ".join(f"{_capital(str(Gap(*gap)))}." for gap in report.gaps))
    else:
        said.append("No number is missing.")
    if report.withheld:
        said.append(
            f"{len(report.withheld)} lines are withheld for now, as the policy says of investigations: only their"
            " numbers are shown. A later report shows them, and has to show the same entries: their hashes are in this"
            " one."
        )
    if report.waiting:
        said.append(
            f"{len(report.waiting)} lines are not yet provable: the log's next checkpoint will be signed over them."
            " Ask again after it."
        )
    if any(not line.number for line in report.lines):
        said.append("Lines without a number are from before you were registered.")
    said.append(
        "People who acted have a pseudonym, always the same for the same person. Who they are is for the operator to"
        " say, and for whoever supervises it to ask."
    )
    return said


def text_of(report: CheckedReport) -> str:
    """The report as plain text."""
    blocks = [f"What was done with the data of {report.subject}", *about(report)]
    for row in rows(report):
        if isinstance(row, Gap):
            blocks.append(f"!! {row}")
        elif row.withheld:
            blocks.append(f"{row.number}  withheld for now; {row.proof}")
        else:
            blocks.append("\n".join(_block(row)))
    return _printable("\n\n".join(blocks)) + "\n"


def _block(row: Row) -> Iterator[str]:
    yield f"{row.number}  {row.when}: {row.what}"
    yield f"    who         {row.who}"
    yield f"    why         {row.why}"
    if row.categories:
        yield f"    what        {'; '.join(f'{name}: {form}' for name, form in row.categories)}"
    yield f"    case        {row.case or 'none'}"
    yield f"    outcome     {row.outcome}"
    yield f"    proof       {row.proof}"


def _row(report: CheckedReport, line: ReadLine, zone: tzinfo) -> Row:
    proof = "not yet provable" if line.index is None else f"entry {line.index} of the log of {report.size}"
    number = str(line.number or "-")
    content, words = line.content, report.words
    if content is None:
        return Row(number, "", "", "", "", (), "", "", proof, withheld=True)
    role, purpose = content["role"], content["purpose"]
    store = content["attributes"].get(words["store_attribute"])
    who = f"{_said(role, words['roles'])}{f', store {store}' if store else ''}, {content['actor']}"
    return Row(
        number,
        _time(datetime.fromisoformat(content["time"]), zone),
        _what(content),
        who,
        _said(purpose, words["purposes"]),
        tuple(_category(name, words["categories"]) for name in content["categories"]),
        content["case"] or "",
        _OUTCOMES.get(line.outcome or "", line.outcome or ""),
        proof,
        withheld=False,
    )


def _what(content: Mapping[str, Any]) -> str:
    said = _KINDS.get(content["kind"], content["kind"])
    where = ".".join(filter(None, (content["model"], content.get("field"))))
    return f"{said} ({where})" if where else said


def _category(name: str, known: Mapping[str, Mapping[str, object]]) -> tuple[str, str]:
    if name not in known:
        return name, "not in the policy any more"
    return f"{name} ({known[name]['description']})", "masked" if known[name]["masked"] else "in clear"


def _said(name: str, words: Mapping[str, str]) -> str:
    return f"{name} ({words[name]})" if words.get(name) else name


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError):  # a zone that is not known here
        return UTC


def _time(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or ''}".rstrip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _printable(text: str) -> str:
    """Without what a terminal would obey: attributes and cases are text of others."""
    return "".join(c if c == "\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)

"""How plans and findings of the planes look: on a terminal, in a pipe, and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vaultstore.cli.common import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vaultstore.planes import Change, Difference
    from vaultstore.planes.report import PlaneReport

__all__ = ["as_json", "counted", "show_absent", "show_notes", "show_plan", "show_reports"]

_ACTIONS = {"create": ("green", "to create"), "change": ("yellow", "to change"), "remove": ("red", "to remove")}
_VERDICTS = {"too open": "bold red", "too closed": "yellow", "different": "magenta"}


def counted(number: int, noun: str) -> str:
    """``1 change``, ``2 changes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show_plan(out: Console, plane: str, changes: Sequence[Change]) -> None:
    """What one plane's apply would do: a line each, under a heading with their counts."""
    from rich.text import Text

    if not changes:
        out.print(Text(plane, "bold").append(": nothing to do", "not bold dim"))
        return
    found = Counter[str](change.action for change in changes)
    counts = ", ".join(f"{found[action]:,} {words}" for action, (_, words) in _ACTIONS.items() if found[action])
    out.print(Text(plane, "bold").append(f": {counted(len(changes), 'change')} ({counts})", "not bold"))
    for change in changes:
        line = Text("  ").append(printable(str(change))[:1], f"bold {_ACTIONS[change.action][0]}")
        out.print(line.append(printable(str(change))[1:]))


def show_notes(out: Console, notes: Iterable[str]) -> None:
    """What a person has to know or do besides, a line each."""
    from rich.text import Text

    for note in notes:
        out.print(Text("note: ", "cyan").append(printable(note), "default"))


def show_absent(out: Console, absent: Iterable[str]) -> None:
    """Why a plane is not there, a line each."""
    for reason in absent:
        out.print(printable(reason), style="dim", markup=False)


def show_reports(out: Console, reports: Sequence[PlaneReport], *, probed: bool) -> None:
    """A table of the planes, and below it a line for each difference."""
    from rich.text import Text

    out.print(_table(reports, probed=probed))
    for report in reports:
        for difference in report.differences:
            mark = Text("✗ ", _VERDICTS[difference.verdict]).append(f"{report.plane}: ", "dim not bold")
            out.print(mark.append_text(_said(difference)), soft_wrap=True)


def as_json(reports: Sequence[PlaneReport], absent: Sequence[str], *, probed: bool) -> dict[str, Any]:
    """The findings for programs; `cells` is null where none was tried."""
    return {
        "ok": all(report.ok for report in reports),
        "planes": [
            {
                "plane": report.plane,
                "cells": {
                    "tried": report.cells,
                    "agreeing": report.agreeing,
                    "too_open": report.too_open,
                    "too_closed": report.too_closed,
                }
                if probed
                else None,
                "facts": {"differing": len(report.facts)},
                "differences": [
                    {"verdict": d.verdict, "thing": d.thing, "expected": d.expected, "found": d.found}
                    for d in report.differences
                ],
            }
            for report in reports
        ],
        "absent": list(absent),
    }


def _table(reports: Sequence[PlaneReport], *, probed: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("plane")
    heads = ["cells tried", "agreeing", "too open", "too closed"] if probed else []
    for head in (*heads, "facts differing"):
        table.add_column(head, justify="right")
    table.add_column("")
    for report in reports:
        numbers = []
        if probed:
            numbers = [Text(f"{report.cells:,}"), Text(f"{report.agreeing:,}")]
            numbers.append(Text(f"{report.too_open:,}", "bold red" if report.too_open else ""))
            numbers.append(Text(f"{report.too_closed:,}", "yellow" if report.too_closed else ""))
        facts = Text(f"{len(report.facts):,}", "magenta" if report.facts else "")
        table.add_row(report.plane, *numbers, facts, Text("✓", "green") if report.ok else Text("✗", "bold red"))
    return table


def _said(difference: Difference) -> Any:
    from rich.text import Text

    line = Text(printable(difference.thing), "bold").append(" is ", "not bold")
    line.append(difference.verdict, _VERDICTS[difference.verdict])
    return line.append(printable(f": expected {difference.expected}, found {difference.found}"), "not bold")

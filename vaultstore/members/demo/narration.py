"""How the demo looks: every table and line it prints, made from plain data."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vaultstore.members.demo.abuses import Attempt
from vaultstore.members.demo.trail import Act
from vaultstore.members.demo.views import Shown, View

__all__ = ["abuse_row", "audit", "cards", "heading", "note", "verdict", "views"]

_STYLE = {"raw": "dim", "clear": "bold green", "masked": "yellow", "denied": "red"}
_WIDEST = 26


def heading(console: Console, text: str) -> None:
    """A scene begins."""
    console.print()
    console.rule(f"[bold]{escape(text)}", align="left", style="dim")


def note(console: Console, text: str) -> None:
    """One line that says what to look at."""
    console.print(Text(text, style="dim"))


def views(console: Console, seen: Sequence[View]) -> None:
    """The same rows side by side: one line a field, one column a reader."""
    table = _table()
    table.add_column("")
    for view in seen:
        table.add_column(Text(f"{view.who}\n", "bold").append(view.purpose, "dim not bold"), max_width=_WIDEST)
    for name in seen[0].values:
        table.add_row(Text(name, style="cyan"), *(_cell(view.values[name]) for view in seen))
    console.print(table)


def cards(console: Console, page: Sequence[Sequence[str]], shown: int = 3) -> None:
    """The first few of a page of leads."""
    table = _table()
    for column in ("nickname", "city", "name", "phone", "born"):
        table.add_column(column)
    for nickname, city, *masked in page[:shown]:
        table.add_row(Text(nickname), Text(city), *(Text(value, "yellow") for value in masked))
    console.print(table)


def abuse_row(console: Console, attempt: Attempt) -> None:
    """One abuse: who tried what, and what stopped it."""
    mark, style = ("✓", "green") if attempt.held else ("✗", "bold red")
    line = Text(f" {mark} ", style).append(f"{attempt.who} ", "bold").append(attempt.what)
    console.print(line)
    by = attempt.refused_by or "GOT THROUGH"
    console.print(Padding(Text(f"{by}: ", style).append(attempt.message, "dim not bold"), (0, 0, 0, 3)))


def audit(console: Console, acts: Sequence[Act]) -> None:
    """The last acts of the gate."""
    table = _table()
    for column in ("time", "actor", "purpose", "act"):
        table.add_column(column)
    table.add_column("subjects", justify="right")
    table.add_column("outcome")
    for act in acts:
        style = "red" if act.outcome.startswith("refused") else ""
        cells = (act.time, act.actor, act.purpose, act.kind, str(act.subjects), act.outcome)
        table.add_row(*(Text(cell, style) for cell in cells))
    console.print(table)


def verdict(console: Console, attempts: Sequence[Attempt]) -> None:
    """The end: how many abuses were refused, and which were not."""
    through = [attempt for attempt in attempts if not attempt.held]
    console.print()
    if through:
        console.print(Text(f"{len(through)} of {len(attempts)} abuses were not refused as they should be.", "bold red"))
    else:
        console.print(Text(f"{len(attempts)} abuses tried, {len(attempts)} refused.", "bold green"))


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))


def _cell(shown: Shown) -> Text:
    return Text(shown.text, style=_STYLE[shown.how], overflow="ellipsis", no_wrap=True)

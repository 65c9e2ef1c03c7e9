"""The policy's matrix as tables: a model each, and as many purposes side by side as the width holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from vaultstore.policy import Cell

__all__ = ["tables"]


def tables(cells: Sequence[Cell], width: int) -> Iterator[RenderableType]:
    """Tables of at most `width` columns of text. A purpose that gets nothing of a model is named, not shown."""
    for model, group in groupby(sorted(cells, key=lambda cell: cell.model), key=lambda cell: cell.model):
        by_purpose: dict[str, dict[str, Cell]] = {}
        fields: dict[str, str] = {}
        for cell in group:
            by_purpose.setdefault(cell.purpose, {})[cell.field] = cell
            fields[cell.field] = cell.category
        shown = {purpose: mine for purpose, mine in by_purpose.items() if any(map(_gets_something, mine.values()))}
        yield Text(model, "bold")
        first = max(len(f"{field} [{category}]") for field, category in fields.items())
        for chunk in _chunks({p: _width(p, mine) for p, mine in shown.items()}, width - first - 4):
            table = Table()
            table.add_column("field", no_wrap=True)
            for purpose in chunk:
                table.add_column(Text(_header(purpose)), no_wrap=True)
            for field, category in fields.items():
                name = Text.assemble((field, "bold"), (f" [{category}]", "dim"))
                table.add_row(name, *(_text(shown[purpose][field]) for purpose in chunk))
            yield table
        if without := [purpose for purpose in by_purpose if purpose not in shown]:
            yield Text(f"nothing for {', '.join(without)}", "dim")
        yield Text()


def _gets_something(cell: Cell) -> bool:
    return cell.read != "denied" or cell.search or cell.write


def _text(cell: Cell) -> Text:
    kind, _, card = cell.read.partition(":")
    marks = "s" * cell.search + "w" * cell.write
    if kind == "denied":
        return Text(marks or "·", "" if marks else "dim")
    colour = "green" if kind == "clear" else "yellow"
    return Text.assemble((card or kind, colour), f" {marks}" if marks else "")


def _header(purpose: str) -> str:
    """The purpose over two or more lines: columns stay narrow."""
    return purpose.replace(".", ".\n")


def _width(purpose: str, cells: dict[str, Cell]) -> int:
    lines = [*_header(purpose).split("\n"), *(_text(cell).plain for cell in cells.values())]
    return max(map(len, lines)) + 3  # padding and border


def _chunks(widths: dict[str, int], room: int) -> Iterator[list[str]]:
    chunk: list[str] = []
    used = 0
    for purpose, needed in widths.items():
        if chunk and used + needed > room:
            yield chunk
            chunk, used = [], 0
        chunk.append(purpose)
        used += needed
    if chunk:
        yield chunk

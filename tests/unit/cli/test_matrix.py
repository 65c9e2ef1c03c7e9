"""The matrix fits the width it is given, and leaves nothing out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from vaultstore.cli.matrix import tables
from vaultstore.policy import Cell

PURPOSES = [f"group.purpose_{n}" for n in range(12)]


def cell(purpose: str, field: str, read: str = "clear", *, search: bool = False, write: bool = False) -> Cell:
    return Cell(purpose, "Member", field, "contact", read, search, write)


def drawn(cells: list[Cell], width: int) -> list[str]:
    out = Console(file=io.StringIO(), width=width, color_system=None)
    for part in tables(cells, width):
        out.print(part)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120, 1000])
def test_tables_stay_within_the_width_and_show_every_purpose_once(width: int) -> None:
    lines = drawn([cell(purpose, field) for purpose in PURPOSES for field in ("phone", "email")], width)
    assert max(map(len, lines)) <= width
    headers = " ".join(line for line in lines if "purpose_" in line)
    assert [word for word in headers.replace("┃", " ").split() if word in {p.split(".")[1] for p in PURPOSES}] == [
        purpose.split(".")[1] for purpose in PURPOSES
    ]
    assert not [line for line in lines if "…" in line]


def test_a_cell_shows_the_card_and_what_else_is_allowed() -> None:
    lines = drawn(
        [
            cell("a.b", "phone", "masked:sales_card", search=True),
            cell("a.b", "email", "denied", write=True),
            cell("a.b", "name", "denied"),
            cell("a.b", "wants", "clear", search=True, write=True),
        ],
        80,
    )
    rows = {row[1].split()[0]: row[2].strip() for row in (line.split("│") for line in lines) if len(row) == 4}
    assert rows == {"phone": "sales_card s", "email": "w", "name": "·", "wants": "clear sw"}


def test_a_purpose_that_gets_nothing_is_named_and_has_no_column() -> None:
    lines = drawn([cell("a.b", "phone"), cell("c.d", "phone", "denied")], 80)
    assert "nothing for c.d" in lines
    assert not [line for line in lines if "c." in line and "┃" in line]


def test_a_model_that_nobody_gets_anything_of_has_no_table() -> None:
    lines = drawn([cell("c.d", "phone", "denied")], 80)
    assert [line.strip() for line in lines if line.strip()] == ["Member", "nothing for c.d"]

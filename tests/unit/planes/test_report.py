"""What a look at one plane counts and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vaultstore.planes import Cell, Change, Difference, Probe
from vaultstore.planes.report import examine


@dataclass
class Plane:
    """A plane that says what a test has it say."""

    tried: Sequence[Probe] = ()
    found: Sequence[Difference] = ()
    name: str = "vault"

    def compile(self) -> str:
        return ""

    def plan(self) -> Sequence[Change]:
        return ()

    def apply(self) -> Sequence[Change]:
        raise AssertionError("a look changes nothing")

    def differences(self) -> Sequence[Difference]:
        return self.found

    def probes(self) -> Iterator[Probe]:
        yield from self.tried


def probe(where: str, *, expected: bool, found: bool) -> Probe:
    return Probe(Cell("sales.pool", where, "decrypt"), expected, found)


TRIED = [
    probe("category pool_card", expected=True, found=True),
    probe("category contact", expected=False, found=True),
    probe("category identity", expected=False, found=False),
    probe("category care_card", expected=True, found=False),
]
FACT = Difference("different", "key vs-cat-contact", "not exportable", "exportable")


def test_a_cell_that_opens_too_much_is_told_from_one_that_opens_too_little() -> None:
    report = examine(Plane(TRIED))
    assert (report.cells, report.denied, report.agreeing) == (4, 2, 2)
    assert (report.too_open, report.too_closed) == (1, 1)
    assert not report.ok


def test_each_difference_has_a_line_that_names_it_and_facts_come_first() -> None:
    assert [str(difference) for difference in examine(Plane(TRIED, [FACT])).differences] == [
        "key vs-cat-contact is different: expected not exportable, found exportable",
        "sales.pool: decrypt category contact is too open: expected refused, found allowed",
        "sales.pool: decrypt category care_card is too closed: expected allowed, found refused",
    ]


def test_a_plane_whose_cells_and_facts_agree_is_in_order() -> None:
    report = examine(Plane([TRIED[0], TRIED[2]]))
    assert report.ok
    assert report.differences == ()


def test_a_fact_alone_is_a_difference() -> None:
    assert not examine(Plane([TRIED[0]], [FACT])).ok


def test_no_cell_is_tried_where_probes_are_not_wanted() -> None:
    heard: list[Probe] = []
    assert examine(Plane(TRIED), probes=False, tried=heard.append).cells == 0
    assert heard == []


def test_each_probe_is_told_as_it_is_made() -> None:
    heard: list[Probe] = []
    examine(Plane(TRIED), tried=heard.append)
    assert heard == TRIED

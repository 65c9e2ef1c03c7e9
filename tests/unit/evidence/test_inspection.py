"""The inspection of a store: what an inspector needs, no member, and nothing that a page could be made to do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.staff import FIRST, Staff
from vaultstore.evidence.inspection import Inspection, inspect_store
from vaultstore.evidence.inspection_html import inspection_page
from vaultstore.policy.model import Limit, Purpose

BAD = "<script>alert('u')</script>\"&{1}"
PURPOSES = {"sales.outreach": Purpose("sales.outreach", limits={"disclose": (Limit(100, "day", "actor"),)})}


@pytest.fixture
def staff(tmp_path: Path) -> Staff:
    """A store with somebody who reads too much and whose name is an attack."""
    made = Staff(tmp_path)
    made.people[BAD], made.leads[BAD] = "sh-02", set()
    made.normal(BAD)
    for day in made.workdays():
        made.shift(BAD, day, 120, made.members["sh-02"])
    made.act(BAD, FIRST + timedelta(hours=10), "disclose", made.members["sh-02"][:1], ["disclosed"], case="c-<7>")
    made.write()
    return made


@pytest.fixture
def found(staff: Staff) -> Iterator[Inspection]:
    with ExitStack() as resources:
        counted, anomalies = staff.found(resources)
        yield inspect_store(counted, anomalies, "sh-02", PURPOSES, "Asia/Shanghai")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)


def test_it_says_who_worked_there_and_where_to_look_first(found: Inspection) -> None:
    assert len(found.staff) == 9
    assert found.staff[0].who.actor == BAD
    assert found.departures[0].who.actor == BAD
    assert found.look_first[0].startswith(f"{{{found.staff[0].who.id}}}: up to")
    assert any("sales.outreach allows 100" in sentence for sentence in found.look_first)
    assert found.staff[0].cases == {"c-<7>": 1}
    assert sum(found.by_day.values()) == sum(one.reads for one in found.staff)


@pytest.mark.parametrize("pseudonyms", [True, False])
def test_the_page_escapes_everything_and_fetches_nothing(found: Inspection, pseudonyms: bool) -> None:
    page = inspection_page(found, pseudonyms)
    tags = _Tags()
    tags.feed(page)
    assert not tags.tags & {"script", "img", "link", "iframe", "object", "form"}
    assert not any(name.startswith("on") or name in ("src", "href") for name in tags.attributes)
    assert "<script" not in page
    assert "c-&lt;7&gt;" in page
    assert ("p-of-u-2-1" in page, ">u-2-1<" in page) == (pseudonyms, not pseudonyms)


def test_the_page_names_no_member(staff: Staff, found: Inspection) -> None:
    page = inspection_page(found)
    for member in staff.home:
        assert member.hex() not in page
        assert str(uuid.UUID(bytes=member)) not in page


def test_a_store_of_which_nothing_is_known_is_empty(staff: Staff) -> None:
    with ExitStack() as resources:
        counted, anomalies = staff.found(resources)
        empty = inspect_store(counted, anomalies, "nowhere", PURPOSES)
    assert empty.staff == ()
    assert "Nothing stands out" in inspection_page(empty)

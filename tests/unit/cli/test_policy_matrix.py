"""The matrix as a page: whole, well formed, alone, and showing what the lattice says, whatever a policy holds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.profiles import SHIPPED_POLICY
from vaultstore.cli.policy_page import page
from vaultstore.markup import Markup, join, tag, text
from vaultstore.members.models import Base
from vaultstore.orm import catalogue_of
from vaultstore.policy import BoundPolicy, Policy, lattice, row_cells

from .conftest import Run

VOID = {"meta", "br"}


@dataclass
class Element:
    """A tag with what is in it."""

    name: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, name: str) -> list[Element]:
        inner = [child for child in self.children if isinstance(child, Element)]
        return [e for child in inner for e in ([child] if child.name == name else []) + child.all(name)]


class Tree(HTMLParser):
    """A strict reader: each element that opens is closed, in order, and nothing else is."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.declared = ""
        self.feed(content)
        self.close()
        assert self.open == [self.root], f"never closed: {self.open[-1].name}"

    def handle_decl(self, decl: str) -> None:
        self.declared = decl

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Element(name, dict(attrs))
        assert len(made.attributes) == len(attrs), f"{name} has an attribute twice"
        self.open[-1].children.append(made)
        if name not in VOID:
            self.open.append(made)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop().name == name

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


@pytest.fixture(scope="module")
def bound() -> BoundPolicy:
    return Policy.load(SHIPPED_POLICY).bind(catalogue_of(Base))


@pytest.fixture(scope="module")
def tree(bound: BoundPolicy) -> Tree:
    return Tree(page(bound))


def test_the_page_is_one_well_formed_document(tree: Tree) -> None:
    assert tree.declared.lower() == "doctype html"
    [html] = [child for child in tree.root.children if isinstance(child, Element)]
    assert html.attributes == {"lang": "en"}
    assert [e.name for e in html.children if isinstance(e, Element)] == ["head", "body"]
    assert len(html.all("title")) == len(html.all("h1")) == len(html.all("main")) == 1


def test_the_page_fetches_and_runs_nothing(tree: Tree, bound: BoundPolicy) -> None:
    names = {e.name for e in tree.root.all("html")[0].all("body")[0].children if isinstance(e, Element)}
    assert names == {"a", "header", "main"}
    for name in ("script", "link", "img", "iframe", "object", "form", "base"):
        assert tree.root.all(name) == []
    [style] = tree.root.all("style")
    assert not re.search(r"url\(|@import|expression|javascript", style.text)
    every = [e for name in ("a", "abbr", "div", "span", "td", "th", "meta", "table") for e in tree.root.all(name)]
    for element in every:
        assert not {key for key in element.attributes if key.startswith("on") or key in ("src", "style", "srcset")}
        assert (element.attributes.get("href") or "#").startswith("#")
    policy = next(m for m in tree.root.all("meta") if m.attributes.get("http-equiv"))
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_every_link_leads_to_an_id_and_no_id_stands_twice(tree: Tree) -> None:
    elements = [e for name in ("h2", "h3", "section", "div", "article") for e in tree.root.all(name)]
    ids = [e.attributes["id"] for e in elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    targets = {a.attributes["href"] for a in tree.root.all("a")}
    assert targets <= {f"#{name}" for name in ids}
    labelled = {e.attributes["aria-labelledby"] for e in elements if "aria-labelledby" in e.attributes}
    assert labelled <= set(ids)


def test_tables_have_captions_and_headers_for_every_cell(tree: Tree) -> None:
    tables = tree.root.all("table")
    assert len(tables) >= 6
    for table in tables:
        assert len(table.all("caption")) == 1
        columns = table.all("thead")[0].all("th")
        assert all(header.attributes["scope"] == "col" for header in columns)
        for row in table.all("tbody")[0].all("tr"):
            [header] = row.all("th")
            assert header.attributes["scope"] == "row"
            assert len(row.all("td")) == len(columns) - 1


def test_the_tables_show_what_the_lattice_says(tree: Tree, bound: BoundPolicy) -> None:
    """Each cell is read back from the page; a purpose without a column has none of its model's cells."""
    cells, found = lattice(bound), 0
    for table in tree.root.all("table"):
        model = table.all("caption")[0].text
        if model not in bound.catalogue.models:
            continue
        columns = [th.all("a")[0].attributes["href"] for th in table.all("thead")[0].all("th")[1:]]
        purposes = [str(href).removeprefix("#purpose-") for href in columns]
        for row in table.all("tbody")[0].all("tr")[:-1]:
            name = row.all("th")[0].text.split()[0]
            for purpose, cell in zip(purposes, row.all("td"), strict=True):
                rights = {abbr.text for abbr in cell.all("abbr")}
                words = [w for w in cell.text.split() if w not in ("s", "w", "·nothing")]
                read = cells[purpose, model, name, "read"]
                assert words == ([] if read == "denied" else [read.removeprefix("masked:")])
                assert ("s" in rights) == (cells[purpose, model, name, "search"] == "allowed")
                assert ("w" in rights) == (cells[purpose, model, name, "write"] == "allowed")
                found += 1
        for purpose in set(bound.purposes) - set(purposes):
            assert {v for key, v in cells.items() if key[:2] == (purpose, model)} == {"denied"}
    rows = row_cells(bound)
    assert found == sum(len(m.fields) * rows[p, m.name, "read"] for p in bound.purposes for m in bound.catalogue) > 150


def test_each_purpose_has_its_conditions_and_its_digest(tree: Tree, bound: BoundPolicy) -> None:
    sheets = {a.all("h3")[0].text: a for a in tree.root.all("article")}
    assert set(sheets) == set(bound.purposes)
    for name, sheet in sheets.items():
        assert bound.digest(name) in sheet.text
        assert bound.purposes[name].description in sheet.text
    outreach = sheets["sales.outreach"].text
    for words in ("crm", "consent matchmaking", "1 per day by subject", "sales_card; rows: claimed_by_actor"):
        assert words in outreach


def test_whatever_a_policys_texts_hold_stays_text(bound: BoundPolicy) -> None:
    evil = "</p><script>alert(1)</script><img src=x onerror=alert(2)>\"'&lt;\x00\ud800\u202e--><!--"
    rules = bound.rules
    rules = replace(
        rules,
        purposes={n: replace(p, description=evil, dpv=evil) for n, p in rules.purposes.items()},
        never=tuple(replace(rule, because=evil, place=evil) for rule in rules.never),
        categories={n: replace(c, description=evil) for n, c in rules.categories.items()},
        services={n: replace(s, description=evil) for n, s in rules.services.items()},
        folder=Path("<b>policies"),
        timezone=evil,
    )
    made = page(BoundPolicy(rules, bound.catalogue))
    tree = Tree(made)
    assert tree.root.all("script") == tree.root.all("img") == tree.root.all("b") == []
    assert "<script>alert(1)" in tree.root.all("main")[0].text
    made.encode("utf-8")
    assert "\x00" not in made


def test_the_page_is_the_same_each_time(bound: BoundPolicy) -> None:
    assert page(bound) == page(Policy.load(SHIPPED_POLICY).bind(catalogue_of(Base)))


def test_the_page_can_be_narrowed(bound: BoundPolicy) -> None:
    tree = Tree(page(bound, ["sales.pool"], "Member"))
    assert [a.all("h3")[0].text for a in tree.root.all("article")] == ["sales.pool"]
    assert {t.all("caption")[0].text for t in tree.root.all("table")} & set(bound.catalogue.models) == {"Member"}
    assert Tree(page(bound, ["audit.review"], "Member")).root.all("main")[0].text.count("No rows for audit.review") == 1


def test_markup_escapes_what_is_not_markup() -> None:
    assert tag("p", "<b>", tag("i", "&"), class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<i>&amp;</i></p>'
    assert join(["<", Markup("<br>"), ">"], "&") == "&lt;&amp;<br>&amp;&gt;"
    assert text("a\x07b\ud800") == "a\N{REPLACEMENT CHARACTER}b?"
    assert tag("br") == "<br>"
    assert tag("td", class_=None, aria_label="x") == '<td aria-label="x"></td>'


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_writes_the_page(run: Run, made: Path, tmp_path: Path) -> None:
    file = tmp_path / "matrix.html"
    result = run("policy", "matrix", "--dir", made, "--html", file)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{file}: written\n", "")
    content = file.read_text("utf-8")
    Tree(content)
    assert run("policy", "matrix", "--dir", made, "--html", "-").stdout == content


def test_a_page_that_can_not_be_written_is_one_line(run: Run, made: Path, tmp_path: Path) -> None:
    result = run("policy", "matrix", "--dir", made, "--html", tmp_path / "no" / "matrix.html")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {tmp_path}/no/matrix.html: No such file or directory\n"
    assert run("policy", "matrix", "--dir", made, "--html", "x.html", "--json").exit_code == 2

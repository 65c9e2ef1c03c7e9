"""How facts are held against each other, how bad a gap is, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from vaultstore.planes import Change
from vaultstore.planes.postgres_facts import Fact
from vaultstore.planes.postgres_gaps import Gap, explained, foreign_code, gaps
from vaultstore.planes.postgres_words import changes_of, differences_of


def _lines(live: Iterable[Fact], expected: Iterable[Fact]) -> list[str]:
    return [str(difference) for difference in differences_of(explained(gaps(live, expected)))]


def _grant(right: str, column: str = "", who: str = "r", kind: str = "grant") -> Fact:
    return Fact(kind, "public.t", column, who, right)


def test_equal_facts_have_no_gap() -> None:
    facts = [_grant("SELECT", "a"), Fact("owner", "public.t", "", "", "o")]
    assert gaps(facts, facts) == []
    assert _lines(facts, facts) == []


def test_another_value_is_one_gap_and_another_right_is_two() -> None:
    assert gaps([Fact("owner", "t", "", "", "a")], [Fact("owner", "t", "", "", "b")]) == [
        Gap("owner", "t", "", "", expected="b", found="a")
    ]
    assert gaps([_grant("SELECT")], [_grant("UPDATE")]) == [
        Gap("grant", "public.t", "", "r", expected=None, found="SELECT"),
        Gap("grant", "public.t", "", "r", expected="UPDATE", found=None),
    ]


POLICY, TICKET = "PERMISSIVE FOR SELECT TO r USING (true)", "RESTRICTIVE FOR ALL TO r USING (false)"


@pytest.mark.parametrize(
    ("kind", "expected", "found", "verdict"),
    [
        ("grant", None, "SELECT", "too open"),
        ("grant", "SELECT", None, "too closed"),
        ("row security", "on", "off", "too open"),
        ("row security", "off", "on", "too closed"),
        ("forced row security", "on", "off", "too open"),
        ("policy", None, POLICY, "too open"),
        ("policy", POLICY, None, "too closed"),
        ("policy", None, TICKET, "too closed"),
        ("policy", TICKET, None, "too open"),
        ("policy", POLICY, POLICY + " OR true", "different"),
        ("role", "LOGIN NOINHERIT", "SUPERUSER LOGIN NOINHERIT", "too open"),
        ("role", "LOGIN NOINHERIT", "NOLOGIN NOINHERIT", "too closed"),
        ("role", "NOLOGIN NOINHERIT", "LOGIN INHERIT", "too open"),
        ("role", "LOGIN NOINHERIT", None, "too closed"),
        ("role", None, "LOGIN INHERIT", "too open"),
        ("membership", "member", "member ADMIN", "too open"),
        ("membership", "member", None, "too closed"),
        ("trigger", "always CREATE TRIGGER x", "disabled CREATE TRIGGER x", "too open"),
        ("trigger", "always CREATE TRIGGER x", None, "too open"),
        ("trigger", "always CREATE TRIGGER x", "always CREATE TRIGGER y", "different"),
        ("trigger", None, "enabled CREATE TRIGGER x", "too open"),
        ("check", "CHECK (a)", None, "too open"),
        ("check", "CHECK (a)", "CHECK (b)", "different"),
        ("column", None, "text", "different"),
        ("relation", "table", None, "too closed"),
        ("view", None, "owner o", "too open"),
        ("function", "definer", "invoker", "different"),
    ],
)
def test_a_gap_says_which_way_it_goes(kind: str, expected: str | None, found: str | None, verdict: str) -> None:
    assert Gap(kind, "t", "p", "r", expected, found).verdict == verdict


def test_rights_of_one_role_on_one_table_share_a_line() -> None:
    live = [_grant("SELECT", "a"), _grant("SELECT", "b"), _grant("DELETE"), _grant("GRANT OPTION FOR SELECT", "a")]
    thing = "grant DELETE, SELECT (a, b), SELECT (a) WITH GRANT OPTION on public.t to r"
    assert _lines(live, []) == [f"{thing} is too open: expected none, found granted"]


def test_a_long_list_of_columns_is_cut_and_counted() -> None:
    live = [_grant("SELECT", f"c{n:02}") for n in range(20)]
    thing = "grant SELECT (c00, c01, c02, c03, c04, c05, c06, c07 and 12 more) on public.t to r"
    assert _lines(live, []) == [f"{thing} is too open: expected none, found granted"]


def test_what_a_grant_leads_to_is_not_said_again() -> None:
    effects = [_grant("SELECT", column, kind="effective") for column in "abc"]
    assert len(_lines([_grant("SELECT"), *effects], [])) == 1
    assert len(_lines([_grant("SELECT", who="PUBLIC"), *effects], [])) == 1
    through_a_group = "SELECT (a, b, c) on public.t by r is too open: expected out of reach, found within reach"
    assert _lines(effects, []) == [through_a_group]
    assert _lines([_grant("UPDATE"), *effects], [])[0] == through_a_group


def test_a_missing_table_or_function_is_said_once() -> None:
    table = [
        Fact("relation", "t", "", "", "table"),
        Fact("owner", "t", "", "", "o"),
        Fact("column", "t", "a", "", "text"),
    ]
    function = [Fact("function", "f()", part, "", "x") for part in ("owner", "body")]
    function.append(Fact("function grant", "f()", "", "r", "EXECUTE"))
    assert _lines([], table) == ["t is too closed: expected table, found none"]
    assert _lines([], function) == ["function f() is too closed: expected as this version makes it, found none"]


def test_changes_are_grouped_and_roles_come_first() -> None:
    expected = [
        Fact("policy", "public.t", "one", "", POLICY),
        Fact("policy", "public.t", "two", "", POLICY),
        Fact("function grant", "public.f(text)", "", "r", "EXECUTE"),
        Fact("function grant", "public.g()", "", "r", "EXECUTE"),
        _grant("SELECT", "a"),
        _grant("SELECT", "a", kind="effective"),
        Fact("schema grant", "public", "", "r", "USAGE"),
        Fact("owner", "public.t", "", "", "o"),
        Fact("row security", "public.t", "", "", "on"),
        Fact("membership", "g", "", "r", "member"),
        Fact("role", "r", "", "", "LOGIN NOINHERIT"),
    ]
    live = [
        Fact("owner", "public.t", "", "", "postgres"),
        Fact("row security", "public.t", "", "", "off"),
        Fact("role", "old", "", "", "LOGIN"),
    ]
    assert changes_of(gaps(live, expected)) == [
        Change("create", "role r", "LOGIN NOINHERIT"),
        Change("remove", "role old", "LOGIN"),
        Change("create", "membership of r", "g"),
        Change("change", "owner o", "public.t"),
        Change("create", "grant USAGE on schema public", "r"),
        Change("change", "row security on", "public.t"),
        Change("create", "policies on public.t", "one, two"),
        Change("create", "grant EXECUTE to r", "f(), g()"),
        Change("create", "grant SELECT (a) on public.t to r"),
    ]


@pytest.mark.parametrize(
    ("gap", "runs"),
    [
        (Gap("trigger", "t", "x", "", None, "enabled CREATE TRIGGER x"), True),
        (Gap("trigger", "t", "x", "", "always CREATE TRIGGER x", "disabled CREATE TRIGGER x"), False),
        (Gap("trigger", "t", "x", "", "always CREATE TRIGGER x", None), False),
        (Gap("rule", "t", "x", "", None, "CREATE RULE x"), True),
        (Gap("relation", "t", "", "", "table", "view"), True),
        (Gap("function", "s.f()", "body", "", "a", "b"), True),
        (Gap("function", "s.f()", "owner", "", "a", "b"), False),
        (Gap("function", "s.spare()", "body", "", None, "b"), False),
        (Gap("view", "s.scope", "", "", "owner a", "owner b"), True),
        (Gap("view", "s.other", "", "", None, "owner b"), False),
        (Gap("policy", "t", "p", "", None, "PERMISSIVE USING (s.f() = a)"), False),
        (Gap("policy", "t", "p", "", None, "PERMISSIVE USING (s.g() = a)"), True),
        (Gap("policy", "t", "p", "", "PERMISSIVE USING (s.f() = a)", None), False),
        (Gap("grant", "t", "", "r", None, "SELECT"), False),
    ],
)
def test_code_of_others_is_told_from_what_only_opens(gap: Gap, runs: bool) -> None:
    assert (foreign_code([gap], {"s.f"}) == [gap]) is runs

"""`check` runs the policy's own tests, compares the lock, and remarks on what deserves a second look."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultstore.policy import Lock, Policy, check, write_lock

from .catalogue import members, with_mask
from .samples import SMALL, changed


def test_a_failing_test_shows_expected_actual_and_why() -> None:
    report = check(Policy.parse(changed('"masked:sales_card"', "denied")), members())
    [error] = report.errors
    assert not report.ok
    assert str(error) == (
        "policy.yaml:52:5: test failed: sales.outreach gets Member.phone: expected denied, is masked:sales_card "
        "(sales.outreach reads sales_card, a mask of contact, policy.yaml:23:29)"
    )


def test_a_failing_test_of_a_search_or_a_write_shows_what_is_allowed() -> None:
    report = check(Policy.parse(changed("expect: allowed", "expect: denied")), members())
    assert [e.reason for e in report.errors] == [
        (
            "test failed: registration writes Member.phone: expected denied, is allowed "
            "(registration may write contact of Member, policy.yaml:45:13)"
        )
    ]
    report = check(Policy.parse(changed("verb: write", "verb: search")), members())
    assert [e.reason for e in report.errors] == [
        (
            "test failed: registration searches Member.phone: expected allowed, is denied "
            "(registration may search nothing of Member, policy.yaml:40:3)"
        )
    ]


def test_every_failing_test_is_reported() -> None:
    text = changed('"masked:sales_card"', "clear", changed('"masked:care_card"', "denied"))
    assert len(check(Policy.parse(text), members()).errors) == 2


def test_every_binding_error_is_reported_in_the_order_of_the_lines() -> None:
    text = changed("search: {Member: [phone]}", "search: {Member: [wechat, house]}")
    text = changed("rows: claimed_by_actor", "rows: nobody", text)
    report = check(Policy.parse(text), members())
    assert [e.line for e in report.errors] == [23, 36, 36]
    assert report.bound is None


WARNED = {
    "17:3: sales.outreach has no description": (
        "    description: call members\n",
        "",
    ),
    "20:5: sales.outreach rests on consent, but `requires` names none: the gate will not look for it": (
        "{consent: matchmaking}",
        "{}",
    ),
    "37:5: care.complaint requires approvals, but no purpose approves it: nobody will ever get in": (
        "approvals: 0",
        "approvals: 2",
    ),
    "24:5: sales.outreach sees restricted members without a case, approvals or named subjects": (
        "{consent: matchmaking}",
        "{consent: matchmaking, sees_restricted: true}",
    ),
    "36:5: care.complaint searches without a limit: a list of guesses is a dump": (
        ", search: [{max: 9, per: day, by: purpose}]",
        "",
    ),
    "38:56: care.complaint limits search, which it may not do at all": (
        "search: {Member: [phone]}",
        "search: {}",
    ),
    "17:3: no test speaks of sales.outrage": (
        "  sales.outreach:\n",
        "  sales.outrage: {roles: [registrar]}\n  sales.outreach:\n",
    ),
    "3:47: no purpose is open to the role visitor": (
        "cares, registrar",
        "cares, visitor: looks, registrar",
    ),
    "11:3: no field uses the category gold_card": (
        "pool_card: {",
        "gold_card: {projection: true}\n  pool_card: {",
    ),
    "45:39: registration reads conversation, which is sensitive, without a limit on disclose": (
        "    write: {Member: [contact]}",
        "    read: {ChatMessage: {categories: [conversation]}}",
    ),
}


@pytest.mark.parametrize("expected", WARNED)
def test_what_deserves_a_second_look_is_remarked(expected: str) -> None:
    old, new = WARNED[expected]
    warnings = [str(w) for w in check(Policy.parse(changed(old, new)), members()).warnings]
    assert f"policy.yaml:{expected}" in warnings


def told(text: str) -> list[str]:
    """The remarks, but for those about categories that the sample leaves unread."""
    warnings = check(Policy.parse(text), members()).warnings
    return [warning.reason for warning in warnings if not warning.reason.startswith("no purpose reads")]


def test_the_sample_gives_no_remark_but_for_what_it_does_not_read() -> None:
    assert told(SMALL) == []
    unread = [str(warning) for warning in check(Policy.parse(SMALL), members()).warnings]
    assert unread == [
        "policy.yaml:8:3: no purpose reads preference, in clear or as a card, or searches it: is it kept for nobody?",
        "policy.yaml:9:3: no purpose reads conversation, in clear or as a card, or searches it: is it kept for nobody?",
        "policy.yaml:10:3: no purpose reads browsing, in clear or as a card, or searches it: is it kept for nobody?",
        "policy.yaml:11:3: no purpose reads pool_card: its masks are made for nobody",
        "policy.yaml:14:3: no purpose reads match_card: its masks are made for nobody",
        "policy.yaml:15:3: no purpose reads chat_flags: its masks are made for nobody",
    ]


def test_a_rule_for_a_role_that_nobody_declares_or_has_is_remarked() -> None:
    text = changed("roles: {matchmaker: sells, care_agent: cares, registrar: signs people up}\n", "")
    text = changed("roles: [matchmaker]\n    categories", "roles: [matchmakr]\n    categories", text)
    assert told(text) == ["no purpose is open to matchmakr, so the rule bars nobody of that name: is it spelled right?"]


def test_a_lock_that_still_holds_says_nothing(tmp_path: Path) -> None:
    write_lock(members(), tmp_path / "fields.lock")
    assert check(Policy.parse(SMALL), members(), tmp_path / "fields.lock").ok
    assert Policy.parse(SMALL).check(members(), Lock.of(members())).ok


def test_a_changed_mask_is_an_error_until_it_is_locked_anew(tmp_path: Path) -> None:
    path = tmp_path / "fields.lock"
    write_lock(members(), path)
    shows_more = with_mask(members(), "Member", "phone", "sales_card", "keep(first=3,last=4)")
    [error] = check(Policy.parse(SMALL), shows_more, path).errors
    line = path.read_text("utf-8").split("\n").index("Member.phone") + 1
    assert str(error) == (
        f"{path}:{line}:1: Member.phone: locked mask sales_card keep(first=0,last=4); the models have "
        "mask sales_card keep(first=3,last=4): review what people see, then run `vaultstore policy lock`"
    )
    write_lock(shows_more, path)
    assert check(Policy.parse(SMALL), shows_more, path).ok


def test_a_missing_lock_is_an_error(tmp_path: Path) -> None:
    [error] = check(Policy.parse(SMALL), members(), tmp_path / "fields.lock").errors
    assert error.reason == "no such lock: run `vaultstore policy lock`"


def test_the_tests_run_even_where_the_lock_differs(tmp_path: Path) -> None:
    policy = Policy.parse(changed('"masked:sales_card"', "denied"))
    report = check(policy, members(), Lock({}, {}))
    assert sum("test failed" in e.reason for e in report.errors) == 1
    assert report.bound is not None

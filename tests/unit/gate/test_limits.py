"""Limits: distinct new subjects, counted exactly, whatever the order and however many ask at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.unit.gate.world import World
from vaultstore.errors import BudgetExhausted, SearchDenied
from vaultstore.gate.closure import window_start
from vaultstore.policy.model import Limit


def test_a_nearly_spent_limit_admits_in_the_order_asked(world: World) -> None:
    members, opened = world.members(5, "profile"), world.open("few")
    asked = [members[i] for i in (4, 0, 3, 1, 2)]
    answer = world.disclose(opened, asked, "profile")
    assert [ref[1] for ref in answer.keys] == asked[:3]
    assert {s: type(e) for s, e in answer.refused.items()} == dict.fromkeys(asked[3:], BudgetExhausted)
    assert world.last().outcomes() == dict.fromkeys(asked[:3], "disclosed") | dict.fromkeys(
        asked[3:], "budget.exhausted"
    )
    assert world.used("few") == [3]


def test_a_subject_charged_in_the_window_is_free(world: World) -> None:
    members, opened = world.members(4, "profile"), world.open("few")
    world.disclose(opened, members[:3], "profile")
    answer = world.disclose(opened, [members[3], *members[:3]], "profile")
    assert set(answer.refused) == {members[3]}
    assert [ref[1] for ref in answer.keys] == members[:3]
    assert world.used("few") == [3]


def test_each_actor_has_a_window_of_their_own_across_tokens(world: World) -> None:
    members = world.members(6, "profile")
    assert not world.disclose(world.open("few", "ann"), members[:3], "profile").refused
    assert world.disclose(world.open("few", "ann"), members[3:4], "profile").refused
    assert not world.disclose(world.open("few", "bob"), members[3:6], "profile").refused
    assert world.used("few") == [3, 3]


def test_a_purpose_has_one_window_for_all_its_actors(world: World) -> None:
    members = world.members(4, "profile")
    assert not world.disclose(world.open("daily", "ann"), members[:2], "profile").refused
    assert set(world.disclose(world.open("daily", "bob"), members[1:], "profile").refused) == {members[3]}
    assert world.used("daily") == [3]


def test_what_is_refused_for_another_reason_is_not_charged(world: World) -> None:
    members = world.members(4, "profile")
    world.subjects.restrict(members[0], reason="silent")
    answer = world.disclose(world.open("few"), members, "profile")
    assert {s: e.reason for s, e in answer.refused.items()} == {members[0]: "subject.restricted"}
    assert world.used("few") == [3]


def test_several_limits_hold_at_once_and_a_subject_one_refuses_is_charged_to_none(world: World) -> None:
    members = world.members(6, "profile")
    answer = world.disclose(world.open("both", "ann"), members[:3], "profile")  # 2 an hour by actor
    assert set(answer.refused) == {members[2]}
    assert world.used("both") == [2, 2]
    answer = world.disclose(world.open("both", "bob"), [members[4], members[0], members[5]], "profile")
    # One new one fits the purpose's 3; members[0] is free there, and ann's window is not bob's.
    assert set(answer.refused) == {members[5]}
    assert world.used("both") == [2, 2, 3]


def test_a_sliding_window_lets_go_of_what_is_older(world: World) -> None:
    members, opened = world.members(4, "profile"), world.open("few", ttl=timedelta(hours=3))
    world.disclose(opened, members[:2], "profile")
    world.later(timedelta(minutes=40))
    world.disclose(opened, members[2:3], "profile")
    assert world.disclose(opened, members[3:], "profile").refused
    world.later(timedelta(minutes=21))
    assert not world.disclose(opened, members[3:], "profile").refused
    assert world.used("few") == [2]


def test_a_charge_lasts_from_when_it_was_made(world: World) -> None:
    members, opened = world.members(1, "profile"), world.open("few", ttl=timedelta(hours=3))
    for _ in range(3):
        world.disclose(opened, members, "profile")
        world.later(timedelta(minutes=25))
    assert world.used("few") == [1]
    world.disclose(opened, members, "profile")  # 75 minutes on: charged anew
    assert world.used("few") == [1]
    assert world.rows("vs_charges") == 1


def test_a_day_begins_at_midnight_in_the_policys_time_zone(world: World) -> None:
    members = world.members(4, "profile")
    world.disclose(world.open("daily"), members[:3], "profile")
    assert world.disclose(world.open("daily"), members[3:], "profile").refused
    now = datetime.now(UTC)
    midnight, _ = window_start(Limit(3, "day", "purpose"), now, ZoneInfo("Asia/Shanghai"))
    # The gate's clock goes on to the next midnight; where it is the database's, the charges go back past the last one.
    to_midnight = timedelta(days=1) - (now - midnight) if world.dialect == "sqlite" else now - midnight
    world.later(to_midnight + timedelta(seconds=30))
    assert not world.disclose(world.open("daily"), members[3:], "profile").refused
    assert world.used("daily") == [1]


def test_a_raised_limit_keeps_what_was_used(world: World) -> None:
    members = world.members(5, "profile")
    world.disclose(world.open("few"), members[:3], "profile")
    few = world.policy.purposes["few"]
    world.policy.purposes["few"] = replace(few, limits={"disclose": (Limit(4, "1h", "actor"),)})
    world.ledger.publish(world.policy)
    answer = world.disclose(world.open("few"), members[3:], "profile")
    assert set(answer.refused) == {members[4]}


def test_sixteen_threads_spend_a_limit_exactly(world: World) -> None:
    members = world.members(160, "profile")
    barrier = threading.Barrier(16)

    def ask(at: int) -> int:
        opened = world.open("many", f"actor-{at}")
        barrier.wait()
        # Overlapping slices, so that threads compete for room and for the same subjects.
        return sum(
            len(world.disclose(opened, [members[(at * 10 + i + k) % 160] for i in range(7)], "profile").keys)
            for k in (0, 5)
        )

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    assert world.used("many") == [100]
    disclosed = {s for entry in world.entries("disclose") for s, o in entry.outcomes().items() if o == "disclosed"}
    assert len(disclosed) == 100


# ------------------------------------------------------------------------------------------------------- needles


def test_a_search_counts_its_needles_and_is_refused_whole(world: World) -> None:
    opened = world.open("lookup")
    assert len(world.gate.search(opened, "Member", "phone", [b"a", b"b", b"c"]).digests) == 3
    with pytest.raises(BudgetExhausted) as caught:
        world.gate.search(opened, "Member", "phone", [b"d", b"e"])
    assert caught.value.reason == "budget.exhausted"
    assert world.keys.verbs() == [("hmac", "members.phone", 3)]
    assert len(world.gate.search(opened, "Member", "phone", [b"d"]).digests) == 1
    assert world.used("lookup", "search") == [4]
    assert [e.content["outcome"] for e in world.entries("search")] == [
        "searched",
        "refused:budget.exhausted",
        "searched",
    ]


def test_the_same_needle_counts_again(world: World) -> None:
    opened = world.open("lookup")
    for _ in range(4):
        world.gate.search(opened, "Member", "phone", [b"a"])
    with pytest.raises(BudgetExhausted):
        world.gate.search(opened, "Member", "phone", [b"a"])
    world.later(timedelta(hours=1, seconds=1))
    world.gate.search(world.open("lookup"), "Member", "phone", [b"a"])
    assert world.used("lookup", "search") == [1]


def test_a_search_that_is_not_granted_costs_nothing(world: World) -> None:
    with pytest.raises(SearchDenied):
        world.gate.search(world.open("lookup"), "Member", "email", [b"a"])
    assert world.used("lookup", "search") == []


def test_sixteen_threads_spend_a_search_limit_exactly(world: World) -> None:
    barrier = threading.Barrier(16)

    def ask(at: int) -> bool:
        opened = world.open("lookup")
        barrier.wait()
        try:
            world.gate.search(opened, "Member", "phone", [b"a"])
        except BudgetExhausted:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 4
    assert world.used("lookup", "search") == [4]

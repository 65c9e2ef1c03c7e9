"""Whose disclosures explain a leak, and when none do: on simulated leaks, and on small ones made by hand."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

import pytest

from benchmarks.tracing import Town, measure
from vaultstore.evidence.mixture import Part, fit, patterns
from vaultstore.evidence.ranking import Ranking, Seen, rank

DICE = random.Random(7)
MEMBERS = [DICE.randbytes(16) for _ in range(4000)]


def ranked(leaked: Collection[bytes], seen: Mapping[str, Collection[bytes]], *stores: Collection[bytes]) -> Ranking:
    held = {name: Seen.of(subjects, leaked) for name, subjects in seen.items()}
    groups = {f"store {at}": Seen.of(members, leaked) for at, members in enumerate(stores)}
    return rank(leaked, held, len(MEMBERS), groups=groups)


def test_who_saw_all_of_the_leak_and_little_else_comes_first() -> None:
    found = ranked(MEMBERS[:50], {"few": MEMBERS[:100], "many": MEMBERS[:2000], "none": MEMBERS[3000:]})
    assert (found.verdict, found.explanation, found.suspects[0].actor) == ("explained", ("few",), "few")
    assert [one.actor for one in found.suspects] == ["few", "many"]
    assert (found.suspects[0].hits, found.suspects[0].saw, found.suspects[0].coverage) == (50, 100, 1.0)
    assert found.suspects[0].by_chance == pytest.approx(50 * 100 / 4000)
    assert (found.never, found.unexplained) == (0, 0)


def test_two_who_saw_the_same_are_said_to_be_alike() -> None:
    found = ranked(MEMBERS[:50], {"one": MEMBERS[:100], "other": MEMBERS[:100], "third": MEMBERS[50:150]})
    assert found.verdict == "alike"
    top = found.suspects[0]
    assert {top.actor, *top.alike} == {"one", "other"}


def test_two_insiders_are_both_named_with_their_parts() -> None:
    leaked = [*MEMBERS[:60], *MEMBERS[1000:1030]]
    found = ranked(leaked, {"a": MEMBERS[:150], "b": MEMBERS[1000:1100], "c": MEMBERS[500:700]})
    assert (found.verdict, found.explanation) == ("explained", ("a", "b"))
    assert [round(one.share, 1) for one in found.suspects[:2]] == [0.7, 0.3]


def test_what_nobody_saw_is_said_to_come_from_elsewhere() -> None:
    found = ranked(MEMBERS[3000:3100], {"a": MEMBERS[:500], "b": MEMBERS[400:900]})
    assert (found.verdict, found.explanation, found.suspects, found.never) == ("elsewhere", (), (), 100)


def test_a_sample_of_everybody_is_said_to_come_from_elsewhere() -> None:
    leaked = random.Random(1).sample(MEMBERS, 300)
    found = ranked(leaked, {"a": MEMBERS[:500], "b": MEMBERS[400:900]})
    assert (found.verdict, found.explanation) == ("elsewhere", ())
    assert len(found.suspects) == 2


def test_a_sample_of_a_store_is_not_put_down_to_who_saw_most_of_it() -> None:
    store = MEMBERS[:1000]
    found = ranked(random.Random(2).sample(store, 300), {"a": store[:800], "b": store[300:]}, store)
    assert (found.verdict, found.explanation, found.groups) == ("group", (), ("store 0",))


def test_a_store_of_which_one_actor_saw_all_is_no_better_story_than_that_actor() -> None:
    leaked = frozenset(random.Random(3).sample(MEMBERS[:200], 60))
    seen = {"a": Seen.of(MEMBERS[:200], leaked, "s"), "b": Seen.of(MEMBERS[:20], leaked, "s")}
    found = rank(leaked, seen, len(MEMBERS), groups={"s": Seen.of(MEMBERS[:200], leaked)})
    assert (found.verdict, found.explanation) == ("explained", ("a",))


def test_a_handful_is_too_few_to_tell() -> None:
    found = ranked(MEMBERS[:5], {"a": MEMBERS[:100], "b": MEMBERS[200:300]})
    assert (found.verdict, found.explanation, found.suspects[0].actor) == ("few", (), "a")


def test_an_empty_leak_and_an_empty_log_are_answered() -> None:
    assert ranked([], {"a": MEMBERS[:100]}).verdict == "few"
    assert ranked(MEMBERS[:50], {}).verdict == "elsewhere"


def test_the_order_of_actors_does_not_matter() -> None:
    seen = {"a": MEMBERS[:150], "b": MEMBERS[100:260], "c": MEMBERS[50:200]}
    leaked = MEMBERS[:90]
    assert ranked(leaked, seen) == ranked(leaked, dict(reversed(seen.items())))


def test_members_are_parted_by_who_held_them() -> None:
    parts = patterns([0b0011, 0b0110], 4)
    assert sorted(parts) == [Part(1, ()), Part(1, (0,)), Part(1, (0, 1)), Part(1, (1,))]
    assert patterns([], 3) == [Part(3, ())]


def test_a_source_that_holds_everybody_is_worth_nothing() -> None:
    likelihood, weights = fit([Part(100, (0,))], [1000], 1000, 0.1)
    assert likelihood == pytest.approx(0, abs=0.1)
    assert len(weights) == 1


SMALL = {"stores": 6, "actors": 8, "members": 1000, "least": 300, "most": 900}


@pytest.mark.parametrize("seed", [1, 2])
def test_of_simulated_leaks_the_culprit_ranks_first_and_strangers_leaks_are_told(seed: int) -> None:
    figures = measure(Town(seed, **SMALL), 10)
    assert figures.first >= 9
    assert figures.elsewhere >= 9
    assert figures.twins == 1


@pytest.mark.soak
def test_of_a_hundred_leaks_of_each_kind_ninety_five_are_told_right() -> None:
    figures = measure(Town(2022), 100)
    assert figures.first >= 95
    assert figures.elsewhere >= 95
    assert figures.twins == 10

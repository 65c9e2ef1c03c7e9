"""Chat safety and the real-name check on both profiles; exact counts under threads."""

from __future__ import annotations

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.chat_scene import ID, NAME, SECRET, VERIFIER, Scene, register
from tests.support.profiles import Profile
from vaultstore import Actor
from vaultstore.errors import AccessDenied, BudgetExhausted
from vaultstore.members.verification import Verification
from vaultstore.members.verification_limits import VerificationLimits, Window

pytestmark = pytest.mark.integration


def test_of_many_attempts_at_the_same_time_exactly_so_many_are_let_through(profile: Profile) -> None:
    store = profile.store
    [who] = register(store, 1, id_number=ID, name=NAME)
    limits = VerificationLimits(member=(Window(4, 1),), actor=(Window(1000, 1),), number=(Window(1000, 1),))
    check = Verification(store, secret=SECRET, limits=limits)
    tokens = [store.issue(Actor(f"v-{n}", role="verifier"), "identity.verification") for n in range(4)]

    def attempt(n: int) -> str:
        try:
            return check.check(tokens[n % 4], who, ID, NAME if n % 2 else "张伟").text
        except BudgetExhausted:
            return "exhausted"

    with ThreadPoolExecutor(8) as pool:
        told = Counter(pool.map(attempt, range(16)))
    assert told["exhausted"] == 12
    assert told["confirmed"] + told["not confirmed"] == 4


def test_a_mismatch_is_one_search_and_a_match_leaves_a_badge(profile: Profile) -> None:
    store = profile.store
    [who] = register(store, 1, id_number=ID, name=NAME)
    check = Verification(store, secret=SECRET)
    token = store.issue(VERIFIER, "identity.verification")
    assert not check.check(token, who, ID, "张伟").matched
    assert not check.check(token, uuid.uuid4(), ID, NAME).matched
    answer = check.check(token, who, ID, NAME)
    assert answer.matched and answer.badge == check.badge(token, who)


def test_flags_warn_and_block_without_a_word_of_the_text(profile: Profile) -> None:
    scene = Scene.of(profile.store)
    [found] = scene.safety.triage(scene.triage).conversations
    assert found.flags == {"contact": 1, "money": 1}
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: scene.safety.warn(scene.triage, found.conversation), range(4)))
    assert [number for number in made if number] == [1]
    scene.safety.block(scene.triage, found.suspect, reason="scam")
    with pytest.raises(AccessDenied, match="blocked"):
        scene.write(scene.scammer, scene.victim, scene.scam, "你好")
    assert len(scene.safety.warnings(scene.token(Actor(str(scene.victim), role="member"), "member.inbox"))) == 1

"""Chat safety on an embedded store: what the team sees, what it can do, and what it can't."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.chat_scene import SECRET, Scene, analyst
from tests.support.profiles import COURIER
from vaultstore import Actor, Store
from vaultstore.errors import AccessDenied, ApprovalMissing, SettingsError, UnsupportedOperation
from vaultstore.members import ChatMessage, Member
from vaultstore.members.models import MemberBlock, SafetyWarning
from vaultstore.members.pseudonyms import Pseudonyms
from vaultstore.members.safety import Safety
from vaultstore.members.safety_rules import WarningPlan


@pytest.fixture
def scene(store: Store) -> Scene:
    return Scene.of(store, WarningPlan(first_after=1, again_after=2, again_in=timedelta(days=3)))


def refused(reason: str, act: Callable[[], object]) -> None:
    with pytest.raises(AccessDenied) as error:
        act()
    assert error.value.reason == reason


def texts_of(value: object) -> str:
    if is_dataclass(value):
        return " ".join(texts_of(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, dict | tuple | list):
        return " ".join(map(texts_of, [*value, *(value.values() if isinstance(value, dict) else ())]))
    return str(value)


# ------------------------------------------------------------------------------------------------------- triage


def test_triage_shows_flags_counts_and_pseudonyms(scene: Scene) -> None:
    page = scene.safety.triage(scene.triage)
    [found] = page.conversations
    assert (found.messages, found.alarms, page.looked_at, page.withheld) == (4, 2, 2, 0)
    assert found.flags == {"contact": 1, "money": 1}
    assert not found.blocked and found.warnings == 0


def test_triage_shows_no_text_and_no_id(scene: Scene) -> None:
    shown = texts_of(scene.safety.triage(scene.triage))
    for secret in (scene.scammer, scene.victim, scene.scam):
        assert str(secret) not in shown and secret.hex not in shown
    assert "转账" not in shown and "abc123" not in shown


def test_pages_cover_every_conversation_once(scene: Scene) -> None:
    seen, after = 0, None
    while True:
        page = scene.safety.triage(scene.triage, after=after, size=1)
        seen += page.looked_at
        after = page.after
        if after is None:
            break
    assert seen == 2


def test_a_pseudonym_holds_for_a_day_and_is_nobody_on_the_next(scene: Scene) -> None:
    [first] = scene.safety.triage(scene.triage).conversations
    [again] = scene.safety.triage(scene.triage).conversations
    assert (first.suspect, first.target, first.conversation) == (again.suspect, again.target, again.conversation)
    scene.ahead = timedelta(days=1)
    [later] = scene.safety.triage(scene.triage).conversations
    assert {first.suspect, first.target} & {later.suspect, later.target} == set()
    refused("conversation.missing", lambda: scene.safety.warn(scene.triage, first.conversation))
    refused("pseudonym.unknown", lambda: scene.safety.block(scene.triage, first.suspect, reason="scam"))


def test_pseudonyms_of_another_secret_mean_nothing_here() -> None:
    ours, theirs, who = Pseudonyms(SECRET), Pseudonyms(bytes(32)), uuid.uuid4()
    frame = Pseudonyms.frame(case="c-1")
    assert ours.known(frame, ours.member(frame, who)) == who
    assert theirs.known(frame, ours.member(frame, who)) != who
    assert ours.member(frame, who)[2:] != ours.conversation(frame, who)[2:]
    for name in ("", "m-", "x-" + "a" * 26, "m-a", "m-" + "!" * 26, str(who)):
        with pytest.raises(AccessDenied):
            ours.known(frame, name)
    with pytest.raises(SettingsError):
        Pseudonyms(b"short")


@pytest.mark.parametrize(
    ("role", "purpose", "attributes"),
    [("matchmaker", "sales.outreach", {"store": "sh-01"}), ("courier", "chat.delivery", {}),
     ("safety_desk", "safety.desk", {})],
)  # fmt: skip
def test_triage_is_for_the_safety_team(scene: Scene, role: str, purpose: str, attributes: dict[str, str]) -> None:
    token = scene.token(Actor("u-1", role=role, attributes=attributes), purpose)
    for act in (
        lambda: scene.safety.triage(token),
        lambda: scene.safety.warn(token, "c-x"),
        lambda: scene.safety.block(token, "m-x", reason="scam"),
        lambda: scene.safety.unblock(token, "m-x"),
        lambda: scene.safety.request_opening(token, "c-x"),
        lambda: scene.safety.open_conversation(token, "case"),
        lambda: scene.safety.warnings(token),
    ):
        refused("not.granted", act)


def test_an_analysts_token_reads_no_text_and_writes_no_block(scene: Scene) -> None:
    with scene.store.session(scene.triage) as session:
        for message in session.query(ChatMessage):
            assert "转账" not in str(message.body)
        with pytest.raises(AccessDenied):
            session.add(MemberBlock(member_id=scene.victim, number=1, reason="scam", blocked_by="s-1"))
            session.flush()
    with scene.store.session(scene.triage) as session, pytest.raises(AccessDenied):
        session.get(Member, scene.victim)


# ----------------------------------------------------------------------------------------------------- warnings


def warnings_of(scene: Scene, member: uuid.UUID) -> list[int]:
    token = scene.token(Actor(str(member), role="member"), "member.inbox")
    return [warned.number for warned in scene.safety.warnings(token)]


def conversation(scene: Scene) -> str:
    [found] = scene.safety.triage(scene.triage).conversations
    return found.conversation


def test_the_victim_is_warned_and_nobody_else(scene: Scene) -> None:
    assert scene.safety.warn(scene.triage, conversation(scene)) == 1
    assert warnings_of(scene, scene.victim) == [1]
    assert warnings_of(scene, scene.scammer) == warnings_of(scene, scene.friends[0]) == []


def test_a_warning_holds_nothing_of_the_sender(scene: Scene) -> None:
    scene.safety.warn(scene.triage, conversation(scene))
    with scene.store.engine.connect() as connection:
        [row] = connection.execute(SafetyWarning.__table__.select())
    assert scene.scammer not in row
    assert not any("转账" in str(cell) or "money" in str(cell) for cell in row)


def test_a_warning_is_repeated_after_more_alarms_or_some_days(scene: Scene) -> None:
    assert scene.safety.warn(scene.triage, conversation(scene)) == 1
    assert scene.safety.warn(scene.triage, conversation(scene)) is None
    scene.write(scene.scammer, scene.victim, scene.scam, "快点转账给我")
    assert scene.safety.warn(scene.triage, conversation(scene)) is None  # one more, and the plan says two
    scene.write(scene.scammer, scene.victim, scene.scam, "把验证码发我")
    assert scene.safety.warn(scene.triage, conversation(scene)) == 2
    scene.ahead = timedelta(days=4)
    assert scene.safety.warn(scene.triage, conversation(scene)) is None  # silence: no reason to warn
    scene.write(scene.scammer, scene.victim, scene.scam, "带你投资，稳赚")
    assert scene.safety.warn(scene.triage, conversation(scene)) == 3
    assert warnings_of(scene, scene.victim) == [3, 2, 1]


def test_a_plan_has_an_end() -> None:
    now = datetime.now(UTC)
    assert not WarningPlan(most=3).due(100, 3, 0, now, now)
    assert not WarningPlan(first_after=2).due(1, 0, 0, None, now)


# ------------------------------------------------------------------------------------------------------- blocks


def test_who_is_blocked_sends_nothing_until_it_is_lifted(scene: Scene) -> None:
    [found] = scene.safety.triage(scene.triage).conversations
    scene.safety.block(scene.triage, found.suspect, reason="scam")
    scene.safety.block(scene.triage, found.suspect, reason="scam")
    assert scene.safety.is_blocked(scene.scammer) and not scene.safety.is_blocked(scene.victim)
    assert scene.safety.triage(scene.triage).conversations[0].blocked
    refused("sender.blocked", lambda: scene.write(scene.scammer, scene.friends[0], uuid.uuid4(), "你好"))
    scene.write(scene.victim, scene.scammer, scene.scam, "骗子")
    assert scene.safety.unblock(scene.triage, found.suspect)
    assert not scene.safety.unblock(scene.triage, found.suspect)
    scene.write(scene.scammer, scene.victim, scene.scam, "对不起")
    scene.safety.block(scene.triage, found.suspect, reason="other")
    assert scene.safety.blocked([scene.scammer, scene.victim]) == {scene.scammer}


def test_a_block_says_why_in_words_of_ours(scene: Scene) -> None:
    with pytest.raises(UnsupportedOperation):
        scene.safety.block(scene.triage, "m-x", reason="他说转账给我")


def test_a_courier_can_lift_no_block(scene: Scene) -> None:
    with scene.store.session(scene.token(COURIER, "chat.delivery")) as session, pytest.raises(AccessDenied):
        session.add(MemberBlock(member_id=scene.victim, number=1, reason="scam", blocked_by="courier"))
        session.flush()


# ------------------------------------------------------------------------------------------------ investigation


def test_a_conversation_opens_with_a_case_and_two_others(scene: Scene) -> None:
    me = analyst("s-1")
    asked = scene.safety.request_opening(scene.triage, conversation(scene), hours=4)
    assert set(asked.subjects) == {scene.scammer, scene.victim}
    token = scene.token(me, "safety.investigation", case=asked.case, subjects=asked.subjects)
    with pytest.raises(ApprovalMissing):
        scene.safety.open_conversation(token, asked.case)
    with pytest.raises(AccessDenied):
        scene.store.approve(asked.request, scene.triage)  # one's own
    for name, role in (("s-2", "safety_analyst"), ("s-9", "safety_lead")):
        with pytest.raises(ApprovalMissing):
            scene.safety.open_conversation(token, asked.case)
        scene.store.approve(asked.request, scene.token(analyst(name, role), "safety.triage"))
    written = scene.safety.open_conversation(token, asked.case)
    assert [one.text for one in written][:2] == ["你好", "我急用钱，能先转账5000给我吗"]
    assert len(written) == 4
    assert "转账" not in repr(written)
    assert str(scene.scammer) not in repr(written)
    [found] = scene.safety.triage(scene.triage).conversations
    assert found.suspect not in {one.sender for one in written}  # a case has names of its own


def test_only_the_conversation_of_the_case_is_opened(scene: Scene) -> None:
    scene.write(scene.victim, scene.friends[0], uuid.uuid4(), "这是另一个对话")
    asked = scene.safety.request_opening(scene.triage, conversation(scene))
    for name in ("s-2", "s-3"):
        scene.store.approve(asked.request, scene.token(analyst(name), "safety.triage"))
    token = scene.token(analyst("s-1"), "safety.investigation", case=asked.case, subjects=asked.subjects)
    assert "这是另一个对话" not in [one.text for one in scene.safety.open_conversation(token, asked.case)]
    refused("not.granted", lambda: scene.safety.open_conversation(token, "another case"))
    other = scene.token(analyst("s-2"), "safety.investigation", case=asked.case, subjects=asked.subjects)
    with pytest.raises(ApprovalMissing):
        scene.safety.open_conversation(other, asked.case)  # somebody else's case
    scene.store.cases.close(asked.case)
    with pytest.raises(ApprovalMissing):
        scene.safety.open_conversation(token, asked.case)


def test_a_desk_takes_a_secret_that_is_one(store: Store) -> None:
    with pytest.raises(SettingsError):
        Safety(store, lambda: "", secret=b"")

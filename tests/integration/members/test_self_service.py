"""A member's own rights: everything about oneself, and nothing about anybody else."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.support.profiles import COURIER, MATCHMAKER, Profile
from vaultstore import Actor
from vaultstore.errors import AccessDenied, SubjectErased, TokenRevoked, UnsupportedOperation, WriteDenied
from vaultstore.members.models import ChatMessage, ConsentNotice, Member
from vaultstore.members.self_service import SelfService

pytestmark = pytest.mark.integration


def mine(profile: Profile, member: uuid.UUID, purpose: str = "member.self") -> str:
    return profile.token(Actor(str(member), role="member"), purpose)


def say(profile: Profile, sender: uuid.UUID, recipient: uuid.UUID, text: str) -> None:
    with profile.store.begin(profile.token(COURIER, "chat.delivery")) as session:
        session.add(
            ChatMessage(
                sender_id=sender, recipient_id=recipient, conversation_id=uuid.uuid4(), sent_at=datetime.now(UTC),
                body=text,
            )
        )  # fmt: skip


def clear(seen: dict[str, Any], name: str) -> Any:
    return seen[name].value


def test_the_own_profile_in_clear_and_corrected(profile: Profile) -> None:
    [me] = profile.add_members(1)
    service, token = SelfService(profile.store), mine(profile, me)
    assert clear(service.profile(token), "phone") == "13800000000"
    service.correct(token, phone="13911112222", wants=None)
    seen = service.profile(mine(profile, me))
    assert (clear(seen, "phone"), clear(seen, "wants")) == ("13911112222", None)
    with pytest.raises(WriteDenied):
        service.correct(token, name="somebody else")
    for wrong in ("store", "id", "_sa_instance_state"):
        with pytest.raises(UnsupportedOperation):
            service.correct(token, **{wrong: "x"})


def test_mail_to_me_and_to_nobody_else(profile: Profile) -> None:
    me, friend, other = profile.add_members(3)
    say(profile, friend, me, "你好")
    say(profile, friend, other, "晚安")
    service = SelfService(profile.store)
    [letter] = service.inbox(mine(profile, me, "member.inbox"))
    assert (letter.sender, letter.text.value) == (friend, "你好")  # type: ignore[union-attr]
    profile.store.subjects.erase(friend, reason="asked")
    [letter] = service.inbox(mine(profile, me, "member.inbox")) or [None]  # type: ignore[list-item]
    assert letter is None or "你好" not in repr(letter)


def test_who_looked_at_me(profile: Profile) -> None:
    me, other = profile.add_members(2)
    profile.claim([me, other])
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        assert len([str(m.phone) for m in session.scalars(select(Member))]) == 2
    report = SelfService(profile.store).looked_at_me(mine(profile, me)).data.decode()
    assert "sales.outreach" in report
    assert str(other) not in report


def test_consents_are_given_under_a_notice_that_exists_and_taken_back(profile: Profile) -> None:
    [me] = profile.add_members(1)
    service, token = SelfService(profile.store), mine(profile, me)
    with pytest.raises(UnsupportedOperation, match="no notice"):
        service.consent(token, "matchmaking", notice_version="2")
    with Session(profile.store.engine) as session, session.begin():
        session.add(ConsentNotice(kind="matchmaking", version="2", text="...", published_at=datetime.now(UTC)))
    service.consent(token, "matchmaking", notice_version="2")
    service.withdraw(token, "matchmaking")
    service.withdraw(token, "matchmaking")
    [consent] = service.consents(token)
    assert (consent.notice_version, consent.withdrawn_at is not None) == ("2", True)


def test_a_copy_of_everything_and_an_end(profile: Profile) -> None:
    me, other = profile.add_members(2)
    service, token = SelfService(profile.store), mine(profile, me)
    data = service.export(token).data.decode()
    assert "13800000000" in data
    assert "13800000001" not in data
    assert json.loads(data)
    assert service.delete(token)["keys"]
    with pytest.raises((SubjectErased, AccessDenied)):
        service.export(mine(profile, me))
    assert clear(service.profile(mine(profile, other)), "phone") == "13800000001"


@pytest.mark.parametrize("purpose", ["member.inbox", "sales.outreach"])
def test_it_takes_the_members_own_token(profile: Profile, purpose: str) -> None:
    [me] = profile.add_members(1)
    actor = MATCHMAKER if purpose.startswith("sales") else Actor(str(me), role="member")
    token, service = profile.token(actor, purpose), SelfService(profile.store)
    acts = (service.profile, service.looked_at_me, service.consents, service.export, service.delete)
    for act in acts:
        with pytest.raises(AccessDenied):
            act(token)
    with pytest.raises(AccessDenied):
        service.withdraw(token, "matchmaking")


def test_a_revoked_token_changes_nothing(profile: Profile) -> None:
    [me] = profile.add_members(1)
    profile.store.consents.grant(me, "matchmaking", notice_version="1")
    service, token = SelfService(profile.store), mine(profile, me)
    profile.store.revoke(jti=profile.store.verify(token).jti)
    for act in (service.profile, service.consents, service.export, service.delete):
        with pytest.raises(TokenRevoked):
            act(token)
    with pytest.raises(TokenRevoked):
        service.withdraw(token, "matchmaking")
    assert profile.store.consents.history(me)[0].withdrawn_at is None
    assert profile.store.subjects.state(me) == "active"

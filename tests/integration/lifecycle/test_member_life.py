"""A member's life on both profiles: consent, rest, and the end of every key."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.support.erasing import ANALYST, chat, log_keys, verified, view
from tests.support.profiles import MATCHER, MATCHMAKER, REGISTRAR, Profile
from vaultstore.errors import AccessDenied, ConsentMissing, SubjectErased, SubjectRestricted, UnsupportedOperation
from vaultstore.lifecycle.certificate_check import check_certificate
from vaultstore.members.models import Lead, Member, ProfileView
from vaultstore.orm import PurposeSession
from vaultstore.records import keyring

pytestmark = pytest.mark.integration


def cards(session: PurposeSession) -> list[uuid.UUID]:
    return sorted(session.scalars(select(Member.id)))


def found(profile: Profile, phone: str) -> list[uuid.UUID]:
    with profile.store.session(profile.token(REGISTRAR, "registration")) as session:
        return list(session.scalars(select(Member.id).where(Member.phone == phone)))


def keys_of(profile: Profile, member: uuid.UUID) -> int:
    query = select(func.count()).where(keyring.vs_keyring.c.subject == member.bytes)
    with profile.store.engine.connect() as connection:
        return connection.execute(query).scalar_one()


def test_a_withdrawal_stops_an_open_session_with_warm_keys_and_its_history_stays(profile: Profile) -> None:
    one, other = profile.add_members(2)
    profile.claim([one, other])
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        for member in session.scalars(select(Member)):
            assert str(member.phone).startswith("*")
        assert profile.store.consents.withdraw(one, "matchmaking")
        session.expire_all()
        assert str(session.get_one(Member, other).phone).startswith("*")
        with pytest.raises(ConsentMissing):
            _ = session.get_one(Member, one).phone
        profile.store.consents.grant(one, "matchmaking", notice_version="2026-11", evidence="form 12")
        session.expire_all()
        assert str(session.get_one(Member, one).phone).startswith("*")
    history = profile.store.consents.history(one)
    assert [(each.notice_version, each.withdrawn_at is None) for each in history] == [
        ("2021-11", False),
        ("2026-11", True),
    ]


def test_who_rests_is_in_no_list_and_no_search_until_they_are_back(profile: Profile) -> None:
    one, other = profile.add_members(2)
    profile.claim([one, other])
    outreach = profile.token(MATCHMAKER, "sales.outreach")
    assert found(profile, "13800000000") == [one]
    with profile.store.session(outreach) as session:
        held = session.get_one(Member, one)
        _ = held.phone
        profile.store.subjects.restrict(one, reason="disputes her age", operator="chen")
        session.expire(held)
        with pytest.raises(AccessDenied):  # at once, in the very transaction that had read it
            _ = held.phone
        session.rollback()
        assert cards(session) == [other]
    assert found(profile, "13800000000") == []
    with pytest.raises(SubjectRestricted), profile.store.begin(profile.token(MATCHER, "matching")) as session:
        session.add(ProfileView(viewer_id=one, viewed_id=other, viewed_at=datetime.now(UTC), event="1"))
    profile.store.subjects.lift(one, reason="settled", operator="chen")
    with profile.store.session(outreach) as session:
        assert cards(session) == sorted([one, other])
    assert found(profile, "13800000000") == [one]
    assert [each.reason for each in profile.store.subjects.history(one)][-2:] == ["disputes her age", "settled"]


def test_those_who_fell_silent_are_isolated_in_bulk(profile: Profile) -> None:
    silent = profile.add_members(7, last_login=date(2020, 1, 1))
    lively = profile.add_members(2, last_login=date.today())
    summary = profile.store.subjects.isolate_dormant(timedelta(days=365), operator="job", workers=2)
    assert (summary.done, summary.failed) == (7, 0)
    assert {profile.store.subjects.state(one) for one in silent} == {"restricted"}
    assert {profile.store.subjects.state(one) for one in lively} == {"active"}


def test_an_erasure_leaves_no_key_and_a_certificate_that_holds_without_us(profile: Profile) -> None:
    anna, ben = profile.add_members(2)
    profile.claim([anna, ben])
    chat(profile, anna, ben)
    view(profile, anna, ben)
    assert keys_of(profile, anna) > 5
    assert found(profile, "13800000000") == [anna]
    erased = profile.store.subjects.erase(anna, reason="asked for it")
    assert keys_of(profile, anna) == 0
    assert keys_of(profile, ben) > 0
    checked = check_certificate(profile.store.subjects.certificate(anna).data, log_keys(profile))
    assert (checked.subject, checked.acts[0].entry["id"]) == (anna, erased.entry)
    assert checked.acts[0].keys == erased.keys > 5
    assert verified(profile).findings == []

    with profile.store.session(profile.token(MATCHER, "matching")) as session:
        assert session.scalar(select(func.count()).select_from(Member)) == 2  # sums and counts go on
        with pytest.raises(SubjectErased):
            _ = session.get_one(Member, anna).wants
        assert session.get_one(Member, ben).wants
    assert found(profile, "13800000000") == []
    with profile.store.engine.connect() as connection:
        leads = connection.execute(select(Lead.__table__.c.member_id)).scalars().all()
        assert leads == [ben]
        assert connection.execute(select(func.count()).select_from(ProfileView.__table__)).scalar_one() == 0
    with pytest.raises(UnsupportedOperation):
        profile.store.subjects.certificate(ben)


def test_an_erasure_done_twice_at_once_is_one(profile: Profile) -> None:
    [anna] = profile.add_members(1)
    with ThreadPoolExecutor(4) as pool:
        both = list(pool.map(lambda n: profile.store.subjects.erase(anna, reason="asked"), range(4)))
    assert sum(each.new for each in both) == 1
    assert len({each.entry for each in both}) == 1
    assert keys_of(profile, anna) == 0


def test_what_an_open_case_holds_goes_by_itself_when_it_closes(profile: Profile) -> None:
    anna, ben = profile.add_members(2)
    conversation = chat(profile, anna, ben)
    case = profile.store.cases.open("scam", assigned_to=ANALYST.id, subjects=[anna], scopes={anna: [conversation]})
    first = profile.store.subjects.erase(anna, reason="asked")
    assert keys_of(profile, anna) == 2  # of the messages, and of their flags
    before = check_certificate(profile.store.subjects.certificate(anna).data, log_keys(profile))
    assert len(before.held) == 1
    profile.store.cases.close(case)
    assert keys_of(profile, anna) == 0
    after = check_certificate(profile.store.subjects.certificate(anna).data, log_keys(profile))
    assert (len(after.acts), after.held) == (2, [])
    assert profile.store.subjects.erase(anna, reason="again").entry == first.entry

"""Complaints: the case within one call, and promises that are seen when they are late."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.support.profiles import Profile
from vaultstore import Actor
from vaultstore.errors import AccessDenied, ApprovalMissing, NotDisclosed, UnsupportedOperation
from vaultstore.members.complaints import Complaints
from vaultstore.members.models import Complaint, Member

pytestmark = pytest.mark.integration

AGENT = Actor("care-1", role="care_agent")
OTHER = Actor("care-2", role="care_agent")


def test_a_complaint_opens_the_case_that_lets_its_agent_see_the_card(profile: Profile) -> None:
    complainant, other = profile.add_members(2)
    opened = Complaints(profile.store).open(profile.token(AGENT, "care.intake"), complainant, kind="calls")
    assert (opened.contact_due - opened.plan_due, opened.store) == (timedelta(hours=-24), "sh-01")
    with profile.store.session(profile.token(AGENT, "care.complaint", case=opened.case)) as session:
        card = session.get(Member, complainant)
        assert card is not None
        assert str(card.phone).startswith("138")
        assert "*" in str(card.phone)
        stranger = session.get(Member, other)
        assert stranger is not None
        with pytest.raises(ApprovalMissing):
            _ = stranger.phone
    with profile.store.session(profile.token(OTHER, "care.complaint", case=opened.case)) as session:
        card = session.get(Member, complainant)
        assert card is not None
        with pytest.raises(ApprovalMissing):
            _ = card.phone


def test_to_take_a_complaint_shows_nothing_of_the_member(profile: Profile) -> None:
    [member] = profile.add_members(1)
    with profile.store.session(profile.token(AGENT, "care.intake")) as session:
        found = session.get(Member, member)
        assert found is not None
        with pytest.raises(NotDisclosed):
            _ = found.phone


def test_promises_that_are_late_are_shown_store_by_store(profile: Profile) -> None:
    near, far = profile.add_members(1) + profile.add_members(1, store="bj-01")
    now = [datetime(2026, 3, 1, 9, tzinfo=UTC)]
    complaints, token = Complaints(profile.store, clock=lambda: now[0]), profile.token(AGENT, "care.intake")
    first, second = (complaints.open(token, member, kind="data") for member in (near, far))
    assert complaints.overdue(token) == {}
    now[0] += timedelta(hours=24)
    assert {store: [o.what for o in late] for store, late in complaints.overdue(token).items()} == {
        "bj-01": ["contact"],
        "sh-01": ["contact"],
    }
    complaints.contacted(token, first.case)
    assert list(complaints.overdue(token)) == ["bj-01"]
    now[0] += timedelta(hours=24)
    late = complaints.overdue(token)
    assert [o.what for o in late["sh-01"]] == ["plan"]
    assert [o.what for o in late["bj-01"]] == ["contact", "plan"]
    complaints.planned(token, first.case)
    complaints.close(token, second.case)
    assert complaints.overdue(token) == {}


def test_a_closed_complaint_shows_its_agent_nothing_more(profile: Profile) -> None:
    [member] = profile.add_members(1)
    complaints, token = Complaints(profile.store), profile.token(AGENT, "care.intake")
    opened = complaints.open(token, member, kind="refund")
    card_token = profile.token(AGENT, "care.complaint", case=opened.case)
    complaints.close(token, opened.case)
    complaints.close(token, opened.case)  # harmless
    with profile.store.session(card_token) as session:
        card = session.get(Member, member)
        assert card is not None
        with pytest.raises(ApprovalMissing):
            _ = card.phone


def test_only_the_agent_of_a_complaint_follows_it_up(profile: Profile) -> None:
    [member] = profile.add_members(1)
    complaints = Complaints(profile.store)
    opened = complaints.open(profile.token(AGENT, "care.intake"), member, kind="conduct")
    other = profile.token(OTHER, "care.intake")
    for act in (complaints.contacted, complaints.planned, complaints.close):
        with pytest.raises(AccessDenied):
            act(other, opened.case)
        with pytest.raises(AccessDenied):
            act(other, "no-case")


def test_bad_input_leaves_nothing_behind(profile: Profile) -> None:
    [member] = profile.add_members(1)
    complaints, token = Complaints(profile.store), profile.token(AGENT, "care.intake")
    with pytest.raises(UnsupportedOperation, match="one of calls"):
        complaints.open(token, member, kind="weather")
    with pytest.raises(AccessDenied):
        complaints.open(token, uuid.uuid4(), kind="calls")
    with profile.store.session(token) as session:
        assert session.scalars(select(Complaint)).all() == []


def test_who_asked_for_rest_may_still_complain(profile: Profile) -> None:
    [member] = profile.add_members(1)
    profile.store.subjects.restrict(member, reason="asked")
    opened = Complaints(profile.store).open(profile.token(AGENT, "care.intake"), member, kind="calls")
    assert opened.member == member

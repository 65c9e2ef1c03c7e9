"""A leak is traced through whole stores, embedded and on PostgreSQL with OpenBao: by search, log and canaries."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from tests.support.profiles import MATCHER, Profile, embedded, standard
from vaultstore import Actor, is_masked
from vaultstore.errors import NotDisclosed
from vaultstore.evidence.canaries import Number, Plot, Post
from vaultstore.evidence.trace import Traced, levels_of, trace
from vaultstore.evidence.trace_words import sentences
from vaultstore.members.canaries import plant
from vaultstore.members.models import Lead, Member
from vaultstore.orm import Clear, Denied

SELLERS = [Actor(f"u-{n}", role="matchmaker", attributes={"store": "sh-01"}) for n in (17, 18, 19)]
RELAY = Actor("relay-1", role="telephony", attributes={"store": "sh-01"})
INVESTIGATOR = Actor("i-1", role="investigator")


@pytest.fixture(params=["embedded", pytest.param("standard", marks=pytest.mark.integration)])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profile]:
    if request.param == "embedded":
        with embedded(tmp_path) as made:
            yield made
    else:
        server, url = request.getfixturevalue("openbao"), request.getfixturevalue("pg_database")
        with standard(tmp_path, server, url) as made:
            yield made


def gate_of(profile: Profile) -> Engine:
    return profile.store._gate_engine


def traced(profile: Profile, phones: list[str], *fields: str) -> Traced:
    """Search the numbers, and trace whoever they belong to."""
    store = profile.store
    with store.session(profile.token(INVESTIGATOR, "audit.trace")) as session:
        subjects = {i.bytes for i in session.scalars(select(Member.id).where(Member.phone.in_(phones)))}
    return trace(gate_of(profile), subjects, levels_of(store.policy, "Member", fields or ["phone"]))


def cards(profile: Profile, actor: Actor) -> list[uuid.UUID]:
    """What a seller sees: the cards of their leads."""
    with profile.store.session(profile.token(actor, "sales.outreach")) as session:
        found = list(session.scalars(select(Member)))
        assert all(is_masked(member.phone) for member in found)
        return [member.id for member in found]


def call(profile: Profile, member: uuid.UUID, actor: Actor = RELAY) -> str:
    """What the relay reads to connect one call."""
    with profile.store.session(profile.token(actor, "relay.telephony", subjects=[member])) as session:
        return session.get_one(Member, member).phone


def phones(*numbers: int) -> list[str]:
    return [f"138{n:08d}" for n in numbers]


def test_a_list_that_one_seller_saw_is_told_apart_from_the_others_and_said_to_be_masked(profile: Profile) -> None:
    ids = profile.add_members(60)
    for seller, some in zip(SELLERS, (ids[:20], ids[15:40], ids[30:50]), strict=True):
        profile.claim(some, seller)
        assert len(cards(profile, seller)) == len(some)
    found = traced(profile, phones(*range(2, 18)))
    assert found.leaked == 16
    assert found.masked.suspects[0].actor == "u-17"
    assert found.masked.explanation == ("u-17",)
    assert (found.clear.suspects, found.clear.verdict) == ((), "elsewhere")
    said = " ".join(sentences(found))
    assert "masked only" in said
    assert "u-17 explains the leak" in said
    assert "138000" not in said
    assert found.actors["u-17"].first is not None
    assert found.actors["u-17"].group == "sh-01"


def test_what_was_never_disclosed_is_said_plainly(profile: Profile) -> None:
    profile.add_members(30)
    found = traced(profile, phones(*range(20)))
    assert (found.leaked, found.ranking.verdict, found.ranking.suspects) == (20, "elsewhere", ())
    assert "was ever disclosed" in next(sentences(found))


def test_numbers_of_nobody_did_not_come_from_here(profile: Profile) -> None:
    profile.add_members(2)
    found = traced(profile, ["15900000001", "15900000002"])
    assert list(sentences(found)) == ["Nothing in this list belongs to a member: it did not come from here."]


def test_only_disclosures_of_the_time_in_question_count(profile: Profile) -> None:
    ids = profile.add_members(12)
    profile.claim(ids, SELLERS[0])
    cards(profile, SELLERS[0])
    levels, subjects = levels_of(profile.store.policy, "Member", ["phone"]), [i.bytes for i in ids]
    now = datetime.now(UTC)
    for since, until, entries in (
        (None, None, 1),
        (now + timedelta(minutes=1), None, 0),
        (None, now - timedelta(minutes=5), 0),
        (now - timedelta(minutes=5), now + timedelta(minutes=1), 1),
    ):
        assert trace(gate_of(profile), subjects, levels, since=since, until=until).entries == entries


def test_members_who_were_logged_in_from_few_clients_are_flagged(profile: Profile) -> None:
    ids = profile.add_members(30)
    for at, member in enumerate(ids[:12]):
        actor = Actor(str(member), role="member", attributes={"client": f"client-{at % 2}"})
        with profile.store.session(profile.token(actor, "member.self", subjects=[member])) as session:
            assert session.get_one(Member, member).phone
    found = traced(profile, phones(*range(12)))
    assert (found.stuffing.members, found.stuffing.clients, found.stuffing.verdict) == (12, (6, 6), "likely")
    said = list(sentences(found))
    assert "none of the 12 members was ever disclosed" in said[0]
    assert "CREDENTIAL STUFFING is likely" in said[-1]


def test_without_a_client_in_tokens_it_is_said_that_clients_cannot_be_told(profile: Profile) -> None:
    ids = profile.add_members(30)
    for member in ids[:12]:
        actor = Actor(str(member), role="member")
        with profile.store.session(profile.token(actor, "member.self", subjects=[member])) as session:
            assert session.get_one(Member, member).phone
    found = traced(profile, phones(*range(12)))
    assert (found.stuffing.clients, found.stuffing.verdict) == (None, "possible")
    assert "no attribute `client`" in list(sentences(found))[-1]


def planted(profile: Profile) -> uuid.UUID:
    """A canary that is a lead of u-17's."""
    plot = Plot(Post("sh-01", "u-17"), Number(1, "+8617000000001"))
    (one,) = plant(profile.store, gate_of(profile), [plot])
    assert one.lead
    return one.member


def test_a_canary_in_a_leak_is_named_first_with_whose_it_was_and_who_saw_it(profile: Profile) -> None:
    ids = profile.add_members(20)
    canary = planted(profile)
    profile.claim(ids[:12], SELLERS[0])
    assert canary in cards(profile, SELLERS[0])
    found = traced(profile, ["+86 170 0000 0001", *phones(*range(10))])
    first = next(sentences(found))
    assert first.startswith(f"CANARY {canary}")
    assert "for u-17 of store sh-01" in first
    assert "masked to u-17" in first


def test_nothing_that_sales_can_read_tells_a_canary_from_a_member(profile: Profile) -> None:
    ids = profile.add_members(10)
    canary = planted(profile)
    profile.claim(ids, SELLERS[0])
    for purpose, actor in (("sales.pool", SELLERS[0]), ("sales.outreach", SELLERS[0]), ("sales.manage", MANAGER)):
        with profile.store.session(profile.token(actor, purpose)) as session:
            found = {member.id: session.view(member) for member in session.scalars(select(Member))}
            assert {canary, *ids} <= set(found)
            forms = {name: type(seen) for name, seen in found[ids[0]].items()}
            for name, seen in found[canary].items():
                same = type(seen) is forms[name] or (isinstance(seen, Clear) and seen.value is None)
                assert same, f"{purpose}: {name}"
            member = session.get_one(Member, canary)
            assert (member.city, member.store, member.grade) == ("上海", "sh-01", "A")
    with profile.store.session(profile.token(MANAGER, "sales.manage")) as session:
        leads = {lead.member_id: lead for lead in session.scalars(select(Lead))}
        assert (leads[canary].state, leads[canary].actor_id, leads[canary].store) == ("open", "u-17", "sh-01")


MANAGER = Actor("m-1", role="store_manager", attributes={"store": "sh-01"})


def test_matching_is_given_nothing_of_a_canary_and_the_relay_is_told_to_drop_the_call(profile: Profile) -> None:
    (member,) = profile.add_members(1)
    canary = planted(profile)
    profile.store.consents.grant(member, "matchmaking", notice_version="1")
    with profile.store.session(profile.token(MATCHER, "matching")) as session:
        views = {one.id: session.view(one) for one in session.scalars(select(Member))}
    assert not isinstance(views[member]["birth_date"], Denied)
    assert isinstance(views[canary]["birth_date"], Denied)
    assert call(profile, member) == "13800000000"
    with pytest.raises(NotDisclosed) as raised:
        call(profile, canary)
    assert raised.value.reason == "subject.canary"


def test_a_number_of_a_member_is_no_number_for_a_canary(profile: Profile) -> None:
    from vaultstore.errors import SettingsError

    profile.add_members(1)
    with pytest.raises(SettingsError, match="lines 7"):
        plant(profile.store, gate_of(profile), [Plot(Post("sh-01"), Number(7, "+8613800000000"))])


def test_a_store_without_members_hides_no_canary(profile: Profile) -> None:
    from vaultstore.errors import SettingsError

    with pytest.raises(SettingsError, match="stand alone"):
        plant(profile.store, gate_of(profile), [Plot(Post("xx-99"), Number(1, "+8617000000001"))])

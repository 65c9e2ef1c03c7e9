"""Pools and claims: what a page shows, how many claims a day, and one of two who want the same member."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from tests.support.profiles import Profile
from vaultstore import Actor
from vaultstore.errors import (
    AccessDenied,
    BudgetExhausted,
    ConsentMissing,
    SubjectRestricted,
    TokenRevoked,
    UnsupportedOperation,
)
from vaultstore.members.claims import Claims
from vaultstore.members.models import Lead, Member
from vaultstore.members.pools import Pools

pytestmark = pytest.mark.integration

DESK = Actor("desk-1", role="lead_desk")
MANAGER = Actor("m-1", role="store_manager", attributes={"store": "sh-01"})


def seller(name: str = "u-17", rank: str = "X", city: str = "上海") -> Actor:
    attributes = {"store": "sh-01", "city": city, "rank": rank}
    return Actor(name, role="matchmaker", attributes={name: value for name, value in attributes.items() if value})


def desk(profile: Profile, **options: object) -> Claims:
    token = profile.token(DESK, "sales.desk")
    return Claims(profile.store, lambda: token, **options)  # type: ignore[arg-type]


def pool_token(profile: Profile, who: Actor | None = None) -> str:
    return profile.token(who or seller(), "sales.pool")


def willing(profile: Profile, count: int, **values: object) -> list[uuid.UUID]:
    ids = profile.add_members(count, **values)
    for one in ids:
        profile.store.consents.grant(one, "matchmaking", notice_version="1")
    return ids


def code_of(profile: Profile, claims: Claims, token: str, member: uuid.UUID) -> str:
    with pytest.raises(AccessDenied) as refused:
        claims.claim(token, member)
    return refused.value.reason


def leads(profile: Profile) -> list[tuple[str, str]]:
    with Session(profile.store.engine) as session:
        return [
            (lead.actor_id, lead.state) for lead in session.scalars(select(Lead).order_by(Lead.claimed_at, Lead.id))
        ]


def test_a_claim_gives_the_sales_card_and_ends_when_it_is_given_back(profile: Profile) -> None:
    [member] = willing(profile, 1)
    claims, token, outreach = desk(profile), pool_token(profile), profile.token(seller(), "sales.outreach")
    with profile.store.session(outreach) as session:
        assert session.scalars(select(Member)).all() == []
    claim = claims.claim(token, member)
    assert claims.held(outreach) == [claim]
    assert (claim.member, claim.actor, claim.store) == (member, "u-17", "sh-01")
    with profile.store.session(outreach) as session:
        [card] = session.scalars(select(Member)).all()
        assert str(card.phone).startswith("*")
        assert {name for name, seen in session.view(card).items() if type(seen).__name__ == "Clear"} == set()
    claims.give_back(token, member)
    assert claims.held(outreach) == []
    with profile.store.session(outreach) as session:
        assert session.scalars(select(Member)).all() == []
    with pytest.raises(AccessDenied):
        claims.give_back(token, member)


def test_a_revoked_token_sees_and_ends_no_lead(profile: Profile) -> None:
    [member] = willing(profile, 1)
    claims, token = desk(profile), pool_token(profile)
    claims.claim(token, member)
    profile.store.revoke(jti=profile.store.verify(token).jti)
    for act in (lambda: claims.held(token), lambda: claims.give_back(token, member)):
        with pytest.raises(TokenRevoked):
            act()
    assert leads(profile) == [("u-17", "open")]


def test_twenty_a_day_from_the_store_and_fifty_from_the_city(profile: Profile) -> None:
    members = willing(profile, 72)
    claims = desk(profile)
    store, city = pool_token(profile), profile.token(seller(), "sales.city")
    for member in members[:20]:
        claims.claim(store, member)
    with pytest.raises(BudgetExhausted):
        claims.claim(pool_token(profile), members[20])  # another token of the same seller
    for member in members[20:70]:
        claims.claim(city, member)
    with pytest.raises(BudgetExhausted):
        claims.claim(city, members[70])
    assert leads(profile) == [("u-17", "open")] * 70
    claims.claim(pool_token(profile, seller("u-18")), members[71])


def test_two_who_want_the_same_member(profile: Profile) -> None:
    [member] = willing(profile, 1)
    claims = desk(profile)
    claims.claim(pool_token(profile), member)
    assert code_of(profile, claims, pool_token(profile, seller("u-18")), member) == "lead.taken"
    assert code_of(profile, claims, pool_token(profile), member) == "lead.taken"
    assert leads(profile) == [("u-17", "open")]


def test_thirty_two_at_once_one_wins_and_quotas_are_exact(profile: Profile) -> None:
    threads = 32 if profile.name == "standard" else 8
    wanted, *others = willing(profile, 30)
    claims = desk(profile)
    sellers = [seller(f"u-{at}") for at in range(threads)]
    tokens = [pool_token(profile, who) for who in sellers]
    ready, lost = threading.Barrier(threads), list[str]()

    def race(token: str) -> bool:
        ready.wait()
        try:
            claims.claim(token, wanted)
        except AccessDenied as refused:
            lost.append(refused.reason)
            return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        assert sum(pool.map(race, tokens)) == 1
    assert lost == ["lead.taken"] * (threads - 1)

    mine = pool_token(profile, seller("u-busy"))

    def grab(member: uuid.UUID) -> bool:
        try:
            claims.claim(mine, member)
        except BudgetExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(grab, others)) == 20
    assert leads(profile).count(("u-busy", "open")) == 20


def test_ranks_claim_their_grades_and_no_rank_claims_none(profile: Profile) -> None:
    claims = desk(profile)
    [best], [last] = willing(profile, 1, grade="A"), [*willing(profile, 2, grade="D")][1:]
    assert code_of(profile, claims, pool_token(profile, seller("u-1", rank="Y")), best) == "lead.rank"
    assert code_of(profile, claims, pool_token(profile, seller("u-2", rank="")), last) == "lead.rank"
    claims.claim(pool_token(profile, seller("u-3", rank="Z")), last)
    claims.claim(pool_token(profile, seller("u-4", rank="X")), best)


def test_what_is_not_in_the_pool_is_not_claimed(profile: Profile) -> None:
    claims, token = desk(profile), pool_token(profile)
    [far] = willing(profile, 1, store="bj-01")
    assert code_of(profile, claims, token, far) == "pool.missing"
    assert code_of(profile, claims, token, uuid.uuid4()) == "pool.missing"
    assert code_of(profile, claims, profile.token(seller(), "sales.outreach"), far) == "not.granted"


def test_who_took_consent_back_or_is_restricted_is_not_claimed_and_nothing_stays(profile: Profile) -> None:
    claims, token = desk(profile), pool_token(profile)
    unwilling, silent = [*willing(profile, 1), *willing(profile, 2)][1:]
    profile.store.consents.withdraw(unwilling, "matchmaking")
    profile.store.subjects.restrict(silent, reason="asked")
    with pytest.raises(ConsentMissing):
        claims.claim(token, unwilling)
    with pytest.raises((SubjectRestricted, AccessDenied)):
        claims.claim(token, silent)
    assert leads(profile) == []


def test_a_lead_that_ran_out_is_free_again(profile: Profile) -> None:
    [member] = willing(profile, 1)
    claims = desk(profile)
    claims.claim(pool_token(profile), member)
    with profile.store.engine.begin() as connection:
        connection.execute(update(Lead.__table__).values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    assert claims.held(pool_token(profile)) == []
    claims.claim(pool_token(profile, seller("u-18")), member)
    assert sorted(leads(profile)) == [("u-17", "expired"), ("u-18", "open")]
    assert claims.expire() == 0


def test_a_manager_reassigns_in_the_own_store_and_it_is_audited(profile: Profile) -> None:
    near, far = willing(profile, 1)[0], willing(profile, 1, store="bj-01")[0]
    claims = desk(profile)
    claims.claim(pool_token(profile), near)
    claims.claim(profile.token(seller("u-9"), "sales.city"), far)
    with profile.store.engine.begin() as connection:
        connection.execute(update(Lead.__table__).where(Lead.member_id == far).values(store="bj-01"))
    manage = profile.token(MANAGER, "sales.manage")
    assert claims.reassign(manage, near, "u-20").actor == "u-20"
    assert sorted(leads(profile)) == [("u-17", "reassigned"), ("u-20", "open"), ("u-9", "open")]
    for member, token in ((far, manage), (near, pool_token(profile))):
        with pytest.raises(AccessDenied):
            claims.reassign(token, member, "u-21")
    report = profile.store.report(near, operator="auditor")
    assert "assign" in report.data.decode()


def test_when_the_member_says_no_nobody_holds_them(profile: Profile) -> None:
    [member] = willing(profile, 1)
    claims = desk(profile)
    claims.claim(pool_token(profile), member)
    assert claims.close(member)
    assert leads(profile) == [("u-17", "refused")]
    assert not claims.close(member)


def test_a_page_singles_nobody_out_and_says_so(profile: Profile) -> None:
    many = willing(profile, 12, education="本科", grade="A")
    odd = willing(profile, 1, education="博士", grade="D")
    claims = desk(profile)
    held = many[0]
    claims.claim(pool_token(profile, seller("u-5")), held)
    page = Pools(profile.store, claims.free).page(pool_token(profile))
    assert page.k >= 5
    assert {card.member for card in page.cards} == set(many[1:])
    assert (page.withheld, page.after) == (1, None)
    assert odd[0] not in {card.member for card in page.cards}
    assert {card.shown for card in page.cards} == {("30-34", "上海", "本科", "A")} or all(
        card.city == "上海" for card in page.cards
    )


def test_pages_go_on_where_the_last_one_ended(profile: Profile) -> None:
    members = willing(profile, 25)
    pools, seen, after = Pools(profile.store, desk(profile).free), list[uuid.UUID](), None
    for _ in range(3):
        page = pools.page(pool_token(profile), after=after, size=10)
        seen += [card.member for card in page.cards]
        after = page.after
    assert sorted(seen) == sorted(members)


def test_a_page_leaves_out_who_is_out(profile: Profile) -> None:
    members = willing(profile, 8)
    pools = Pools(profile.store, desk(profile).free, out=lambda ids: {members[0]} & set(ids))
    assert {card.member for card in pools.page(pool_token(profile)).cards} == set(members[1:])


def test_a_page_takes_a_pools_token(profile: Profile) -> None:
    pools = Pools(profile.store, desk(profile).free)
    with pytest.raises(AccessDenied):
        pools.page(profile.token(seller(), "sales.outreach"))
    with pytest.raises(UnsupportedOperation):
        Pools(profile.store, desk(profile).free, k=1)
    with pytest.raises(UnsupportedOperation):
        pools.page(pool_token(profile), size=3)

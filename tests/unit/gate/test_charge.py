"""Acts that are counted and open nothing: claims and contacts."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.errors import (
    AccessDenied,
    AuditError,
    BudgetExhausted,
    ConsentMissing,
    SubjectErased,
    SubjectRestricted,
    TokenExpired,
    TokenRevoked,
    UnsupportedOperation,
)


def willing(world: World, count: int) -> list[bytes]:
    """Members who consented."""
    members = world.members(count, "profile")
    for member in members:
        world.consents.grant(member, "matchmaking", notice_version="1")
    return members


def test_a_claim_is_counted_audited_and_opens_nothing(world: World) -> None:
    [member] = willing(world, 1)
    entry = world.gate.charge(world.grant("pool"), "claim", "Member", member)
    told = world.last()
    assert told.content["id"] == entry
    assert (told.content["kind"], told.content["outcome"], told.content["categories"]) == ("claim", "counted", [])
    assert told.outcomes() == {member: "counted"}
    assert world.used("pool", "claim") == [1]
    assert world.keys.requests == []


def test_claims_end_at_the_limit_and_one_member_counts_once(world: World) -> None:
    first, second, third = willing(world, 3)
    grant = world.grant("pool")
    for member in (first, first, second, second):
        world.gate.charge(grant, "claim", "Member", member)
    with pytest.raises(BudgetExhausted):
        world.gate.charge(grant, "claim", "Member", third)
    assert world.last().outcomes() == {third: "budget.exhausted"}
    world.gate.charge(world.grant("pool", "bob"), "claim", "Member", third)
    assert world.used("pool", "claim") == [1, 2]


def test_contacts_are_counted_by_whom_they_reach_and_not_by_the_id_they_have(world: World) -> None:
    before, after = world.members(2, "contact")  # one person, registered twice
    grant, tag = world.grant("calls"), "a-tag-of-the-phone"
    world.gate.charge(grant, "contact", "Member", before, unit=os.urandom(16), whose=tag)
    with pytest.raises(BudgetExhausted):
        world.gate.charge(grant, "contact", "Member", after, unit=os.urandom(16), whose=tag)
    world.gate.charge(grant, "contact", "Member", after, unit=os.urandom(16), whose="another-tag")
    for _ in range(2):
        world.later(timedelta(hours=2))
        with pytest.raises(TokenExpired) if world.dialect == "sqlite" else pytest.raises(BudgetExhausted):
            for _ in range(2):
                world.gate.charge(grant, "contact", "Member", after, unit=os.urandom(16), whose=tag)
        grant = world.grant("calls")


def test_the_same_contact_told_twice_counts_once(world: World) -> None:
    [member] = world.members(1, "contact")
    call = os.urandom(16)
    for _ in range(2):
        world.gate.charge(world.grant("calls"), "contact", "Member", member, unit=call)
    assert world.used("calls", "contact") == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "verb"), [("few", "claim"), ("pool", "contact"), ("register", "claim"), ("pool", "assign")]
)
def test_a_purpose_without_limits_for_the_act_may_not_do_it(world: World, name: str, verb: str) -> None:
    [member] = willing(world, 1)
    with pytest.raises(AccessDenied) as refused:
        world.gate.charge(world.grant(name), verb, "Member", member)
    assert refused.value.reason == "not.granted"
    assert world.last().content["outcome"] == "refused:not.granted"


@pytest.mark.parametrize("verb", ["disclose", "search", "contact; DROP TABLE vs_limits", ""])
def test_other_verbs_are_no_acts(world: World, verb: str) -> None:
    [member] = willing(world, 1)
    with pytest.raises(AuditError):
        world.gate.charge(world.grant("few"), verb, "Member", member)
    assert world.used("few") == []


def test_who_may_not_be_processed_is_not_counted(world: World) -> None:
    silent, unwilling, gone = willing(world, 3)
    world.subjects.restrict(silent, reason="asked")
    world.consents.withdraw(unwilling, "matchmaking")
    world.subjects.erase(gone, reason="asked")
    for member, error in ((silent, SubjectRestricted), (unwilling, ConsentMissing), (gone, SubjectErased)):
        with pytest.raises(error):
            world.gate.charge(world.grant("pool"), "claim", "Member", member)
    assert world.used("pool", "claim") == []


def test_a_dead_token_counts_nothing(world: World) -> None:
    [member] = willing(world, 1)
    grant = world.grant("pool")
    world.revocations.revoke(jti=grant.jti)
    with pytest.raises(TokenRevoked):
        world.gate.charge(grant, "claim", "Member", member)
    assert world.used("pool", "claim") == []


def test_what_is_counted_is_sixteen_bytes(world: World) -> None:
    [member] = willing(world, 1)
    with pytest.raises(UnsupportedOperation):
        world.gate.charge(world.grant("pool"), "claim", "Member", member, unit=b"short")
    with pytest.raises(UnsupportedOperation):
        world.gate.charge(world.grant("pool"), "claim", "Member", member + member)


def test_at_once_the_limit_is_exact(world: World) -> None:
    members, grant = willing(world, 16), world.grant("pool")
    ready = threading.Barrier(8)

    def claim(mine: list[bytes]) -> int:
        ready.wait()
        done = 0
        for member in mine:
            try:
                world.gate.charge(grant, "claim", "Member", member)
            except BudgetExhausted:
                continue
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, [members[at : at + 2] for at in range(0, 16, 2)])) == 2
    assert world.used("pool", "claim") == [2]


@pytest.mark.integration
def test_the_function_takes_one_subject_and_an_act(pg: World) -> None:
    [member] = willing(pg, 1)
    query = sa.text("SELECT vs_charge('{}'::jsonb, :verb, 'Member', :ids, :unit, '')")
    wrong = ({"verb": "claim", "ids": member * 2, "unit": member}, {"verb": "claim", "ids": member, "unit": b"x"},
             {"verb": "disclose", "ids": member, "unit": member})  # fmt: skip
    for parameters in wrong:
        with pg.gate_engine.connect() as connection, pytest.raises(sa.exc.DBAPIError):
            connection.execute(query, parameters)

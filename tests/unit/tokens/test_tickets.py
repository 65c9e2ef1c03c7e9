"""Tickets: what a strict database vouches for is what the gate later reads from the token, to the letter."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import IssueDenied, KeyServiceRefused, KeyServiceUnavailable
from vaultstore.gate.claims import Claims
from vaultstore.grants import Actor, Grant, Ticket
from vaultstore.tokens import Issuer

from .support import ANNA, BO, World, read

TICKET = Ticket("k-1", ("vs_s_app", "vs_s_crm"), "0f" * 32)
PRINTABLE = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


class Database:
    """Notes what it is asked to vouch for."""

    def __init__(self, ticket: Ticket = TICKET) -> None:
        self.ticket, self.seen = ticket, []  # type: ignore[var-annotated]

    def __call__(self, grant: Grant) -> Ticket:
        self.seen.append(Claims.of(grant).json)
        return self.ticket


def strict(world: World, database: Database) -> Issuer:
    return Issuer(world.keys, world.policy, "vaultstore", world.clock, database)


def without_ticket(grant: Grant) -> str:
    bare = {name: getattr(grant, name) for name in Grant.__slots__ if name != "ticket"}
    return Claims.of(Grant(**bare)).json


def test_the_ticket_reaches_the_grant(world: World) -> None:
    token = strict(world, Database()).issue(Actor("u-17", "matchmaker", {"store": "sh-01"}), "sales.outreach")
    assert read(token)[1]["ticket"] == {"kid": "k-1", "logins": ["vs_s_app", "vs_s_crm"], "mac": "0f" * 32}
    assert world.verifier.verify(token).ticket == TICKET
    assert '"mac": "0f0f' in Claims.of(world.verifier.verify(token)).json


def test_without_a_ticketer_there_is_none(world: World) -> None:
    assert world.verifier.verify(world.token()).ticket is None


@given(
    actor=PRINTABLE,
    attributes=st.dictionaries(NAMES, PRINTABLE, max_size=8),
    subjects=st.lists(st.uuids(), min_size=1, max_size=8, unique=True),
    case=PRINTABLE,
    seconds=st.integers(1, 900),
    ahead=st.integers(0, 999_999),
)
def test_what_the_database_vouches_for_is_what_the_gate_reads(
    actor: str, attributes: dict[str, str], subjects: list[uuid.UUID], case: str, seconds: int, ahead: int
) -> None:
    world, database = World(), Database()
    world.later(microseconds=ahead)
    issuer = strict(world, database)
    token = issuer.issue(
        Actor(actor, "care_agent", attributes), "care.complaint", subjects, case, timedelta(seconds=seconds)
    )
    assert database.seen == [without_ticket(world.verifier.verify(token))]


def test_the_order_of_attributes_and_subjects_is_that_of_the_signed_bytes(world: World) -> None:
    database = Database()
    issuer = strict(world, database)
    actor = Actor("u-3", "care_agent", {"z": "1", "a": "2", "店": "3"} | {"m": "4"})
    with pytest.raises(IssueDenied):  # a name that is no identifier: never asked of the database
        issuer.issue(actor, "care.complaint", [BO, ANNA], "c-1")
    assert database.seen == []
    token = issuer.issue(Actor("u-3", "care_agent", {"z": "1", "a": "2"}), "care.complaint", [BO, ANNA], "c-1")
    assert database.seen == [without_ticket(world.verifier.verify(token))]
    assert database.seen[0].index('"a"') < database.seen[0].index('"z"')


def test_a_denied_token_is_never_asked_a_ticket_for(world: World) -> None:
    database = Database()
    with pytest.raises(IssueDenied):
        strict(world, database).issue(Actor("u", "care_agent"), "sales.outreach")
    assert database.seen == []
    assert world.keys.signed == 0


@pytest.mark.parametrize(
    "ticket",
    [
        Ticket("", ("vs_s_app",), "0f" * 32),
        Ticket("k", (), "0f" * 32),
        Ticket("k", ("a", "a"), "0f" * 32),
        Ticket("k", ("a",), "0f"),
        Ticket("k", ("x" * 64,), "0f" * 32),
    ],
)
def test_a_ticket_that_no_verifier_would_take_is_not_signed(world: World, ticket: Ticket) -> None:
    with pytest.raises(KeyServiceRefused, match="the database made a ticket that would be refused") as refused:
        strict(world, Database(ticket)).issue(Actor("u", "matchmaker"), "sales.outreach")
    assert "0f" not in str(refused.value)
    assert world.keys.signed == 0


def test_a_database_that_is_down_lets_nothing_be_signed(world: World) -> None:
    def down(grant: Grant) -> Ticket:
        raise KeyServiceUnavailable("no ticket")

    with pytest.raises(KeyServiceUnavailable):
        Issuer(world.keys, world.policy, "vaultstore", world.clock, down).issue(
            Actor("u", "matchmaker"), "sales.outreach"
        )
    assert world.keys.signed == 0


def test_a_hundred_subjects_fit_beside_a_ticket_and_a_service(world: World) -> None:
    database = Database(Ticket(str(uuid.uuid4()), tuple(f"vs_s_{n}_{'x' * 54}" for n in range(6)), "0f" * 32))
    named = [uuid.uuid4() for _ in range(100)]
    actor = Actor(str(uuid.uuid4()), "matchmaker", {"store": "上海一店", "city": "上海"})
    token = strict(world, database).issue(actor, "sales.outreach", named, "case-" + "9" * 36, act="crm")
    grant = world.verifier.verify(token)
    assert grant.subjects == tuple(named)
    assert grant.ticket == database.ticket


def test_the_service_that_asked_stands_in_the_token(world: World) -> None:
    token = world.issuer.issue(Actor("u-17", "matchmaker"), "sales.outreach", act="crm")
    assert read(token)[1]["act"] == {"sub": "crm"}
    assert world.verifier.verify(token).actor.id == "u-17"
    with pytest.raises(IssueDenied, match="'act'"):
        world.issuer.issue(Actor("u-17", "matchmaker"), "sales.outreach", act="")


def test_no_repr_shows_a_mac(world: World) -> None:
    token = strict(world, Database()).issue(Actor("u-17", "matchmaker"), "sales.outreach")
    grant = world.verifier.verify(token)
    assert "0f0f" not in repr(grant) + repr(grant.ticket) + repr(Claims.of(grant))

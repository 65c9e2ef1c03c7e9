"""A sales process is taken over: its database login, its users' tokens, raw SQL and raw HTTP, and none of our Python.

It gets no wrap without a committed entry within its limits, and no phone number and no chat at all. What it does get,
its own cards, stands in the audit log. Default mode believes its login about who acts; strict mode does not.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.integration.security.deployment import MANAGER, RELAY, Town, seller, town
from tests.support.profiles import MATCHMAKER
from vaultstore import Actor
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration

CARD, NUMBER = "sales_card", "contact"


@pytest.fixture(scope="module", params=["default", "strict"])
def place(request: pytest.FixtureRequest, openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=request.param == "strict") as made:
        yield made


# ------------------------------------------------------------------------------------------- wraps take an entry


def test_what_it_may_see_it_gets_and_it_stands_in_the_log(place: Town) -> None:
    [one] = place.members(1, lead=True)
    thief = place.thief()
    refs = place.refs(one, CARD)
    wraps = thief.take(refs)
    assert len(wraps) == len(refs) > 0
    assert thief.unwrap(thief.vault(), refs[0], wraps[0])
    assert (MATCHMAKER.id, one) in place.disclosed(thief.login)


def test_no_wrap_without_an_entry(place: Town) -> None:
    [one] = place.members(1)
    thief = seller(place)
    refs = place.refs(one, CARD)
    for entry in (str(uuid.uuid4()), "", None, "%", "' OR true --"):
        assert thief.wraps(entry, refs) == []
    [(any_entry,)] = place.inside("SELECT id FROM vs_entries ORDER BY seq LIMIT 1")  # the registrar's
    assert thief.wraps(any_entry, refs) == []
    for table in ("vs_keyring", "vs_entries", "vs_subjects"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.connection.execute(f"SELECT count(*) FROM {table}")


def test_no_wrap_before_its_entry_is_committed(place: Town) -> None:
    [one] = place.members(1)
    thief = seller(place)
    refs = place.refs(one, CARD)
    with thief.connect() as open_, thief.connect() as other:
        open_.autocommit = False
        entry = thief.admit([CARD], one, on=open_)["entry"]
        assert thief.wraps(entry, refs, on=open_) == []
        assert thief.wraps(entry, refs, on=other) == []
        open_.rollback()
        assert thief.wraps(entry, refs, on=open_) == []
        open_.rollback()
        open_.execute("SAVEPOINT s")
        entry = thief.admit([CARD], one, on=open_)["entry"]
        open_.execute("ROLLBACK TO SAVEPOINT s")
        open_.commit()
        assert thief.wraps(entry, refs, on=other) == []
        kept = thief.admit([CARD], one, on=open_)["entry"]
        open_.execute("SAVEPOINT s")
        assert thief.wraps(kept, refs, on=open_) == []
        open_.commit()
        assert len(thief.wraps(kept, refs, on=other)) == len(refs)
    assert place.disclosed(thief.login).count((thief.claims["actor"], one)) == 1


def test_no_wrap_of_a_statement_that_admits_and_asks_at_once(place: Town) -> None:
    [one] = place.members(1)
    thief = seller(place)
    [ref] = place.refs(one, CARD)[:1]
    query = (
        "SELECT vs_wraps(%(c)s::jsonb, a.answer ->> 'entry', ARRAY[%(cat)s], %(s)s,"
        " ARRAY[''::bytea], ARRAY[%(k)s::bigint])"
        " FROM (SELECT vs_admit(%(c)s::jsonb, 'Member', ARRAY[%(cat)s], %(s)s, NULL) AS answer OFFSET 0) a"
    )
    values = {"c": json.dumps(thief.claims), "cat": ref[0], "s": ref[1], "k": ref[3]}
    row = thief.connection.execute(query, values).fetchone()
    assert row is not None
    assert row[0]["wraps"] == []


def test_no_wrap_for_another_logins_entry_or_another_tokens(place: Town) -> None:
    [one] = place.members(1)
    relay = place.thief("relay.telephony", RELAY, subjects=[one])
    number = place.refs(one, NUMBER)
    entry = relay.admit([NUMBER], one)["entry"]
    thief = seller(place)
    assert thief.wraps(entry, number) == []
    # Not with everything that the relay knows either: its claims, and its ticket where there is one.
    assert thief.wraps(entry, number, **relay.claims) == []
    assert len(relay.wraps(entry, number)) == len(number)
    card = place.refs(one, CARD)
    mine = thief.admit([CARD], one)["entry"]
    for other in (seller(place), place.thief("sales.manage", MANAGER)):
        assert other.wraps(mine, card) == []
    assert len(thief.wraps(mine, card)) == len(card)


def test_an_entry_covers_its_own_subjects_categories_and_keys_only(place: Town) -> None:
    one, two = place.members(2)
    thief = seller(place)
    entry = thief.admit([CARD], one)["entry"]
    for refs in (place.refs(two, CARD), place.refs(one, NUMBER), place.refs(one, "pool_card")):
        assert refs
        assert thief.wraps(entry, refs) == []
    assert thief.handed == set()


# ------------------------------------------------------------------------------------- nothing but its own purposes


def test_no_phone_number_and_no_chat_is_admitted_under_any_purpose_of_its_own(place: Town) -> None:
    one, two = place.members(2, lead=True)
    place.chat(one, two)
    chat = place.refs(one, "conversation")
    assert chat
    actors = {"sales.pool": MATCHMAKER, "sales.outreach": MATCHMAKER, "sales.manage": MANAGER}
    for purpose, actor in actors.items():
        thief = place.thief(purpose, actor)
        for model in ("Member", "ChatMessage", "Lead", "members", "", "Member', 'ChatMessage"):
            for category in (NUMBER, "identity", "profile", "conversation", "chat_flags", "browsing", "care_card"):
                answer = thief.admit([category], one, model=model)
                assert answer.get("code") == "not.granted", (purpose, model, category)
                assert thief.wraps(answer["entry"], place.refs(one, category)) == []
        mixed = thief.admit([CARD, NUMBER], one)
        assert thief.wraps(mixed["entry"], [*place.refs(one, NUMBER), *chat]) == []
        pair = chat[0][1] + b"\x01" + chat[0][2]
        both = thief.admit([CARD], one, scopes=pair)
        assert thief.wraps(both["entry"], chat) == []
    assert not {category for category, _ in thief.handed} & {NUMBER, "conversation"}


def test_another_services_purpose_is_refused_whatever_the_claims_say(place: Town) -> None:
    [one] = place.members(1)
    thief = seller(place)
    number = place.refs(one, NUMBER)
    for purpose, role in (
        ("relay.telephony", "telephony"),
        ("registration", "registrar"),
        ("care.complaint", "care_agent"),
    ):
        forged = {"purpose": purpose, "role": role, "pol": place.live.bound.digest(purpose), "subjects": [one.hex]}
        assert thief.admit([NUMBER], one, **forged)["code"] == "login.not_served"
        assert thief.take(number, **forged) == []
    real = place.thief("relay.telephony", RELAY, subjects=[one]).claims
    refused = thief.admit([NUMBER], one, **real)
    assert refused["code"] == "login.not_served"
    [(outcome, login)] = place.inside(
        "SELECT leaf::jsonb ->> 'outcome', login FROM vs_entries WHERE id = %s", refused["entry"]
    )
    assert (outcome, login) == ("refused:login.not_served", thief.login)


def test_the_role_the_digest_and_the_time_of_a_purpose_are_held(place: Town) -> None:
    [one] = place.members(1)
    thief = seller(place)
    past = datetime.now(UTC) - timedelta(seconds=5)
    codes = {
        "role": thief.admit([CARD], one, role="care_agent")["code"],
        "pol": thief.admit([CARD], one, pol="sha256:" + "0" * 64)["code"],
        "exp": thief.admit([CARD], one, exp=past.isoformat())["code"],
    }
    if place.live.roles.strict:
        assert set(codes.values()) <= {"ticket.invalid", "token.expired"}
    else:
        assert codes == {"role": "not.granted", "pol": "policy.changed", "exp": "token.expired"}


# ----------------------------------------------------------------------------------------------- making keys, searching


def test_no_key_is_minted_for_it_to_learn(place: Town) -> None:
    [one] = place.members(1)
    before = place.refs(one, NUMBER, CARD)
    thief = place.thief("sales.manage", MANAGER)
    claims = json.dumps(thief.claims)
    seal = "SELECT vs_seal(%s::jsonb, %s, %s::text[], %s::text[], '{}', %s, 0)::text"
    mint = (
        "SELECT vs_mint(%s::jsonb, %s, %s, %s::text[], %s, ARRAY[''::bytea], ARRAY[7::bigint], ARRAY['mine'],"
        " '{}', ''::bytea, '{}', '{}')::text"
    )
    entries = [str(uuid.uuid4()), thief.admit([CARD], one)["entry"]]
    for model, sources, categories in (
        ("Member", ["contact"], ["contact"]),
        ("Member", ["contact"], [CARD]),
        ("Member", [], [CARD]),
        ("Lead", [], [CARD]),
        ("Lead", [], []),
        ("Lead", ["contact"], [NUMBER]),
    ):
        answer = thief.call(seal, claims, model, sources, categories, one.bytes)
        assert answer["code"] == "not.granted"
        entries.append(answer["entry"])
    for entry in entries:
        for category in (NUMBER, CARD):
            answer = thief.call(mint, claims, entry, one.bytes, [category], one.bytes)
            assert answer.get("code") == "not.granted"
    assert place.refs(one, NUMBER, CARD) == before


def test_it_can_try_out_no_phone_number(place: Town) -> None:
    thief = seller(place)
    claims = json.dumps(thief.claims)
    for query in (
        "SELECT vs_search(%s::jsonb, 'Member', 'phone', 1)::text",
        "SELECT vs_collide(%s::jsonb, 'Member', 'phone')::text",
        "SELECT vs_found(%s::jsonb, 'any', 1, ''::bytea)::text",
    ):
        answer = thief.call(query, claims)
        assert answer.get("error") == "42501" or answer["code"] == "not.granted"
    names, body = place.live.keys.names, {"input": base64.b64encode(b"+8613800000000").decode()}
    for index in place.live.bound.catalogue.indexes:
        for path in (
            f"hmac/{names.index(index)}",
            f"hmac/{names.index(index)}/sha2-256",
            f"verify/{names.index(index)}",
        ):
            status, _ = place.openbao.request("POST", f"{names.mount}/{path}", body, token=thief.vault())
            assert status == 403
    with thief.role() as cursor, pytest.raises(psycopg.errors.InsufficientPrivilege):
        cursor.execute("SELECT count(*) FROM members WHERE phone_bidx = %s", (bytes(32),))


# ------------------------------------------------------------------------------------------------------ holding it up


def test_a_transaction_that_it_keeps_open_stops_other_services_for_the_members_it_names_only(place: Town) -> None:
    """Denial of service: the gate's locks last as long as the transaction. Nobody sees more for it."""
    held, free = place.members(2)
    thief, relay = seller(place), place.thief("relay.telephony", RELAY, subjects=[held])
    with thief.connect() as open_:
        open_.autocommit = False
        thief.admit([CARD], held, on=open_)
        relay.connection.execute("SET lock_timeout = '300ms'")
        began = time.monotonic()
        assert relay.admit([NUMBER], held) == {"error": "55P03"}
        assert time.monotonic() - began < 30
        other = place.thief("relay.telephony", Actor("relay-2", "telephony", {}), subjects=[free])
        other.connection.execute("SET lock_timeout = '5s'")
        assert "error" not in other.admit([NUMBER], free)
        open_.rollback()
    assert "error" not in relay.admit([NUMBER], held)

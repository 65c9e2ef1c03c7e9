"""A strict database believes no setting: claims take a ticket that the issuer had made, at the gate and for rows."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.postgres_login import PRIVILEGE, claims, connected, engine_of, running, state_of, ticket
from tests.support.postgres_plane import PostgresWorld, bind
from tests.support.postgres_store import ME, applied_store
from vaultstore import errors
from vaultstore.canonical import canonical_json
from vaultstore.gate.claims import Claims
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.gate.refusals import ENDED, refusal
from vaultstore.grants import Ticket
from vaultstore.records.plane import CLAIMS, RolePlane
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

POLICY = bind()


@pytest.fixture(scope="module")
def store(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=True) as world:
        yield world


def outreach(store: PostgresWorld, *services: str, **more: Any) -> Claims:
    """Claims of sales.outreach as the issuer has them, with a ticket for the logins of these services."""
    return sealed(store, claims("sales.outreach", digest=POLICY.digest("sales.outreach"), **more), *services)


def sealed(store: PostgresWorld, bare: Claims, *services: str) -> Claims:
    return replace(bare, ticket=ticket(store, bare, *(services or ("crm",))))


def checked(store: PostgresWorld, said: Claims, service: str = "crm") -> str | None:
    """What the gate's first step says to a login."""
    with engine_of(store, RolePlane(store.prefix).login(service)) as engine:
        return PostgresLedger(engine).check(said).code


def seen(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM members").fetchone()
    assert row is not None
    return int(row[0])


def rows(store: PostgresWorld, said: Claims | str | None, service: str = "crm", purpose: str = "sales.outreach") -> int:
    with running(store, service, purpose, said) as connection:
        return seen(connection)


def test_a_ticket_of_the_issuer_opens_both(store: PostgresWorld) -> None:
    said = outreach(store)
    assert checked(store, said) is None
    assert rows(store, said) == 2


def test_a_ticket_is_an_hmac_over_every_claim(store: PostgresWorld) -> None:
    said = claims(
        "sales.outreach", subjects=frozenset([ME.bytes]), case="c-1", attributes={"store": "上海", "é": "\\ü"}
    )
    made = ticket(store, said, "crm", "relay")
    with connected(store, "postgres") as connection:
        row = connection.execute(
            "SELECT secret, ((%s::jsonb - 'ticket') || jsonb_build_object('kid', kid, 'logins', %s::jsonb))::text"
            " FROM vs_ticket_keys WHERE kid = %s",
            [said.json, json.dumps(made.logins), made.kid],
        ).fetchone()
    assert row is not None
    assert len(row[0]) == 32
    assert hmac.new(row[0], row[1].encode(), hashlib.sha256).hexdigest() == made.mac
    assert json.loads(row[1]) == {**json.loads(said.json), "kid": made.kid, "logins": list(made.logins)}


TAMPERED: dict[str, Callable[[Claims], Claims]] = {
    "actor": lambda c: replace(c, actor="u-18"),
    "role": lambda c: replace(c, role="store_manager"),
    "attribute": lambda c: replace(c, attributes={"store": "bj-01"}),
    "no attributes": lambda c: replace(c, attributes={}),
    "another attribute": lambda c: replace(c, attributes={**c.attributes, "city": "x"}),
    "purpose": lambda c: replace(c, purpose="sales.manage"),
    "digest": lambda c: replace(c, digest=POLICY.digest("sales.pool")),
    "jti": lambda c: replace(c, jti="another"),
    "issued at": lambda c: replace(c, issued_at=c.issued_at + timedelta(seconds=1)),
    "expiry": lambda c: replace(c, expires_at=c.expires_at + timedelta(seconds=1)),
    "case": lambda c: replace(c, case="c-1"),
    "subjects": lambda c: replace(c, subjects=frozenset([ME.bytes])),
    "mac": lambda c: replace(c, ticket=replace(_ticket(c), mac=hashlib.sha256(_ticket(c).mac.encode()).hexdigest())),
    "an upper-case mac": lambda c: replace(c, ticket=replace(_ticket(c), mac=_ticket(c).mac.upper() + " ")),
    "no mac": lambda c: replace(c, ticket=replace(_ticket(c), mac="")),
    "kid": lambda c: replace(c, ticket=replace(_ticket(c), kid="another")),
    "logins": lambda c: replace(c, ticket=replace(_ticket(c), logins=(*_ticket(c).logins, "x"))),
    "no logins": lambda c: replace(c, ticket=replace(_ticket(c), logins=())),
    "no ticket": lambda c: replace(c, ticket=None),
}


def _ticket(said: Claims) -> Ticket:
    assert said.ticket is not None
    return said.ticket


@pytest.mark.parametrize("what", TAMPERED)
def test_a_ticket_that_was_tampered_with_shows_nothing_and_opens_nothing(store: PostgresWorld, what: str) -> None:
    said = TAMPERED[what](outreach(store))
    assert checked(store, said) == "ticket.invalid"
    assert rows(store, said) == 0
    assert rows(store, said, purpose="sales.manage") == 0


FORGED = [
    {},
    {"ticket": None},
    {"ticket": "x"},
    {"ticket": []},
    {"ticket": {"kid": None, "logins": None, "mac": None}},
    {"ticket": {"kid": 1, "logins": {}, "mac": 1}},
    {"ticket": {"logins": "all", "mac": ""}},
    {"ticket": {"kid": "", "logins": [], "mac": hashlib.sha256(b"").hexdigest()}},
]


@pytest.mark.parametrize("forged", FORGED, ids=json.dumps)
def test_a_ticket_that_is_none_shows_nothing_and_opens_nothing(store: PostgresWorld, forged: dict[str, Any]) -> None:
    content = json.loads(outreach(store).json) | forged
    if not forged:
        content.pop("ticket")
    text = json.dumps(content)
    assert rows(store, text) == 0
    with running(store, "crm") as connection:
        answer = connection.execute("SELECT vs_check(%s::jsonb) ->> 'code'", [text]).fetchone()
    assert answer == ("ticket.invalid",)


def test_a_mac_under_a_key_of_ones_own_is_none(store: PostgresWorld) -> None:
    said = outreach(store)
    content = {k: v for k, v in json.loads(said.json).items() if k != "ticket"}
    made = _ticket(said)
    body = canonical_json({**content, "kid": made.kid, "logins": list(made.logins)})
    for key in (b"", b"\0" * 32, b"x" * 32):
        forged = replace(said, ticket=replace(made, mac=hmac.new(key, body, hashlib.sha256).hexdigest()))
        assert rows(store, forged) == 0
        assert checked(store, forged) == "ticket.invalid"


def test_a_borrowed_ticket_shows_nothing_and_opens_nothing(store: PostgresWorld) -> None:
    other = sealed(store, claims("sales.pool", digest=POLICY.digest("sales.pool")), "relay", "care-desk")
    assert checked(store, other) == "ticket.invalid"
    assert rows(store, other, purpose="sales.pool") == 0
    stolen = outreach(store)
    assert checked(store, stolen, "relay") == "login.not_served"
    with running(store, "relay", "relay.telephony", stolen) as connection:
        assert seen(connection) == 0
        assert connection.execute("SELECT vs_context(), vs_role(), vs_actor()").fetchone() == (None, None, None)


def test_a_ticket_for_several_logins_holds_for_each(store: PostgresWorld) -> None:
    said = outreach(store, "care-desk", "crm")
    assert checked(store, said) is None
    assert rows(store, said) == 2


def test_an_expired_ticket_shows_nothing_and_opens_nothing(store: PostgresWorld) -> None:
    past = outreach(store, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert checked(store, past) == "token.expired"
    assert rows(store, past) == 0


def test_a_ticket_expires_within_a_transaction_that_is_kept_open(store: PostgresWorld) -> None:
    said = outreach(store, expires_at=datetime.now(UTC) + timedelta(seconds=1.5))
    with running(store, "crm", "sales.outreach", said) as connection:
        assert seen(connection) == 2
        time.sleep(max(0.0, (said.expires_at - datetime.now(UTC)).total_seconds()) + 0.05)
        assert seen(connection) == 0


def test_a_ticket_of_one_purpose_opens_no_other(store: PostgresWorld) -> None:
    said = outreach(store)
    for purpose in ("sales.pool", "sales.manage"):
        with running(store, "crm", purpose, said) as connection:
            assert seen(connection) == 0
            assert connection.execute("SELECT vs_context(), vs_role(), vs_actor()").fetchone() == (None, None, None)
    assert rows(store, said) == 2


def test_a_view_or_function_made_under_one_purpose_takes_that_purposes_ticket(store: PostgresWorld) -> None:
    pool = sealed(store, claims("sales.pool", digest=POLICY.digest("sales.pool")))
    manage = claims("sales.manage", digest=POLICY.digest("sales.manage"), role="store_manager")
    with running(store, "crm", "sales.manage", sealed(store, manage)) as connection:
        assert seen(connection) == 4
        connection.execute("CREATE TEMP VIEW of_manage AS SELECT id, phone_sales_card FROM members")
        connection.execute(
            "CREATE FUNCTION pg_temp.of_manage() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS"
            " 'SELECT count(phone_sales_card) FROM public.members'"
        )
        connection.execute("GRANT SELECT ON of_manage TO PUBLIC")
        assert connection.execute("SELECT count(*), pg_temp.of_manage() FROM of_manage").fetchone() == (4, 4)
        connection.execute("SELECT set_config('role', %s, true)", [f"{store.prefix}p_sales.pool"])
        connection.execute("SELECT set_config(%s, %s, true)", [CLAIMS, pool.json])
        assert seen(connection) == 4
        assert connection.execute("SELECT count(*), pg_temp.of_manage() FROM of_manage").fetchone() == (0, 0)


def test_a_scope_view_takes_the_ticket_of_a_purpose_that_it_is_for(store: PostgresWorld) -> None:
    with connected(store, "postgres") as connection:
        view = connection.execute("SELECT relname FROM pg_class WHERE relname ~ 'scope_claimed_by_actor'").fetchone()
    assert view is not None
    said = outreach(store)
    for given, count in ((said, 2), (replace(said, ticket=None), 0), (replace(said, actor="u-18"), 0)):
        with running(store, "crm", "sales.outreach", given) as connection:
            assert connection.execute(f"SELECT count(*) FROM {view[0]}").fetchone() == (count,)


def test_writes_take_a_ticket_too(store: PostgresWorld) -> None:
    bare = claims("sales.manage", digest=POLICY.digest("sales.manage"), role="store_manager")
    for given, count in ((bare, 0), (sealed(store, bare), 4)):
        with running(store, "crm", "sales.manage", given) as connection:
            assert (connection.execute("UPDATE leads SET state = state").rowcount > 0) == (count > 0)
            new = "VALUES (gen_random_uuid(), %(id)s::uuid, 'u-1', 'sh-01', 'returned', now(), now())"
            tried = state_of(connection, f"INSERT INTO leads {new}", {"id": ME})
            assert tried == (None if count else PRIVILEGE)


def test_older_keys_verify_until_they_are_deleted(store: PostgresWorld) -> None:
    old = outreach(store)
    with connected(store, "postgres") as connection:
        kid = connection.execute("SELECT vsx_new_ticket_key()").fetchone()
        connection.commit()
    new = outreach(store)
    assert _ticket(new).kid == (kid and kid[0])
    assert _ticket(new).kid != _ticket(old).kid
    assert [rows(store, said) for said in (old, new)] == [2, 2]
    assert [checked(store, said) for said in (old, new)] == [None, None]
    store.execute(f"DELETE FROM vs_ticket_keys WHERE kid = '{_ticket(old).kid}'")
    assert [rows(store, said) for said in (old, new)] == [0, 2]
    assert [checked(store, said) for said in (old, new)] == ["ticket.invalid", None]


def test_nobody_but_the_issuer_has_tickets_made(store: PostgresWorld) -> None:
    said = claims("sales.outreach")
    for service in POLICY.services:
        refused = pytest.raises(errors.SettingsError, match="may not have tickets made")
        with engine_of(store, RolePlane(store.prefix).login(service)) as engine, refused:
            PostgresLedger(engine).ticket(said, ["x"])
        with running(store, service) as connection:
            for name in ("vsx_hmac", "vsx_ticket_mac", "vsx_new_ticket_key", "vsx_ticket_holds", "vs_ticket"):
                row = connection.execute("SELECT has_function_privilege(%s::regproc, 'EXECUTE')", [name]).fetchone()
                assert row == (False,)


def test_a_refusal_is_audited_under_the_login_that_asked(store: PostgresWorld) -> None:
    said = replace(outreach(store), actor="u-forged")
    assert checked(store, said) == "ticket.invalid"
    with connected(store, "postgres") as connection:
        row = connection.execute(
            "SELECT leaf::jsonb, login, actor FROM vs_entries ORDER BY seq DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    assert (row[0]["outcome"], row[2], row[1]) == (
        "refused:ticket.invalid",
        "u-forged",
        f"{store.prefix}s_crm",
    )


@pytest.mark.parametrize("code", ["ticket.invalid", "login.not_served"])
def test_both_refusals_end_a_grant_and_say_what_to_do(code: str) -> None:
    error = refusal(code, claims("sales.outreach"), "use", "anything")
    assert type(error) is {"ticket.invalid": errors.TokenInvalid, "login.not_served": errors.AccessDenied}[code]
    assert "sales.outreach" in str(error)
    assert code in ENDED


VERBS = {
    "admit": lambda ledger, said: ledger.admit(said, "Member", ["sales_card"], [ME.bytes]).code,
    "seal": lambda ledger, said: ledger.admit_seal(said, "Member", ["contact"], ["contact"], [], [ME.bytes]).code,
    "search": lambda ledger, said: ledger.search(said, "Member", "phone", 1).code,
    "collide": lambda ledger, said: ledger.collide(said, "Member", "phone").code,
    "approve": lambda ledger, said: ledger.approve(said, "r-1").code,
    "found": lambda ledger, said: ledger.found(said, "e-1", 1, [ME.bytes]).code,
    "check": lambda ledger, said: ledger.check(said).code,
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_takes_claims_without_a_ticket_or_of_another_services_purpose(store: PostgresWorld, verb: str) -> None:
    ledger = PostgresLedger(store.engine)  # the superuser may call every function, and needs a ticket like everybody
    assert VERBS[verb](ledger, claims("sales.outreach")) == "ticket.invalid"
    with connected(store, "postgres") as connection:
        login = RolePlane(store.prefix).login("relay")
        everything = "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO"
        connection.execute(f'{everything} "{login}"')
        connection.commit()
    try:
        with engine_of(store, login) as engine:
            assert VERBS[verb](PostgresLedger(engine), outreach(store, "relay")) == "login.not_served"
    finally:
        store.plane(strict=True).apply()


def test_wraps_of_an_entry_take_the_ticket_again(store: PostgresWorld) -> None:
    care = claims(
        "relay.telephony", digest=POLICY.digest("relay.telephony"), role="telephony", subjects=frozenset([ME.bytes])
    )
    said = sealed(store, care, "relay")
    store.execute(
        "INSERT INTO vs_subjects (subject, state, number, created_at, changed_at)"
        f" VALUES ('{ME}', 'active', 0, now(), now()) ON CONFLICT DO NOTHING",
        "INSERT INTO vs_consents (subject, kind, notice_version, granted_at)"
        f" VALUES ('{ME}', 'matchmaking', '1', now() - interval '1 day')",
    )
    ref = ("contact", ME.bytes, b"", 7)
    with engine_of(store, RolePlane(store.prefix).login("relay")) as engine:
        ledger = PostgresLedger(engine)
        admitted = ledger.admit(said, "Member", ["contact"], [ME.bytes])
        assert admitted.code is None
        assert not admitted.refused
        bare = replace(said, ticket=None)
        refused = ledger.hand_out(bare, admitted.entry, [ref])
        assert (refused.code, list(refused.wraps)) == ("ticket.invalid", [])
        assert [wrap.wrapped for wrap in ledger.hand_out(said, admitted.entry, [ref]).wraps] == ["wrap-7"]

"""Raw SQL against the functions of key upkeep: a wrap leaves for a committed entry of who keeps keys only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import select

from tests.support.applied import BOSS, Person, applied
from tests.support.applied import POLICY as OFFICE
from tests.support.postgres_login import PRIVILEGE, claims, connected, running, state_of
from tests.support.postgres_plane import PostgresWorld, bind
from tests.support.postgres_store import applied_store, number
from vaultstore import Actor
from vaultstore.errors import AccessDenied
from vaultstore.gate.claims import Claims
from vaultstore.records.plane import RolePlane
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

POLICY = bind()
FUNCTIONS = {
    "rotate": "SELECT vs_rotate(%(claims)s::jsonb, 'contact')",
    "state": "SELECT vs_key_state(%(claims)s::jsonb)",
    "ranges": "SELECT vs_rewrap_ranges(%(claims)s::jsonb, 'contact', 2, 4)",
    "rewrap": "SELECT vs_rewrap(%(claims)s::jsonb, 'contact', 2, %(low)s, '', -1, NULL, NULL, NULL, 100)",
    "page": "SELECT vs_rewrap_page(%(claims)s::jsonb, %(entry)s)",
    "rewrapped": "SELECT vs_rewrapped(%(claims)s::jsonb, %(entry)s, 'contact', %(subject)s::bytea, ARRAY[''::bytea],"
    " ARRAY[1::bigint], ARRAY['vault:v1:old'], ARRAY['vault:v2:new'])",
    "retire": "SELECT vs_retire(%(claims)s::jsonb, 'contact', 2)",
}


@pytest.fixture(scope="module")
def store(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=False) as world:
        yield world


@pytest.fixture(autouse=True)
def keyring(store: PostgresWorld) -> None:
    store.execute("DELETE FROM vs_keyring", "DELETE FROM vs_key_versions")
    for n in (1, 2, 3):
        for category in ("contact", "identity"):
            store.execute(
                "INSERT INTO vs_keyring (subject, category, scope, key_id, wrapped, minted_by, minted_at)"
                f" VALUES ('{number(n)}', '{category}', '', 1, 'vault:v1:old', 'registration', now())"
            )


def keeper(**changes: Any) -> Claims:
    name = "maintenance.keys"
    return claims(name, "operator-1", role="operator", attributes={}, digest=POLICY.digest(name), **changes)


def ask(connection: psycopg.Connection[Any], name: str, said: Claims, entry: str = "") -> Any:
    values = {"claims": said.json, "entry": entry, "low": uuid.UUID(int=0), "subject": number(1).bytes}
    row = connection.execute(FUNCTIONS[name], values).fetchone()
    assert row is not None
    return row[0]


def committed(store: PostgresWorld, name: str, said: Claims, entry: str = "") -> Any:
    with connected(store, RolePlane(store.prefix).login("key-upkeep")) as connection:
        answer = ask(connection, name, said, entry)
        connection.commit()
    return answer


def live(store: PostgresWorld, category: str = "contact") -> set[str]:
    with connected(store, "postgres") as connection:
        rows = connection.execute("SELECT wrapped FROM vs_keyring WHERE category = %s", [category])
        return {row[0] for row in rows}


def test_a_page_goes_out_for_its_committed_entry_and_the_same_one_whenever_it_is_asked_for(
    store: PostgresWorld,
) -> None:
    said = keeper()
    told = committed(store, "rewrap", said)
    assert told["keys"] == 3
    pages = [committed(store, "page", said, told["entry"]) for _ in range(2)]
    assert pages[0] == pages[1]
    assert [row[0] for row in pages[0]["rows"]] == [number(n).hex for n in (1, 2, 3)]
    assert {row[3] for row in pages[0]["rows"]} == {"vault:v1:old"}


def test_an_entry_that_is_not_committed_or_was_rolled_back_hands_nothing_out(store: PostgresWorld) -> None:
    said = keeper()
    with connected(store, RolePlane(store.prefix).login("key-upkeep")) as connection:
        entry = ask(connection, "rewrap", said)["entry"]
        assert ask(connection, "page", said, entry)["rows"] == []
        connection.rollback()
        assert ask(connection, "page", said, entry)["rows"] == []
        with connection.transaction():
            entry = ask(connection, "rewrap", said)["entry"]
            with connection.transaction():
                assert ask(connection, "page", said, entry)["rows"] == []


def test_a_page_is_of_the_grant_that_asked_for_it_and_of_no_other_entry(store: PostgresWorld) -> None:
    said = keeper()
    entry = committed(store, "rewrap", said)["entry"]
    for other in (keeper(), replace(said, actor="operator-2")):
        assert committed(store, "page", other, entry)["rows"] == []
    rotated = committed(store, "rotate", said)["entry"]
    assert committed(store, "page", said, rotated)["rows"] == []
    assert committed(store, "page", said, "no such entry")["rows"] == []


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("service", [name for name in sorted(POLICY.services) if name != "key-upkeep"])
def test_no_other_service_may_call_them_at_all(store: PostgresWorld, service: str, name: str) -> None:
    entry = committed(store, "rewrap", keeper())["entry"]
    values = {"claims": keeper().json, "entry": entry, "low": uuid.UUID(int=0), "subject": number(1).bytes}
    with running(store, service) as connection:
        assert state_of(connection, FUNCTIONS[name], values) == PRIVILEGE
    for purpose in POLICY.services[service].purposes:
        with running(store, service, purpose) as connection:
            assert state_of(connection, FUNCTIONS[name], values) == PRIVILEGE


@pytest.mark.parametrize("name", FUNCTIONS)
def test_under_another_purpose_they_are_refused_to_who_may_call_them(store: PostgresWorld, name: str) -> None:
    entry = committed(store, "rewrap", keeper())["entry"]
    before = live(store)
    for purpose, role in (("sales.pool", "matchmaker"), ("maintenance.projection", "operator")):
        said = claims(purpose, role=role, digest=POLICY.digest(purpose))
        assert committed(store, name, said, entry)["code"] == "login.not_served"
    assert live(store) == before


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"digest": "sha256:" + "0" * 64}, "policy.changed"),
        ({"role": "matchmaker"}, "not.granted"),
    ],
)
def test_a_grant_that_is_not_live_is_refused(
    store: PostgresWorld, name: str, changes: dict[str, Any], code: str
) -> None:
    said = keeper()
    entry = committed(store, "rewrap", said)["entry"]
    answer = committed(store, name, replace(said, **changes), entry)
    assert answer["code"] == code
    assert not {"rows", "cuts", "wraps", "replaced"} & answer.keys()
    late = replace(said, expires_at=said.issued_at - timedelta(minutes=1))
    assert committed(store, name, late, entry)["code"] == "token.expired"


def test_a_wrap_is_replaced_where_it_stands_and_only_by_a_later_version_of_its_kind(store: PostgresWorld) -> None:
    said = keeper()
    entry = committed(store, "rewrap", said)["entry"]
    assert committed(store, "rewrapped", keeper(), entry)["code"] == "not.granted"
    assert committed(store, "rewrapped", said, "no such entry")["code"] == "not.granted"
    assert live(store) == {"vault:v1:old"}
    assert committed(store, "rewrapped", said, entry) == {"replaced": 1}
    assert committed(store, "rewrapped", said, entry) == {"replaced": 0}
    assert live(store) == {"vault:v1:old", "vault:v2:new"}
    assert live(store, "identity") == {"vault:v1:old"}
    query = (
        "SELECT vs_rewrapped(%s::jsonb, %s, %s, %s::bytea, ARRAY[''::bytea], ARRAY[1::bigint], ARRAY[%s], ARRAY[%s])"
    )
    with connected(store, RolePlane(store.prefix).login("key-upkeep")) as connection:
        for category, old, new, expected in (
            ("identity", "vault:v1:old", "vault:v2:new", {"code": "not.granted"}),
            ("contact", "vault:v1:old", "vault:v1:other", {"replaced": 0}),
            ("contact", "vault:v1:old", "local:v2:other", {"replaced": 0}),
            ("contact", "vault:v1:old", "junk", {"replaced": 0}),
            ("contact", "vault:v1:another", "vault:v2:new", {"replaced": 0}),
        ):
            values = [said.json, entry, category, number(2).bytes, old, new]
            row = connection.execute(query, values).fetchone()
            assert row is not None
            assert expected.items() <= row[0].items()


def test_a_version_is_given_up_when_no_live_wrap_is_of_it_and_never_comes_back(store: PostgresWorld) -> None:
    said = keeper()
    assert committed(store, "retire", said)["older"] == {"1": 3}
    store.execute("UPDATE vs_keyring SET wrapped = 'vault:v2:new' WHERE category = 'contact'")
    assert set(committed(store, "retire", said)) == {"entry"}
    with connected(store, "postgres") as connection:
        assert connection.execute("SELECT category, oldest FROM vs_key_versions").fetchall() == [("contact", 2)]
        for wrapped, stale in (("vault:v1:x", True), ("junk", True), ("vault:v2:x", False), ("vault:v10:x", False)):
            query = "SELECT vsx_stale(ARRAY['identity', 'contact'], ARRAY['vault:v1:x', %s])"
            assert connection.execute(query, [wrapped]).fetchone() == (stale,)


def test_a_writer_that_is_not_done_holds_a_retirement_up_and_no_other_writer(store: PostgresWorld) -> None:
    store.execute("UPDATE vs_keyring SET wrapped = 'vault:v2:new' WHERE category = 'contact'")
    with connected(store, "postgres") as writer, connected(store, "postgres") as other:
        writer.execute("SELECT vsx_stale(ARRAY['contact'], ARRAY['vault:v1:x'])")
        assert committed(store, "retire", keeper()) == {"busy": True}
        other.execute("SELECT vsx_stale(ARRAY['contact'], ARRAY['vault:v1:x'])")
    assert set(committed(store, "retire", keeper())) == {"entry"}


def test_whose_pages_are_out_is_forgotten_when_they_come_back(store: PostgresWorld) -> None:
    said = keeper()
    store.execute("DELETE FROM vs_rewraps")
    entry = committed(store, "rewrap", said)["entry"]
    with connected(store, "postgres") as connection:
        assert connection.execute("SELECT count(*) FROM vs_rewraps").fetchone() == (1,)
        committed(store, "rewrapped", said, entry)
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM vs_rewraps").fetchone() == (0,)
        connection.rollback()
        committed(store, "rewrap", said)
        connection.execute("UPDATE vs_rewraps SET made_at = made_at - interval '2 hours'")
        connection.commit()
        committed(store, "rewrap", said)
        assert connection.execute("SELECT count(*) FROM vs_rewraps").fetchone() == (1,)


UPKEEP = """\
  upkeep:
    {description: keep keys, label: essential.service.security, basis: legal_obligation, roles: [operator],
     keeps_keys: [rotate, rewrap, retire]}
"""


@pytest.mark.parametrize("strict", [False, True])
def test_the_service_of_key_upkeep_does_all_of_it_under_the_plane_and_no_other_does(
    postgres: PostgresServer, strict: bool
) -> None:
    policy = OFFICE.replace("services:\n", "services:\n  keeper: {description: k, purposes: [upkeep], keeps: [jobs]}\n")
    policy = policy.replace("purposes:\n  enter:", f"purposes:\n{UPKEEP}  enter:")
    with applied(postgres, policy, strict=strict) as place:
        issuing = place.open("issuer", postgres_strict=strict) if strict else place.operator
        office, keeper = place.open("office", postgres_strict=strict), place.open("keeper", postgres_strict=strict)
        with office.begin(issuing.issue(BOSS, "enter")) as session:
            session.add_all(Person(city="Shanghai", phone=f"1381234000{n}") for n in range(5))
        token = issuing.issue(Actor("operator-1", role="operator"), "upkeep")
        assert keeper.keyring.rotate("contact", token) == 2
        [summary] = keeper.keyring.rewrap("contact", token, workers=2)
        assert (summary.done, summary.failed) == (5, 0)
        assert keeper.keyring.retire("contact", token) == 2
        found = {key.category: key.wraps for key in keeper.keyring.status(token)}
        assert (found["contact"], found["profile"], found["card"]) == ({2: 5}, {}, {1: 5})
        for action in (
            lambda: office.keyring.rotate("contact", token),
            lambda: office.keyring.rewrap("contact", token),
            lambda: office.keyring.retire("contact", token),
            lambda: office.keyring.status(token),
        ):
            with pytest.raises(AccessDenied):
                action()
        with office.session(issuing.issue(BOSS, "all")) as session:
            assert sorted(p.phone for p in session.scalars(select(Person))) == [f"1381234000{n}" for n in range(5)]

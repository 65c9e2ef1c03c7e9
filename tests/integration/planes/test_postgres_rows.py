"""Rows under row-level security, for raw SQL under a service's login: scopes, tricks around them, and their plans."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.support.postgres_login import PRIVILEGE, ciphertext, claims, connected, running, state_of, ticket
from tests.support.postgres_plane import PostgresWorld
from tests.support.postgres_store import ME, applied_store, lead, member, number
from vaultstore.gate.claims import Claims
from vaultstore.records.plane import CLAIMS
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

CHECK_VIOLATION, ROW_SECURITY, FOREIGN_KEY = "23514", "42501", "23503"


@pytest.fixture(scope="module")
def store(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=False) as world:
        yield world


def ids(connection: psycopg.Connection[Any], query: str = "SELECT id FROM members") -> list[int]:
    return sorted(row[0].int for row in connection.execute(query))


def me(purpose: str, **more: Any) -> Claims:
    return claims(purpose, str(ME), **{"role": "member", "attributes": {}, **more})


# ---------------------------------------------------------------------------------------------------------- scopes


def test_a_matchmaker_sees_the_members_of_open_leads(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection:
        assert ids(connection) == [3, 5]


def test_a_pool_is_a_store(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.pool", claims("sales.pool")) as connection:
        assert ids(connection) == [1, 2, 3, 4]
    with running(store, "crm", "sales.pool", claims("sales.pool", attributes={"store": "bj-01"})) as connection:
        assert ids(connection) == [5, 6]


@pytest.mark.parametrize("attributes", [{}, {"Store": "sh-01"}, {"store": ""}, {"store": "nowhere' OR true --"}])
def test_an_actor_without_a_store_sees_no_pool(store: PostgresWorld, attributes: dict[str, str]) -> None:
    with running(store, "crm", "sales.pool", claims("sales.pool", attributes=attributes)) as connection:
        assert ids(connection) == []


def test_members_see_themselves_and_what_they_sent_and_received(store: PostgresWorld) -> None:
    with running(store, "member-app", "member.self", me("member.self")) as connection:
        assert ids(connection) == [1]
        assert ids(connection, "SELECT id FROM chat_messages") == [201]
        assert ids(connection, "SELECT id FROM profile_views") == [301]
    with running(store, "member-app", "member.inbox", me("member.inbox")) as connection:
        assert ids(connection, "SELECT id FROM chat_messages") == [202]


@pytest.mark.parametrize("actor", ["u-17", "", str(ME)[:-1], f"{ME} ", "{" + str(ME) + "", "0' OR true --"])
def test_an_actor_whose_id_is_no_uuid_is_nobodys_subject(store: PostgresWorld, actor: str) -> None:
    with running(store, "member-app", "member.self", claims("member.self", actor)) as connection:
        assert ids(connection) == []


def test_a_uuid_without_hyphens_is_the_same_actor(store: PostgresWorld) -> None:
    with running(store, "member-app", "member.self", claims("member.self", ME.hex.upper())) as connection:
        assert ids(connection) == [1]


def test_without_claims_a_scope_shows_nothing(store: PostgresWorld) -> None:
    for said in (None, "", "{}", "[]", "1", "null", '"x"', '{"actor": 7}', '{"attributes": []}', '{"purpose": "x"}'):
        for purpose in ("sales.outreach", "sales.pool", "sales.manage"):
            with running(store, "crm", purpose, said) as connection:
                assert ids(connection) == []
    with running(store, "crm", "sales.pool", "no json") as connection:
        assert state_of(connection, "SELECT id FROM members") == "22P02"


def test_claims_and_role_end_with_their_transaction(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection:
        assert ids(connection) == [3, 5]
        connection.rollback()
        assert state_of(connection, "SELECT id FROM members") == PRIVILEGE
        assert connection.execute("SELECT current_user = session_user, vs_context()").fetchone() == (True, None)


def test_a_purpose_without_a_scope_sees_every_row_of_a_listed_model_and_none_of_others(store: PostgresWorld) -> None:
    with running(store, "registration-service", "registration") as connection:
        assert ids(connection) == [1, 2, 3, 4, 5, 6]
        assert state_of(connection, "SELECT count(*) FROM chat_messages") == PRIVILEGE
    with running(store, "verification", "identity.verification") as connection:
        assert ids(connection) == [1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------------------------------------------------- writes


def insert(connection: psycopg.Connection[Any], n: int, *, returning: str = "") -> str | None:
    row = member(n) | {c: ciphertext() for c in ("name", "phone")}
    columns, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    return state_of(connection, f"INSERT INTO members ({columns}) VALUES ({marks}) {returning}", row)


def test_a_writer_inserts_updates_and_deletes(store: PostgresWorld) -> None:
    with running(store, "registration-service", "registration") as connection:
        assert insert(connection, 50) is None
        assert insert(connection, 50, returning="RETURNING id") is None
        assert insert(connection, 50, returning="RETURNING phone") == PRIVILEGE
        assert insert(connection, 1) == "23505"
        assert insert(connection, 1, returning="ON CONFLICT DO NOTHING") is None
        assert state_of(connection, "UPDATE members SET city = 'x'") is None
        assert state_of(connection, f"UPDATE members SET id = '{number(60)}' WHERE id = '{ME}'") == PRIVILEGE
        assert state_of(connection, "UPDATE members SET phone = 'in clear'") == CHECK_VIOLATION
        assert state_of(connection, f"DELETE FROM members WHERE id = '{number(2)}'") == FOREIGN_KEY


def test_a_write_reaches_no_row_outside_the_scope(store: PostgresWorld) -> None:
    with running(store, "member-app", "member.self", me("member.self")) as connection:
        for statement in ("UPDATE members SET city = 'x'", "UPDATE members SET city = 'x' WHERE id IS NOT NULL"):
            assert connection.execute(statement).rowcount == 1
        assert connection.execute(f"UPDATE members SET city = 'x' WHERE id = '{number(2)}'").rowcount == 0
        assert connection.execute(f"DELETE FROM members WHERE id = '{number(2)}'").rowcount == 0
        assert insert(connection, 70) == ROW_SECURITY


def test_an_update_may_not_push_a_row_out_of_the_scope(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.manage", claims("sales.manage", role="store_manager")) as connection:
        mine = connection.execute("SELECT id FROM leads ORDER BY id").fetchall()
        assert mine
        one = mine[0][0]
        assert state_of(connection, f"UPDATE leads SET actor_id = 'u-18' WHERE id = '{one}'") is None
        assert state_of(connection, f"UPDATE leads SET store = 'bj-01' WHERE id = '{one}'") == ROW_SECURITY
        new = lead(150, 4, "u-17", store="bj-01") | {"state": "returned"}
        columns, marks = ", ".join(new), ", ".join(f"%({name})s" for name in new)
        assert state_of(connection, f"INSERT INTO leads ({columns}) VALUES ({marks})", new) == ROW_SECURITY
        new["store"] = "sh-01"
        assert state_of(connection, f"INSERT INTO leads ({columns}) VALUES ({marks})", new) is None


def test_a_foreign_key_tells_that_a_row_is_there_and_no_more(store: PostgresWorld) -> None:
    # PostgreSQL checks keys past row-level security: who writes leads can ask which ids are members'. Ids are random.
    with running(store, "crm", "sales.manage", claims("sales.manage", role="store_manager")) as connection:
        for of, state in ((6, None), (999, FOREIGN_KEY)):
            new = lead(160, of, "u-17") | {"state": "returned"}
            columns, marks = ", ".join(new), ", ".join(f"%({name})s" for name in new)
            assert state_of(connection, f"INSERT INTO leads ({columns}) VALUES ({marks})", new) == state


# ---------------------------------------------------------------------------------------------------------- tricks


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM members WHERE id IN (SELECT member_id FROM {view})",
        "SELECT m.id FROM members m FULL JOIN members o ON true",
        "WITH all_of AS MATERIALIZED (SELECT id FROM members) SELECT id FROM all_of",
        "SELECT id FROM members UNION SELECT id FROM members",
        "SELECT (SELECT id FROM members m WHERE m.id = members.id) AS id FROM members",
        "SELECT id FROM ONLY members",
        "SELECT id FROM members TABLESAMPLE SYSTEM (100)",
        "SELECT DISTINCT id FROM (SELECT id, count(*) OVER () FROM members) x",
        "SELECT id FROM members WHERE pg_temp.leak(id)",
    ],
)
def test_no_query_sees_more_than_the_scope(store: PostgresWorld, query: str) -> None:
    with running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection:
        view = connection.execute("SELECT relname FROM pg_class WHERE relname ~ 'scope_claimed_by_actor'").fetchone()
        assert view is not None
        connection.execute("CREATE TEMP TABLE seen (id uuid)")
        # Cheap, so that the planner would like to call it first, on every row.
        connection.execute(
            "CREATE FUNCTION pg_temp.leak(id uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS"
            " $$ BEGIN INSERT INTO seen VALUES (id); RETURN true; END $$"
        )
        found = ids(connection, query.replace("{view}", view[0]).replace("member_id", "value"))
        assert set(found) == {3, 5}
        assert set(ids(connection, "SELECT id FROM seen")) <= {3, 5}


def test_row_security_off_is_an_error_and_shows_nothing(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection:
        connection.execute("SET LOCAL row_security = off")
        assert state_of(connection, "SELECT id FROM members") == ROW_SECURITY


def test_copy_gives_the_rows_of_the_scope_and_takes_none(store: PostgresWorld) -> None:
    with (
        running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection,
        connection.cursor().copy("COPY members (id, nickname) TO STDOUT") as copy,
    ):
        assert sorted(row.split(b"\t")[1] for row in map(bytes, copy)) == [b"nick-3\n", b"nick-5\n"]
    with running(store, "registration-service", "registration") as connection:
        assert state_of(connection, "COPY members (id, nickname) FROM STDIN") == "0A000"


def test_a_view_of_ones_own_obeys_the_policies_of_the_purpose_that_made_it(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection:
        connection.execute("CREATE TEMP VIEW mine AS SELECT id, city FROM members")
        assert ids(connection, "SELECT id FROM mine") == [3, 5]
        assert state_of(connection, "SELECT phone FROM members") == PRIVILEGE
        connection.execute("CREATE TEMP VIEW numbers AS SELECT id, phone FROM members")
        assert state_of(connection, "SELECT id FROM numbers") in (None, PRIVILEGE)
        assert state_of(connection, "SELECT phone FROM numbers") == PRIVILEGE


def test_functions_and_tables_of_ones_own_stand_in_for_none_of_ours(store: PostgresWorld) -> None:
    with running(store, "crm", "sales.outreach", claims("sales.outreach")) as connection:
        connection.execute("CREATE TEMP TABLE leads AS SELECT gen_random_uuid() AS member_id")
        connection.execute("CREATE TEMP TABLE vs_plane (prefix text, strict boolean)")
        connection.execute("CREATE FUNCTION pg_temp.vs_actor() RETURNS text LANGUAGE sql AS $$ SELECT 'u-18' $$")
        connection.execute(
            "CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT '{}' $$"
        )
        connection.execute(
            "CREATE FUNCTION pg_temp.same(uuid, uuid[]) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$"
        )
        connection.execute("CREATE OPERATOR pg_temp.= (FUNCTION = pg_temp.same, LEFTARG = uuid, RIGHTARG = uuid[])")
        connection.execute("SET LOCAL search_path = pg_temp, public, pg_catalog")
        assert ids(connection, "SELECT id FROM public.members") == [3, 5]
        assert connection.execute("SELECT public.vs_actor()").fetchone() == ("u-17",)


def test_a_scope_view_shows_the_actors_own_and_takes_no_writing(store: PostgresWorld) -> None:
    with connected(store, "postgres") as connection:
        view = connection.execute("SELECT relname FROM pg_class WHERE relname ~ 'scope_claimed_by_actor'").fetchone()
    assert view is not None
    with running(store, "crm", "sales.outreach", claims("sales.outreach", "u-18")) as connection:
        assert ids(connection, f"SELECT value FROM {view[0]}") == [1]
        assert state_of(connection, f"DELETE FROM {view[0]}") == PRIVILEGE
        assert state_of(connection, "SELECT member_id FROM leads") == PRIVILEGE
    with running(store, "crm", "sales.pool", claims("sales.pool")) as connection:
        assert state_of(connection, f"SELECT value FROM {view[0]}") == PRIVILEGE


def test_forged_claims_show_what_the_logins_own_purposes_may_show_and_no_more(store: PostgresWorld) -> None:
    """Without strict mode the database believes its logins: this is what each mode stops, and what it does not."""
    with running(store, "crm", "sales.outreach", claims("sales.outreach", "u-18")) as connection:
        assert ids(connection) == [1]  # somebody else's leads
        connection.execute("SELECT set_config(%s, %s, true)", [CLAIMS, json.dumps({"attributes": {"store": "bj-01"}})])
        connection.execute("SELECT set_config('role', %s, true)", [f"{store.prefix}p_sales.pool"])
        assert ids(connection) == [5, 6]  # another store's pool
        # still no number, no chat, no wrap, and no purpose of another service
        assert state_of(connection, "SELECT phone FROM members") == PRIVILEGE
        assert state_of(connection, "SELECT body FROM chat_messages") == PRIVILEGE
        assert state_of(connection, "SELECT wrapped FROM vs_keyring") == PRIVILEGE
        assert state_of(connection, f'SET ROLE "{store.prefix}p_relay.telephony"') == PRIVILEGE


# ---------------------------------------------------------------------------------------------------------- plans


@pytest.fixture(scope="module")
def large(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    """20,000 members, 50 of them held as leads."""
    with applied_store(postgres, strict=True) as world:
        world.execute(
            "INSERT INTO members (id, nickname, gender, city, store, grade, created_at, name, phone, phone_bidx)"
            " SELECT gen_random_uuid(), 'n', 'F', 'c', 'st-' || i % 50, 'A', now(),"
            " '\\x01' || sha256(i::text::bytea) || sha256(''), '\\x01' || sha256('') || sha256(''),"
            " sha256(i::text::bytea) FROM generate_series(1, 20000) AS i"
        )
        some = "SELECT gen_random_uuid(), id, 'u-50', 'st-1', 'open', now(), now() + interval '1 day' FROM members"
        some += " WHERE store LIKE 'st-%%'"
        world.execute(
            f"INSERT INTO leads (id, member_id, actor_id, store, state, claimed_at, expires_at) {some} LIMIT 50"
        )
        world.execute("ANALYZE members; ANALYZE leads")
        yield world


def plan(connection: psycopg.Connection[Any], query: str) -> str:
    return "\n".join(row[0] for row in connection.execute(f"EXPLAIN (COSTS OFF) {query}"))


def test_a_page_of_leads_is_found_by_the_index_and_decided_once(large: PostgresWorld) -> None:
    with running(large, "crm", "sales.outreach", claims("sales.outreach", "u-50")) as connection:
        found = plan(connection, "SELECT id, city FROM members ORDER BY id LIMIT 50")
        assert re.search(r"Index Cond: \(id = ANY \(\$\d+\)\)", found)
        assert "(SubPlan" not in found
        assert "InitPlan" in found
        assert "Seq Scan on members" not in found


def test_a_pool_is_found_by_its_stores_index(large: PostgresWorld) -> None:
    with running(large, "crm", "sales.pool", claims("sales.pool")) as connection:
        found = plan(connection, "SELECT id, city FROM members ORDER BY id LIMIT 50")
        assert "ix_members_store" in found
        assert "(SubPlan" not in found


def test_a_blind_index_is_used_under_row_level_security(large: PostgresWorld) -> None:
    for service, purpose in (("care-desk", "care.complaint"), ("registration-service", "registration")):
        with running(large, service, purpose, claims(purpose)) as connection:
            found = plan(connection, "SELECT id FROM members WHERE phone_bidx = sha256('7')")
            assert "ix_members_phone_bidx" in found
            assert "(SubPlan" not in found


def test_a_parallel_plan_asks_for_the_ticket_too(large: PostgresWorld) -> None:
    said = claims("care.intake", role="care_agent")  # leaving restricted members out is no parallel work
    for given, count in ((said, 0), (replace(said, ticket=ticket(large, said, "care-desk")), 20_006)):
        with running(large, "care-desk", "care.intake", given) as connection:
            for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
                connection.execute(f"SET LOCAL {setting}")
            assert "Parallel" in plan(connection, "SELECT count(*) FROM members")
            assert connection.execute("SELECT count(*) FROM members").fetchone() == (count,)

"""A sales process is taken over: what outlives a role, shadows of our names, and what plans and statistics tell."""

from __future__ import annotations

import contextlib
import json
import re

import psycopg
import pytest

from tests.integration.security.deployment import RELAY, Town, seller
from tests.integration.security.raw import OWN, ids, state, state_and_keep
from tests.support.profiles import MATCHMAKER

pytestmark = pytest.mark.integration


# ----------------------------------------------------------------------------------------- what outlives a role change


def test_a_cursor_a_plan_or_a_temporary_table_carries_no_rights_into_another_role(raw_place: Town) -> None:
    thief = raw_place.thief("sales.pool")
    pool, outreach = (raw_place.live.roles.role(p) for p in ("sales.pool", "sales.outreach"))
    with thief.role("sales.pool") as cursor:
        assert state(cursor, "PREPARE cards AS SELECT phone_sales_card FROM members; EXECUTE cards") == "42501"
        cursor.execute("PREPARE everybody AS SELECT id FROM members")
        assert len(cursor.execute("EXECUTE everybody").fetchall()) == 4
        cursor.execute(f'SET LOCAL ROLE "{outreach}"')
        own = raw_place.thief().claims
        cursor.execute("SELECT set_config('vaultstore.claims', %s, true)", (json.dumps(own),))
        assert len(cursor.execute("EXECUTE everybody").fetchall()) == OWN
        cursor.execute("RESET ROLE")
        assert state(cursor, "EXECUTE everybody") == "42501"
        cursor.execute("DEALLOCATE everybody")
    with thief.role("sales.pool") as cursor:
        cursor.execute("DECLARE all_of_them CURSOR FOR SELECT id FROM members")
        cursor.execute(f'SET LOCAL ROLE "{outreach}"')
        # Opened as the pool, it goes on as the pool: never as more than the role that opened it.
        assert {row[0] for row in cursor.execute("FETCH ALL FROM all_of_them").fetchall()} <= set(raw_place.known[:4])
        cursor.execute(f'SET LOCAL ROLE "{pool}"')
        assert state(cursor, "CREATE TEMP TABLE kept AS SELECT phone_sales_card FROM members") == "42501"
        cursor.execute("CREATE TEMP TABLE kept AS SELECT id FROM members")
        cursor.execute("RESET ROLE")
        assert state(cursor, "SELECT * FROM kept") == "42501"
    assert state(thief.connection, "SELECT count(*) FROM members") == "42501"


def test_forged_claims_move_rows_in_default_mode_and_none_in_strict(raw_place: Town) -> None:
    thief = seller(raw_place)
    with thief.role(actor=MATCHMAKER.id) as cursor:
        assert ids(cursor) == (set() if raw_place.live.roles.strict else set(raw_place.known[:OWN]))
    pool = raw_place.thief("sales.pool")
    with pool.role(attributes={"store": "sh-02"}) as cursor:
        assert ids(cursor) == (set() if raw_place.live.roles.strict else set(raw_place.known[4:6]))
    # The claims of one purpose under the role of another: in default mode rows are the role's, and so are columns.
    with pool.role("sales.manage") as cursor:
        seen = ids(cursor)
        assert seen == (set() if raw_place.live.roles.strict else set(raw_place.known[:4]))


@pytest.mark.parametrize(
    "claims", ["", "{", "null", "[]", "0", '"x"', "{}", '{"actor": null}', '{"actor": {"a": 1}}', "[" * 9000]
)
def test_claims_that_are_none_show_no_row(raw_place: Town, claims: str) -> None:
    with raw_place.thief().role() as cursor:
        cursor.execute("SELECT set_config('vaultstore.claims', %s, true)", (claims,))
        with contextlib.suppress(psycopg.DataError, psycopg.OperationalError):
            assert ids(cursor) == set()


# ---------------------------------------------------------------------------------------------------- shadows, oracles


def test_no_name_of_its_own_stands_in_for_ours(raw_place: Town) -> None:
    thief = seller(raw_place)
    shadows = (
        "CREATE TEMP TABLE pg_roles (rolname name, oid oid)",
        "CREATE TEMP TABLE vs_plane (prefix text, strict boolean)",
        "CREATE TEMP TABLE vs_entries (id text)",
        "CREATE DOMAIN pg_temp.uuid AS text",
        "CREATE FUNCTION pg_temp.vs_actor() RETURNS text LANGUAGE sql AS $$ SELECT 'u-17'::text $$",
        'CREATE FUNCTION pg_temp.vs_context() RETURNS jsonb LANGUAGE sql AS $$ SELECT \'{"actor": "u-17"}\'::jsonb $$',
        "CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'u-17'::text $$",
        "CREATE FUNCTION pg_temp.texteq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
        "CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.texteq)",
        "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
    )
    with thief.role() as cursor:
        made = [state_and_keep(cursor, shadow) for shadow in shadows]
        assert made.count("") >= 5
        for path in ("pg_temp, public", "pg_temp, pg_catalog, public", "public, pg_temp"):
            cursor.execute(f"SET LOCAL search_path = {path}")
            rows = cursor.execute("SELECT id FROM public.members").fetchall()
            assert rows == [], path
            told = cursor.execute("SELECT public.vs_actor()").fetchone()
            assert told == (thief.claims["actor"],)
        cursor.execute("RESET ROLE")
        assert state(cursor, "SELECT wrapped FROM public.vs_keyring") == "42501"


def test_a_condition_of_its_own_is_never_asked_about_rows_that_it_does_not_see(raw_place: Town) -> None:
    thief = raw_place.thief()
    heard: list[str] = []
    with thief.role() as cursor:
        cursor.connection.add_notice_handler(lambda notice: heard.append(notice.message_primary or ""))
        cursor.execute(
            "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 IMMUTABLE PARALLEL SAFE"
            " AS $$ BEGIN RAISE NOTICE 'seen %', $1; RETURN true; END $$"
        )
        assert state(cursor, "ALTER FUNCTION pg_temp.tell(text) LEAKPROOF") == "42501"
        for query in (
            "SELECT id FROM members WHERE pg_temp.tell(nickname)",
            "SELECT id FROM members WHERE pg_temp.tell(nickname) OR true",
            "SELECT count(*) FILTER (WHERE pg_temp.tell(nickname)) FROM members",
            "SELECT m.id FROM members m JOIN (VALUES (1)) v (n) ON pg_temp.tell(m.nickname)",
            "SELECT DISTINCT ON (pg_temp.tell(nickname)) id FROM members",
        ):
            cursor.execute(query)
    shown = {
        row[0] for row in raw_place.inside("SELECT nickname FROM members WHERE id = ANY (%s)", raw_place.known[:OWN])
    }
    assert heard
    assert {re.sub("^seen ", "", line) for line in heard} <= shown


def test_errors_tell_nothing_of_rows_that_it_does_not_see(raw_place: Town) -> None:
    [(hidden,)] = raw_place.inside("SELECT nickname FROM members WHERE id = %s", raw_place.known[5])
    with raw_place.thief().role() as cursor:
        for query in (
            "SELECT 1 / (CASE WHEN nickname = %s THEN 0 ELSE 1 END) FROM members",
            "SELECT CASE WHEN nickname = %s THEN nickname::int ELSE 1 END FROM members",
            "SELECT (nickname || %s)::int FROM members WHERE store = 'sh-02'",
        ):
            assert state(cursor, query, hidden) == ""


def test_statistics_and_other_sessions_tell_a_login_nothing(raw_place: Town) -> None:
    thief, relay = raw_place.thief(), raw_place.thief("relay.telephony", RELAY, subjects=[raw_place.known[0]])
    with relay.role("relay.telephony") as busy, thief.role() as cursor:
        busy.execute("SELECT id FROM members WHERE nickname = 'a secret of the relay'")
        seen = cursor.execute(
            "SELECT count(*) FROM pg_stats WHERE tablename IN ('members', 'vs_keyring', 'vs_subjects')"
        )
        assert seen.fetchone() == (0,)
        assert cursor.execute("SELECT count(*) FROM pg_stats_ext").fetchone() == (0,)
        others = cursor.execute("SELECT query FROM pg_stat_activity WHERE usename = %s", (relay.login,)).fetchall()
        assert others
        assert {row[0] for row in others} == {"<insufficient privilege>"}
        for kill in ("pg_terminate_backend", "pg_cancel_backend"):
            assert state(cursor, f"SELECT {kill}(%s)", relay.connection.info.backend_pid) == "42501"


def test_what_a_plan_tells_is_how_many_rows_were_left_out_and_no_value_of_them(raw_place: Town) -> None:
    """Known and accepted: EXPLAIN ANALYZE counts the rows that row security dropped, and a primary key's index says
    whether somebody of this id is there. Clear columns only: those of sealed values can't be named at all.
    """
    with raw_place.thief().role() as cursor:
        plan = cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM members").fetchone()
        assert plan is not None
        text = json.dumps(plan[0])
    assert not any(str(member) in text for member in raw_place.known)
    for hidden in raw_place.inside("SELECT nickname FROM members WHERE store = 'sh-02'"):
        assert hidden[0] not in text

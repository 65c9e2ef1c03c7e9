"""vs_wraps and vs_mint, called past our Python: they give nothing without a committed admission of one's own."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.gate import OpenGrant, PostgresLedger
from vaultstore.gate.postgres import _columns
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.scopes import pack_pairs

pytestmark = pytest.mark.integration


def admit(connection: sa.Connection, opened: OpenGrant, *subjects: bytes, category: str = "contact") -> str:
    text = connection.exec_driver_sql(
        "SELECT vs_admit(%s::jsonb, 'Member', %s::text[], %s)::text",
        (opened.claims.json, [category], b"".join(subjects)),
    ).scalar_one()
    entry: str = json.loads(text)["entry"]
    return entry


def wraps(connection: sa.Connection, opened: OpenGrant, entry: str, *refs: KeyRef) -> list[Any]:
    text = connection.exec_driver_sql(
        "SELECT vs_wraps(%s::jsonb, %s, %s::text[], %s, %s::bytea[], %s::bigint[])::text",
        (opened.claims.json, entry, *_columns(refs)),
    ).scalar_one()
    handed: list[Any] = json.loads(text)["wraps"]
    return handed


def test_a_committed_admission_is_handed_its_wraps(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as connection:
        entry = admit(connection, opened, member)
        connection.commit()
        assert len(wraps(connection, opened, entry, pg.refs[member, "contact"])) == 1


def test_nothing_is_handed_out_in_the_admissions_own_transaction(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as connection:
        entry = admit(connection, opened, member)
        assert wraps(connection, opened, entry, pg.refs[member, "contact"]) == []


def test_nothing_is_handed_out_after_a_savepoint_was_released(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as connection:
        with connection.begin(), connection.begin_nested():
            entry = admit(connection, opened, member)
        connection.begin()
        assert wraps(connection, opened, entry, pg.refs[member, "contact"])  # committed by now
    with pg.gate_engine.connect() as connection, connection.begin():
        with connection.begin_nested():
            entry = admit(connection, opened, member)
        assert wraps(connection, opened, entry, pg.refs[member, "contact"]) == []


def test_nothing_is_handed_out_for_an_admission_that_was_rolled_back(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as connection:
        entry = admit(connection, opened, member)
        connection.rollback()
        assert wraps(connection, opened, entry, pg.refs[member, "contact"]) == []


def test_nothing_is_handed_out_while_another_transaction_holds_the_admission_open(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as connection, pg.members_engine.connect() as other:
        entry = admit(connection, opened, member)
        assert wraps(other, opened, entry, pg.refs[member, "contact"]) == []


def test_nothing_is_handed_out_after_a_minute(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as connection:
        entry = admit(connection, opened, member)
        connection.exec_driver_sql("ALTER TABLE vs_entries DISABLE TRIGGER ALL")  # it is append-only
        connection.exec_driver_sql("UPDATE vs_entries SET time = time - interval '59 seconds'")
        connection.commit()
        assert wraps(connection, opened, entry, pg.refs[member, "contact"])
        connection.exec_driver_sql("UPDATE vs_entries SET time = time - interval '1 second'")
        connection.commit()
        assert wraps(connection, opened, entry, pg.refs[member, "contact"]) == []


def test_nothing_is_handed_out_beyond_what_was_admitted(pg: World) -> None:
    member, other = pg.members(2, "contact", "identity")
    restricted = pg.member("contact")
    pg.subjects.restrict(restricted, reason="silent")
    opened = pg.open("care")
    with pg.gate_engine.connect() as connection:
        entry = admit(connection, opened, member, restricted)
        connection.commit()
        pg.subjects.lift(restricted, reason="came back")
        for ref in (pg.refs[other, "contact"], pg.refs[member, "identity"], pg.refs[restricted, "contact"]):
            assert wraps(connection, opened, entry, ref) == []


@pytest.mark.parametrize("change", ["jti", "actor", "role", "purpose", "case"])
def test_nothing_is_handed_out_to_another_grant(pg: World, change: str) -> None:
    member, opened = pg.member("contact", by="register"), pg.open("care", jti="mine")
    others = {
        "jti": pg.open("care", jti="other"),
        "actor": pg.open("care", "bob", jti="mine"),
        "role": pg.open("care", role="guest", jti="mine"),
        "purpose": pg.open("register", jti="mine"),
        "case": pg.open("care", jti="mine", case="c-1"),
    }
    with pg.gate_engine.connect() as connection:
        entry = admit(connection, opened, member)
        connection.commit()
        assert wraps(connection, others[change], entry, pg.refs[member, "contact"]) == []
        assert wraps(connection, opened, entry, pg.refs[member, "contact"])


def test_nothing_is_handed_out_to_another_login(pg: World, service: sa.Engine) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with pg.gate_engine.connect() as owner, service.connect() as other:
        entry = admit(owner, opened, member)
        owner.commit()
        assert wraps(other, opened, entry, pg.refs[member, "contact"]) == []
        own = admit(other, opened, member)
        assert len(wraps(other, opened, own, pg.refs[member, "contact"])) == 1
        assert wraps(owner, opened, own, pg.refs[member, "contact"]) == []


def test_a_login_reads_through_the_functions_and_no_table(pg: World, service: sa.Engine) -> None:
    member = pg.member("contact")
    pg.ledger = PostgresLedger(service)
    pg.__post_init__()
    answer = pg.disclose(pg.open("care"), [member], "contact")
    assert len(answer.keys) == 1
    tables = ["vs_keyring", "vs_subjects", "vs_entries", "vs_limits", "vs_charges", "vs_purposes"]
    with service.connect() as connection:
        for statement in [f"SELECT FROM {table}" for table in tables]:
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                connection.exec_driver_sql(statement)


HOW_FAST = {"jit", "lock_timeout", "plan_cache_mode"} | {
    f"enable_{how}" for how in ("bitmapscan", "hashjoin", "mergejoin", "seqscan")
}
"""Settings of functions that decide how long something takes, and nothing else."""


def test_every_function_is_closed_to_the_public_and_fixes_its_search_path(pg: World, service: sa.Engine) -> None:
    query = sa.text(
        "SELECT p.oid::regprocedure::text, p.prosecdef, coalesce(p.proconfig, '{}')"
        " FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
    )
    with pg.gate_engine.connect() as connection:
        functions = connection.execute(query).all()
    assert len(functions) > 20
    with service.connect() as connection:
        for name, definer, settings in functions:
            reachable = name.startswith("vs_")
            inner = name.startswith(("vsx_erase_as_operator(", "vsx_keeper("))  # granted to nobody, or a trigger's
            assert definer == (reachable or inner)
            fixed = definer or name == "vsx_append_only()"  # a trigger, run with its caller's search path
            assert "search_path=pg_catalog, pg_temp" in settings or not fixed
            assert {setting.partition("=")[0] for setting in settings} <= {"search_path", *HOW_FAST}
            allowed = connection.exec_driver_sql(f"SELECT has_function_privilege('{name}', 'EXECUTE')").scalar_one()
            assert allowed == name.startswith(("vs_check(", "vs_admit(", "vs_wraps(", "vs_search(", "vs_found("))


def test_tables_and_functions_of_the_callers_own_deceive_nobody(pg: World, service: sa.Engine) -> None:
    member, opened = pg.member("contact"), pg.open("care", digest="sha256:" + "0" * 64)
    with service.connect() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE vs_purposes (name text, digest text, closure text)")
        connection.exec_driver_sql(
            "INSERT INTO vs_purposes VALUES ('care', 'sha256:' || repeat('0', 64), '{\"roles\": [\"clerk\"]}')"
        )
        connection.exec_driver_sql("CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'")
        connection.exec_driver_sql("SET search_path = pg_temp, public")
        entry = admit(connection, opened, member)
        assert wraps(connection, opened, entry, pg.refs[member, "contact"]) == []
    assert pg.last().content["outcome"] == "refused:policy.changed"


def test_an_old_transaction_does_not_stop_the_clock(pg: World) -> None:
    member = pg.member("contact")
    soon = pg.open("care", ttl=timedelta(seconds=1))
    with pg.gate_engine.connect() as connection:
        connection.exec_driver_sql("SELECT now()")  # its time is before the grant's end, and stays there
        connection.exec_driver_sql("SELECT pg_sleep(1.1)")
        admit(connection, soon, member)
        connection.commit()
    assert pg.last().content["outcome"] == "refused:token.expired"


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_the_gate_decides_by_what_is_committed_and_by_no_older_snapshot(pg: World, level: str) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    with (
        pg.gate_engine.connect().execution_options(isolation_level=level) as connection,
        pytest.raises(sa.exc.DBAPIError, match="use READ COMMITTED"),
    ):
        admit(connection, opened, member)


def test_subjects_named_twice_are_refused(pg: World) -> None:
    member, opened = pg.member("profile"), pg.open("few")
    with pg.gate_engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="once each"):
        admit(connection, opened, member, member, category="profile")


# ------------------------------------------------------------------------------------------------------- minting


def mint(
    connection: sa.Connection, opened: OpenGrant, entry: str, asked: list[bytes], refs: list[KeyRef], *old: KeyRef
) -> dict[str, Any]:
    text = connection.exec_driver_sql(
        "SELECT vs_mint(%s::jsonb, %s, %s, %s::text[], %s, %s::bytea[], %s::bigint[], %s::text[],"
        " %s::text[], %s, %s::bytea[], %s::bigint[])::text",
        (opened.claims.json, entry, b"".join(asked), *_columns(refs), ["wrap"] * len(refs), *_columns(old)),
    ).scalar_one()
    answer: dict[str, Any] = json.loads(text)
    return answer


def sealing(pg: World, opened: OpenGrant, *subjects: bytes) -> str:
    admission = pg.ledger.admit_seal(opened.claims, "Member", ["contact"], ["contact"], [], subjects)
    assert admission.code is None
    return admission.entry


def test_keys_are_minted_for_what_was_admitted_and_for_nothing_else(pg: World) -> None:
    one, other = pg.members(2, "contact")
    opened = pg.open("register")
    entry = sealing(pg, opened, one)
    with pg.members_engine.begin() as connection:
        assert mint(connection, opened, entry, [one], [("contact", one, b"", 7)]) == {}
        refused = {"code": "not.granted"}
        assert mint(connection, opened, entry, [other], [("contact", other, b"", 7)]) == refused
        assert mint(connection, opened, entry, [one], [("contact", other, b"", 7)]) == refused
        assert mint(connection, opened, entry, [], [("contact", one, b"", 8)]) == refused  # held by no lock
        assert mint(connection, opened, entry, [one], [("identity", one, b"", 7)]) == refused
        assert mint(connection, opened, entry, [one], [], ("contact", other, b"", 7)) == refused
        assert mint(connection, pg.open("register"), entry, [one], [("contact", one, b"", 9)]) == refused
        assert mint(connection, opened, "nothing", [one], [("contact", one, b"", 9)]) == refused
    assert pg.rows("vs_keyring") == 3


def test_an_admission_to_read_mints_nothing(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("register")
    entry = pg.ledger.admit(opened.claims, "Member", ["contact"], [member]).entry
    with pg.members_engine.begin() as connection:
        assert mint(connection, opened, entry, [member], [("contact", member, b"", 7)]) == {"code": "not.granted"}


def test_an_admission_to_write_hands_out_no_wraps(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("register")
    entry = sealing(pg, opened, member)
    with pg.gate_engine.connect() as connection:
        assert wraps(connection, opened, entry, pg.refs[member, "contact"]) == []


# -------------------------------------------------------------------------------------------------------- scopes


def admit_chats(connection: sa.Connection, opened: OpenGrant, subjects: list[bytes], scopes: bytes | None) -> str:
    text = connection.exec_driver_sql(
        "SELECT vs_admit(%s::jsonb, 'Message', '{conversation}', %s, %s)::text",
        (opened.claims.json, b"".join(subjects), scopes),
    ).scalar_one()
    connection.commit()
    entry: str = json.loads(text)["entry"]
    return entry


def test_a_login_is_handed_no_key_of_a_conversation_that_its_entry_does_not_name(pg: World, service: sa.Engine) -> None:
    sender, opened = os.urandom(16), pg.open("chats")
    ours, theirs, unscoped = pg.message(sender), pg.message(sender), pg.message(sender, b"")
    with service.connect() as connection:
        for scopes, own in ((pack_pairs([ours[1:3]]), ours), (None, unscoped), (b"", unscoped)):
            entry = admit_chats(connection, opened, [sender], scopes)
            others = [ref for ref in (ours, theirs, unscoped) if ref != own]
            for ref in others:
                before = len(pg.entries("withhold"))
                assert wraps(connection, opened, entry, ref) == []
                assert [told.outcomes() for told in pg.entries("withhold")[before:]] == [{sender: "not.admitted"}]
            assert wraps(connection, opened, entry, *others, own) == []
            assert len(wraps(connection, opened, entry, own)) == 1


def test_pairs_of_strangers_and_repeated_pairs_are_not_kept(pg: World) -> None:
    sender, opened = os.urandom(16), pg.open("chats")
    ref, stranger = pg.message(sender), (os.urandom(16), os.urandom(16))
    with pg.gate_engine.connect() as connection:
        pairs = [ref[1:3], stranger, ref[1:3]]
        entry = admit_chats(connection, opened, [sender], pack_pairs(pairs))
        assert pg.last().scopes == pack_pairs(pairs[:1])
        assert len(wraps(connection, opened, entry, ref, ref)) == 2
        entry = admit_chats(connection, opened, [sender], pack_pairs([stranger]))
        assert pg.last().scopes == b""
        assert wraps(connection, opened, entry, pg.message(sender, b"")) == []


@pytest.mark.parametrize("size", [1, 32, 34, 65])
def test_pairs_of_another_size_are_refused(pg: World, size: int) -> None:
    sender = os.urandom(16)
    pg.message(sender)
    with pg.gate_engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="33 bytes"):
        admit_chats(connection, pg.open("chats"), [sender], (sender * 5)[:size])


def test_a_scope_that_is_null_or_of_another_length_is_no_scope_that_was_admitted(pg: World) -> None:
    sender, opened = os.urandom(16), pg.open("chats")
    ref, unscoped = pg.message(sender), pg.message(sender, b"")
    query = "SELECT vs_wraps(%s::jsonb, %s, %s::text[], %s, %s::bytea[], %s::bigint[])::text"
    with pg.gate_engine.connect() as connection:
        for scopes in (pack_pairs([ref[1:3]]), None):
            entry = admit_chats(connection, opened, [sender], scopes)
            for scope in (None, b"\x00", ref[2] + b"\x00", ref[2][:15]):
                for key_id in (ref[3], unscoped[3]):
                    asked = (opened.claims.json, entry, ["conversation"], sender, [scope], [key_id])
                    answer = json.loads(connection.exec_driver_sql(query, asked).scalar_one())
                    assert answer == {"wraps": [], "refused": [[0, "not.admitted"]]}


def test_a_page_of_a_thousand_conversations_is_handed_out_whole(pg: World) -> None:
    sender, opened = os.urandom(16), pg.open("register")
    needs = [("conversation", sender, os.urandom(16)) for _ in range(1000)]
    refs = pg.seal(opened, needs, model="Message", sources=["conversation"]).minted
    answer = pg.gate.disclose(pg.open("chats"), "Message", ["conversation"], refs)
    assert set(answer.keys) == set(refs)
    assert len(pg.last().scopes or b"") == 33_000

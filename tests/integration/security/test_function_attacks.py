"""Attacks on the gate's functions in PostgreSQL, past our Python: by NULLs, odd values, settings and edited tables."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.errors import TokenInvalid
from vaultstore.gate import OpenGrant
from vaultstore.gate.closure import window_start
from vaultstore.gate.postgres import _columns
from vaultstore.policy.model import Limit

pytestmark = pytest.mark.integration

ADMIT = "SELECT vs_admit(%s::jsonb, 'Member', %s::text[], %s)::text"
WRAPS = "SELECT vs_wraps(%s::jsonb, %s, %s::text[], %s, %s::bytea[], %s::bigint[])::text"


def call(engine: sa.Engine, query: str, *values: object, settings: str = "") -> dict[str, Any]:
    """The function's answer, committed; or {"error"}."""
    with engine.connect() as connection:
        try:
            if settings:
                connection.exec_driver_sql(f"SET {settings}")
            answer = connection.exec_driver_sql(query, values).scalar_one()
            connection.commit()
        except sa.exc.DBAPIError as error:
            return {"error": str(error.orig)}
        finally:
            if settings:
                connection.invalidate()
    return json.loads(answer) if answer else {}


def admitted(pg: World) -> int:
    """Subjects that any entry says were disclosed. Every entry is verified."""
    return sum(entry.content["counts"].get("disclosed", 0) for entry in pg.entries("disclose"))


def test_no_null_in_place_of_an_argument_admits_anybody(pg: World) -> None:
    member, opened = pg.member("contact", "profile"), pg.open("few")
    arguments = [opened.claims.json, ["profile"], member]
    for at in range(3):
        call(pg.gate_engine, ADMIT, *arguments[:at], None, *arguments[at + 1 :])
    for categories in ([None], ["profile", None], [], ["PROFILE"], ["profile', 'contact"]):
        answer = call(pg.gate_engine, ADMIT, opened.claims.json, categories, member)
        assert "error" in answer or answer["code"] == "not.granted"
    assert admitted(pg) == 0
    assert pg.used("few") in ([], [0])


@pytest.mark.parametrize("claim", ["jti", "actor", "role", "attributes", "purpose", "pol", "exp"])
def test_a_claim_that_is_missing_null_or_of_another_type_admits_nobody(pg: World, claim: str) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    whole = json.loads(opened.claims.json)
    odd: list[Any] = [None, {"a": 1}, [], ["clerk"], True]
    for claims in ({k: v for k, v in whole.items() if k != claim}, *({**whole, claim: value} for value in odd)):
        answer = call(pg.gate_engine, ADMIT, json.dumps(claims), ["contact"], member)
        if answer.get("entry") and not answer.get("code"):  # a text made of the value: it is not this grant's
            refs = _columns([pg.refs[member, "contact"]])
            assert call(pg.gate_engine, WRAPS, opened.claims.json, answer["entry"], *refs)["wraps"] == []
    pg.entries()


def test_no_attribute_can_make_an_entry_that_nobody_can_verify(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    whole = json.loads(opened.claims.json)
    for value in (1.5, 1e300, None, {"nested": {"b": 1, "a": 2}}, [1, 2]):
        claims = json.dumps(whole | {"attributes": {"store": value}})
        assert "error" in call(pg.gate_engine, ADMIT, claims, ["contact"], member)
    assert pg.entries("disclose") == []


@pytest.mark.parametrize("needles", [None, -1, -(2**31)])
def test_needles_are_counted_and_not_paid_back(pg: World, needles: int | None) -> None:
    opened = pg.open("lookup")
    query = "SELECT vs_search(%s::jsonb, 'Member', 'phone', %s::int)::text"
    assert "error" in call(pg.gate_engine, query, opened.claims.json, needles)
    assert call(pg.gate_engine, query, opened.claims.json, 2**31 - 1)["code"] == "budget.exhausted"
    assert not call(pg.gate_engine, query, opened.claims.json, 4).get("code")
    assert call(pg.gate_engine, query, opened.claims.json, 1)["code"] == "budget.exhausted"


def test_hits_that_are_null_are_no_entry(pg: World) -> None:
    opened = pg.open("lookup")
    searched = pg.gate.search(opened, "Member", "phone", [b"1"])
    query = "SELECT vs_found(%s::jsonb, %s, %s::int, %s::bytea)::text"
    assert "error" in call(pg.gate_engine, query, opened.claims.json, searched.entry, None, b"")
    assert "error" in call(pg.gate_engine, query, opened.claims.json, searched.entry, 1, None)
    assert pg.entries("found") == []


def test_columns_of_unequal_length_mint_nothing(pg: World) -> None:
    member, opened = os.urandom(16), pg.open("import")
    entry = pg.ledger.admit_seal(opened.claims, "Member", ["contact"], ["contact"], [], [member]).entry
    query = (
        "SELECT vs_mint(%s::jsonb, %s, %s, %s::text[], %s, %s::bytea[], %s::bigint[], %s::text[],"
        " '{}', '', '{}', '{}')::text"
    )
    columns: list[Any] = [["contact"], member, [b""], [7], ["wrap"]]
    for at in range(5):
        for short in ([] if at != 1 else b"", [None] if at != 1 else None):
            given = [*columns[:at], short, *columns[at + 1 :]]
            answer = call(pg.gate_engine, query, opened.claims.json, entry, member, *given)
            assert "error" in answer or answer.get("code") == "not.granted"
    assert pg.rows("vs_keyring") == 0


@pytest.mark.parametrize(
    "settings",
    [
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "datestyle = 'German'",
        "timezone = 'Asia/Tokyo'",
        "bytea_output = 'escape'",
        "array_nulls = off",
        "session_replication_role = replica",
        "row_security = off",
        "synchronous_commit = off",
        "client_encoding = 'LATIN1'",
        "jit_above_cost = 0",
    ],
)
def test_a_callers_settings_change_no_decision_and_no_entry(pg: World, settings: str) -> None:
    one, restricted = pg.members(2, "contact")
    pg.subjects.restrict(restricted, reason="silent")
    opened = pg.open("care", attributes={"city": "Zürich"})
    answer = call(pg.gate_engine, ADMIT, opened.claims.json, ["contact"], one + restricted, settings=settings)
    assert "error" in answer or answer["refused"] == [[1, "subject.restricted"]]
    assert admitted(pg) == (0 if "error" in answer else 1)


def test_an_admission_that_a_crash_could_lose_is_none(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    answer = call(pg.gate_engine, ADMIT, opened.claims.json, ["contact"], member, settings="synchronous_commit = off")
    assert "synchronous_commit" in answer["error"]


# -------------------------------------------------------------------------------------------------- the audit log


def withhold(pg: World, opened: OpenGrant, entry: str, member: bytes, code: str = "subject.restricted") -> None:
    query = "SELECT vs_withhold(%s::jsonb, %s, NULL, %s, %s::text[])::text"
    with contextlib.suppress(KeyError):
        call(pg.gate_engine, query, opened.claims.json, entry, member, [code])


def test_nobody_can_say_that_what_they_were_handed_was_withheld(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("care")
    entry = pg.disclose(opened, [member], "contact").entry
    assert entry is not None
    withhold(pg, opened, entry, member)
    assert pg.entries("withhold") == []


def test_what_is_withheld_is_told_by_the_hand_out_itself_and_of_its_own_subjects_only(pg: World) -> None:
    member, other = pg.members(2, "contact")
    opened = pg.open("care")
    entry = pg.ledger.admit(opened.claims, "Member", ["contact"], [member]).entry
    for subject in (member, other):
        pg.subjects.restrict(subject, reason="silent")
    refs = [pg.refs[member, "contact"], pg.refs[other, "contact"], pg.refs[member, "contact"]]
    assert call(pg.gate_engine, WRAPS, opened.claims.json, entry, *_columns(refs))["wraps"] == []
    (told,) = pg.entries("withhold")
    assert told.outcomes() == {member: "subject.restricted"}
    assert told.content["id"].startswith(entry)


def test_a_withheld_write_is_told_in_codes_only(pg: World) -> None:
    member, opened = pg.member("contact"), pg.open("import")
    entry = pg.ledger.admit_seal(opened.claims, "Member", ["contact"], ["contact"], [], [member]).entry
    for code in ("disclosed", "all is well. really", "", "a.b\nc"):
        withhold(pg, opened, entry, member, code)
    assert pg.entries("withhold") == []
    withhold(pg, opened, entry, member)
    assert len(pg.entries("withhold")) == 1


# ---------------------------------------------------------------------------------------------- an edited database


def test_a_closure_that_was_edited_in_the_database_decides_nothing(pg: World) -> None:
    member, opened = pg.member("identity", by="register"), pg.open("cards")
    with pg.gate_engine.begin() as connection:
        connection.exec_driver_sql(
            'UPDATE vs_purposes SET closure = replace(closure, \'["card"]\', \'["card","identity"]\')'
        )
    with pytest.raises(TokenInvalid):
        pg.disclose(opened, [member], "identity")


def test_no_table_is_read_by_another_login(pg: World, service: sa.Engine) -> None:
    with pg.gate_engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT relname FROM pg_class WHERE relname ~ '^vs_' AND relkind = 'r'")
        tables = list(names.scalars())
    assert len(tables) >= 11
    with service.connect() as connection:
        for table in tables:
            queries = [f"has_any_column_privilege('{table}', '{right}')" for right in ("SELECT", "INSERT", "UPDATE")]
            queries += [f"has_table_privilege('{table}', '{right}')" for right in ("DELETE", "TRUNCATE", "TRIGGER")]
            for query in queries:
                assert connection.exec_driver_sql(f"SELECT {query}").scalar_one() is False


# -------------------------------------------------------------------------------------------------- time zone edges


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("America/Havana", "2023-11-05T04:00"),  # 01:00 becomes 00:00: midnight comes twice
        ("Atlantic/Azores", "2023-10-29T00:00"),
        ("Asia/Amman", "2021-10-28T22:00"),
        ("Asia/Gaza", "2022-10-28T23:00"),
        ("Antarctica/Vostok", "2023-12-17T19:00"),  # by two hours
        ("Asia/Beirut", "2023-10-28T21:00"),  # 00:00 becomes 23:00 of the day before
        ("Asia/Beirut", "2023-03-29T22:00"),  # 00:00 becomes 01:00: there is no midnight
        ("America/Sao_Paulo", "2018-11-04T03:00"),
        ("Pacific/Apia", "2011-12-30T10:00"),  # a day that never was
        ("Asia/Shanghai", "2023-10-28T16:00"),
    ],
)
def test_no_change_of_clocks_makes_a_day_begin_after_now_or_twice(pg: World, zone: str, near: str) -> None:
    start = datetime.fromisoformat(near).replace(tzinfo=UTC) - timedelta(hours=30)
    moments = [start + timedelta(minutes=17 * step) for step in range(230)]
    with pg.gate_engine.connect() as connection:
        query = "SELECT vsx_since('day', %s, m) FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS u (m, at) ORDER BY at"
        told = list(connection.exec_driver_sql(query, (zone, moments)).scalars())
    begins: dict[Any, set[datetime]] = {}
    for moment, since in zip(moments, told, strict=True):
        expected, _ = window_start(Limit(1, "day", "actor"), moment, ZoneInfo(zone))
        assert since == expected - timedelta(microseconds=1)
        assert since < moment
        begins.setdefault(moment.astimezone(ZoneInfo(zone)).date(), set()).add(since)
    assert all(len(found) == 1 for found in begins.values())

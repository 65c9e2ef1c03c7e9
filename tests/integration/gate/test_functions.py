"""The SQL itself: helpers against their Python twins, and the statements as migrations use them."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.gate.world import World
from vaultstore import merkle, records
from vaultstore.canonical import canonical_json
from vaultstore.errors import SettingsError
from vaultstore.gate.closure import window_start
from vaultstore.policy.model import Limit
from vaultstore.records.base import tables_of

pytestmark = pytest.mark.integration

SHARED = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ask(world: World, query: str, *values: object) -> object:
    with world.gate_engine.connect() as connection:
        return connection.exec_driver_sql(query, values).scalar_one()


@SHARED
@given(st.integers(0, 40), st.binary(max_size=8))
def test_roots_are_rfc_6962s(pg: World, count: int, seed: bytes) -> None:
    hashes = [hashlib.sha256(seed + bytes([at])).digest() for at in range(count)]
    assert ask(pg, "SELECT vsx_root(%s::bytea[])", hashes) == merkle.root(hashes)


@SHARED
@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    )
)
def test_objects_are_rfc_8785s(pg: World, content: dict[str, str]) -> None:
    canonical = canonical_json(content).decode()
    assert ask(pg, "SELECT vsx_object(%s::jsonb)", canonical) == canonical


@SHARED
@given(st.binary(max_size=100), st.binary(max_size=200))
def test_hmacs_are_rfc_2104s(pg: World, key: bytes, message: bytes) -> None:
    assert ask(pg, "SELECT vsx_hmac(%s::bytea, %s::bytea)", key, message) == hmac.digest(key, message, "sha256")


@SHARED
@given(st.uuids(), st.sampled_from(["", "-", " ", "x", "{", "urn:uuid:"]))
def test_a_text_is_a_uuid_with_or_without_hyphens(pg: World, value: uuid.UUID, odd: str) -> None:
    for text in (str(value), value.hex, str(value).upper()):
        assert ask(pg, "SELECT vsx_uuid(%s)", text) == value
        assert ask(pg, "SELECT vsx_uuid(%s)", text + odd) == (value if odd in ("", "-") else None)
    assert ask(pg, "SELECT vsx_uuid(%s)", value.hex[1:]) is None


@SHARED
@given(st.integers(0, 2**63 - 1))
def test_numbers_are_little_endian(pg: World, number: int) -> None:
    assert ask(pg, "SELECT vsx_le64(%s)", number) == number.to_bytes(8, "little")


@SHARED
@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_times_are_rfc_3339s(pg: World, moment: datetime) -> None:
    expected = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert ask(pg, "SELECT vsx_time(%s)", moment) == expected


@SHARED
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    st.sampled_from(["day", "1d", "30d", "7h", "90m", "45s"]),
)
def test_windows_begin_where_pythons_do(pg: World, moment: datetime, zone: str, per: str) -> None:
    since, inclusive = window_start(Limit(1, per, "actor"), moment, ZoneInfo(zone))
    with pg.gate_engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL timezone = 'Europe/Berlin'")  # whatever the session says
        told = connection.exec_driver_sql("SELECT vsx_since(%s, %s, %s)", (per, zone, moment)).scalar_one()
    assert told == (since - timedelta(microseconds=1) if inclusive else since)


def test_outcomes_say_what_the_codes_say(pg: World) -> None:
    expected = {
        (): "disclosed",
        (None, None): "disclosed",
        (None, "a"): "partial",
        ("a", "a"): "refused:a",
        ("a", "b"): "refused",
    }
    for codes, outcome in expected.items():
        assert ask(pg, "SELECT vsx_outcome(%s::text[])", list(codes)) == outcome


def test_the_statements_run_again_over_themselves(pg: World) -> None:
    with pg.gate_engine.begin() as connection:
        for statement in records.postgres_functions():
            connection.exec_driver_sql(statement)
    member = pg.member("contact")
    assert pg.disclose(pg.open("care"), [member], "contact").keys


def test_the_statements_fit_another_schema(pg_database: str) -> None:
    engine = sa.create_engine(pg_database)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA vault")
        connection.exec_driver_sql("SET LOCAL search_path = vault")
        records.metadata.create_all(connection, tables=tables_of("postgresql"))
        for statement in records.postgres_functions("vault"):
            connection.exec_driver_sql(statement)
        functions = connection.exec_driver_sql(
            "SELECT proname, prosecdef, proconfig FROM pg_proc WHERE pronamespace = 'vault'::regnamespace"
        ).all()
    engine.dispose()
    definers = {name: settings for name, definer, settings in functions if definer}
    inner = {"vsx_erase_as_operator", "vsx_keeper"}  # granted to nobody, or run by a trigger
    assert set(definers) == {name for name, _, _ in functions if name.startswith("vs_")} | inner
    assert all("search_path=pg_catalog, pg_temp" in settings for settings in definers.values())


@pytest.mark.parametrize("schema", ["Public", "a b", "x;y", "", 'a"'])
def test_a_schema_is_a_plain_name(schema: str) -> None:
    with pytest.raises(SettingsError):
        records.postgres_functions(schema)

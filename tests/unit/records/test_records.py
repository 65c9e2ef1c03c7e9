"""Our tables: where they lie, what they are called, and how they travel."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from vaultstore import records
from vaultstore.records.base import chunks, rfc3339
from vaultstore.records.sqlite import IMMEDIATE


def test_every_table_is_ours_by_name_and_knows_its_file() -> None:
    assert all(table.name.startswith("vs_") for table in records.metadata.sorted_tables)
    members, gate = records.tables("members"), records.tables("gate")
    assert "vs_keyring" in {table.name for table in members}
    assert "vs_entries" in {table.name for table in gate}
    postgres_only = {table.name for table in records.metadata.sorted_tables} - {t.name for t in (*members, *gate)}
    assert postgres_only == {"vs_erasure_rules"}


@pytest.mark.parametrize("table", records.metadata.sorted_tables, ids=str)
def test_ids_are_uuids_on_postgresql(table: sa.Table) -> None:
    text = str(CreateTable(table).compile(dialect=postgresql.dialect()))
    assert ("UUID" in text) == any(isinstance(column.type, records.Id) for column in table.columns)


def test_the_two_files_share_no_table(tmp_path: Path) -> None:
    members = records.configure_sqlite(sa.create_engine(f"sqlite:///{tmp_path / 'members.db'}"))
    gate = records.configure_sqlite(sa.create_engine(f"sqlite:///{tmp_path / 'gate.db'}"))
    for _ in range(2):  # harmless when repeated
        records.create_all(members, gate)
    assert sa.inspect(members).get_table_names() == sorted(table.name for table in records.tables("members"))
    assert sa.inspect(gate).get_table_names() == sorted(table.name for table in records.tables("gate"))
    for engine, name in ((members, "journal_mode"), (gate, "journal_mode")):
        with engine.connect() as connection:
            assert connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
            assert connection.exec_driver_sql("PRAGMA secure_delete").scalar_one() == 1
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    members.dispose()
    gate.dispose()


def test_a_transaction_begins_with_its_first_statement_and_rolls_back_ddl(tmp_path: Path) -> None:
    engine = records.configure_sqlite(sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}"))
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
        connection.rollback()
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_an_immediate_transaction_holds_the_write_lock_before_it_writes(tmp_path: Path) -> None:
    engine = records.configure_sqlite(sa.create_engine(f"sqlite:///{tmp_path / 'x.db'}"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    with engine.execution_options(**{IMMEDIATE: True}).connect() as first, engine.connect() as second:
        first.exec_driver_sql("SELECT * FROM t")
        second.exec_driver_sql("PRAGMA busy_timeout = 0")
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            second.exec_driver_sql("INSERT INTO t VALUES (1)")
    engine.dispose()


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8))]), min_value=datetime(1900, 1, 1)))
def test_times_on_sqlite_have_one_width_sort_and_come_back(moment: datetime) -> None:
    text = rfc3339(moment)
    assert (len(text), text[-1]) == (27, "Z")
    later = moment + timedelta(microseconds=1)
    assert text < rfc3339(later) or later < moment
    kind, dialect = records.Instant(), sa.create_engine("sqlite://").dialect
    assert kind.process_result_value(kind.process_bind_param(moment, dialect), dialect) == moment


@given(st.integers(0, 2500))
def test_pieces_hold_everything_and_come_in_few_sizes(count: int) -> None:
    items = [at.to_bytes(2, "big") for at in range(count)]
    pieces = list(chunks(items))
    assert list(dict.fromkeys(item for piece in pieces for item in piece)) == items
    assert all(len(piece) == 1000 or len(piece) & (len(piece) - 1) == 0 for piece in pieces)


def test_the_functions_hold_no_percent_sign_that_a_driver_would_take_for_a_parameter() -> None:
    statements = records.postgres_functions()
    assert len(statements) > 20
    assert not any("%" in statement or "@schema@" in statement for statement in statements)
    assert all(statement.startswith(("--", "CREATE OR REPLACE FUNCTION", "DO $$")) for statement in statements)


def test_ids_travel_as_bytes() -> None:
    kind, value = records.Id(), os.urandom(16)
    for dialect in (sa.create_engine("sqlite://").dialect, postgresql.dialect()):
        assert kind.process_result_value(kind.process_bind_param(value, dialect), dialect) == value
        assert kind.process_bind_param(None, dialect) is None

"""Making our tables and functions where there is no migration to do it: embedded use and tests."""

from __future__ import annotations

import sqlalchemy as sa

from vaultstore.records import pseudonyms, states
from vaultstore.records.base import metadata, tables, tables_of
from vaultstore.records.log import append_only_triggers
from vaultstore.records.postgres import postgres_functions

__all__ = ["create_all"]


def create_all(members: sa.Engine, gate: sa.Engine) -> None:
    """Make what is missing; harmless when repeated.

    On SQLite the keyring goes into the members' file and the rest into the gate's; on PostgreSQL all are in one
    database, with the gate's functions.
    """
    if members.dialect.name == "postgresql":
        with gate.begin() as connection:
            metadata.create_all(connection, tables=tables_of("postgresql"))
            for statement in postgres_functions():
                connection.exec_driver_sql(statement)
        return
    metadata.create_all(members, tables=tables("members"))
    metadata.create_all(gate, tables=tables("gate"))
    with gate.begin() as connection:
        for statement in (*append_only_triggers(), pseudonyms.make):
            connection.exec_driver_sql(statement)
    states.sync(members, gate)

"""The facts that a database should have: made by a real server, in a scratch schema that is rolled back.

How PostgreSQL writes a policy, a CHECK or a function back is its own affair and differs between versions. So nothing of
it is written down here: the models' tables, the functions and the target's statements are made beside the live ones,
in a savepoint, and their facts are what is expected. Only what can't be cloned is said in words: roles and memberships.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from vaultstore import records
from vaultstore.planes.postgres_facts import Fact, facts
from vaultstore.planes.postgres_operator import join, lent, run
from vaultstore.planes.postgres_target import PostgresTarget
from vaultstore.planes.postgres_text import name as quoted
from vaultstore.records.move_triggers import install

__all__ = ["attributes_of", "expected_facts", "move_triggers", "names_of", "owners_of"]

_AROUND = frozenset({
    "role", "power", "membership", "setting", "database grant", "other grant", "definer function", "event trigger",
    "default grant", "parameter grant", "publication",
})  # fmt: skip
"""Kinds of facts that are the cluster's or the database's: a scratch schema says nothing of them."""


def expected_facts(
    connection: sa.Connection,
    target: PostgresTarget,
    tables: Sequence[sa.Table],
    schema: str,
    *,
    live: Collection[Fact],
    first: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> frozenset[Fact]:
    """The facts that `schema` should have. Leaves nothing behind; `first` are statements that put roles right, `keep`
    the roles that are not ours to put right.

    The connection must be in a transaction; its user needs CREATE on the database and CREATEROLE.
    """
    scratch = f"vs_scratch_{secrets.token_hex(6)}"
    savepoint = connection.begin_nested()
    try:
        run(connection, [*first, *target.cluster_sql(keep)])
        join(connection, owners_of(target))
        run(connection, [f"CREATE SCHEMA {scratch}", *_given(live, scratch, target.plane.prefix)])
        # Types that a model brings itself are the live schema's.
        connection.exec_driver_sql(f"SET LOCAL search_path = {quoted(schema)}, pg_temp")
        run(connection, [f"CREATE SEQUENCE {scratch}.{quoted(each)}" for each in _sequences(target)])
        run(connection, [_table(table, scratch, connection.dialect) for table in tables])
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
        run(connection, records.postgres_functions(scratch))
        run(connection, move_triggers(connection, tables, schema, scratch))
        statements = lent(connection, scratch, owners_of(target), target.schema_sql(scratch))
        run(connection, [*target.reset_sql(scratch), *statements])
        found = facts(connection, scratch, prefix=target.plane.prefix, tables=names_of(target), as_schema=schema)
    finally:
        savepoint.rollback()
    inside = {f for f in found if f.kind not in _AROUND and not f.object.startswith("database ")}
    return frozenset(inside | attributes_of(target) | _logins(connection, target))


def move_triggers(connection: sa.Connection, tables: Sequence[sa.Table], schema: str, into: str) -> list[str]:
    """The statements that make the triggers of running moves, as `vs_moves` of `schema` lists them, in schema `into`.

    Of tables whose models still have the plaintext column: from then on the move is over.
    """
    if not sa.inspect(connection).has_table(records.moves.vs_moves.name, schema):
        return []
    columns = {(table.name, column.name) for table in tables for column in table.columns}
    return [
        statement
        for move in records.moves.moves(connection, schema)
        if {(move.table, move.plain), (move.table, move.sealed)} <= columns
        for statement in install(move, "postgresql", schema=into)
    ]


def _given(live: Collection[Fact], scratch: str, prefix: str) -> list[str]:
    """Who else may enter the live schema may enter the scratch one: that is a matter of the database's users."""
    return [
        f"GRANT USAGE ON SCHEMA {scratch} TO {'PUBLIC' if fact.who == 'PUBLIC' else quoted(fact.who)}"
        for fact in live
        if (fact.kind, fact.detail) == ("schema grant", "USAGE") and not fact.who.startswith(prefix)
    ]


def names_of(target: PostgresTarget) -> list[str]:
    """The relations that are protected: tables, and sequences that models name."""
    return [*target.tables, *target.gate_tables, *_sequences(target)]


def _sequences(target: PostgresTarget) -> list[str]:
    return sorted({sequence for _, _, sequence, _ in target.sequences if sequence is not None})


def owners_of(target: PostgresTarget) -> tuple[str, str]:
    """The roles that own what is in the schema."""
    return target.plane.owner, target.plane.scopes


def attributes_of(target: PostgresTarget) -> frozenset[Fact]:
    """The target's roles and memberships, as facts."""
    roles = {
        Fact("role", role, "", "", f"{'LOGIN' if spec.login else 'NOLOGIN'} NOINHERIT")
        for role, spec in target.roles.items()
    }
    return frozenset(roles | {Fact("membership", role, "", member, "member") for role, member in target.memberships})


def _logins(connection: sa.Connection, target: PostgresTarget) -> set[Fact]:
    """Every login has to get into this database."""
    database = f"database {connection.exec_driver_sql('SELECT current_database()').scalar_one()}"
    return {Fact("effective", database, "", login, "CONNECT") for login, spec in target.roles.items() if spec.login}


def _table(table: sa.Table, schema: str, dialect: sa.Dialect) -> str:
    """A table as its model declares it, without foreign keys and indexes: no right hangs on those."""
    copy = table.to_metadata(sa.MetaData(naming_convention=table.metadata.naming_convention), schema=schema)
    return str(CreateTable(copy, include_foreign_key_constraints=[]).compile(dialect=dialect))

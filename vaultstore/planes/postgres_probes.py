"""Trying what PostgreSQL lets a purpose do: each statement is run, under the login and the role that a session has.

Nothing stays behind: no statement touches a row (``WHERE false``; rights are checked before rows are looked for), and
each purpose's transaction is rolled back.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property

import sqlalchemy as sa

from vaultstore.errors import SettingsError
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.plan import Cell, Probe
from vaultstore.planes.postgres_cells import TableRights, functions_of_login, functions_of_role, rights_on_tables
from vaultstore.planes.postgres_target import PostgresTarget
from vaultstore.planes.postgres_text import name as quoted
from vaultstore.policy.model import Service
from vaultstore.records.plane import CLAIMS

__all__ = ["PostgresProbes"]

_Asked = tuple[Cell, bool, str]
"""A cell, what the policy says, and the statement that tells."""

_SECRETS = (("vs_keyring", "wrapped"), ("vs_ticket_keys", "secret"))

_TRY = """
DO $probe$
DECLARE
    asked text;
    answers text := '';
BEGIN
    FOREACH asked IN ARRAY ARRAY[{statements}]::text[] LOOP
        BEGIN
            EXECUTE asked;
            answers := answers || '1';
        EXCEPTION WHEN insufficient_privilege OR undefined_table OR undefined_column OR undefined_function THEN
            answers := answers || '0';
        END;
    END LOOP;
    PERFORM set_config('vaultstore.answers', answers, true);
END
$probe$
"""

_FUNCTIONS = """
SELECT p.proname, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n) ORDER BY n)
FROM pg_proc p
WHERE p.pronamespace = to_regnamespace(:schema) AND p.proname ~ '^vsx?_' AND p.prorettype <> 'trigger'::regtype
ORDER BY p.oid::regprocedure::text
"""


class PostgresProbes:
    """Every cell of a target in `schema`. The engine's user must be a superuser: it takes the logins' place."""

    def __init__(self, engine: sa.Engine, target: PostgresTarget, models: ModelRegistry, schema: str) -> None:
        self._engine, self._target, self._models, self._schema = engine, target, models, schema
        self._bound, self._plane = target.bound, target.plane

    def run(self) -> Iterator[Probe]:
        """Try every cell: services first, then purpose by purpose. Raises SettingsError where that can't be done."""
        with self._engine.connect() as connection:
            if not connection.exec_driver_sql("SELECT rolsuper FROM pg_roles WHERE rolname = session_user").scalar():
                raise SettingsError("probes take a superuser: they act in the place of every login")
            functions = [(row[0], row[1]) for row in connection.execute(sa.text(_FUNCTIONS), {"schema": self._schema})]
            filled = {each: self._filled(connection, in_sight=each) for each in (True, False)}
            resting = self._resting(connection)
            connection.rollback()
            for service in self._bound.services.values():
                login = self._plane.login(service.name)
                allowed = functions_of_login(self._bound, service.purposes, service.keeps)
                asked = [
                    *self._closed(service),
                    *self._calls(f"service {service.name}", functions, allowed),
                ]
                yield from self._tried(connection, asked, login)
            for name in sorted(self._bound.purposes):
                yield from self._purpose(connection, name, functions, filled, resting)

    def _purpose(
        self,
        connection: sa.Connection,
        name: str,
        functions: Sequence[tuple[str, list[str]]],
        filled: Mapping[bool, frozenset[str]],
        resting: Mapping[str, Sequence[str]],
    ) -> Iterator[Probe]:
        purpose, role = self._bound.purpose(name), self._plane.role(name)
        login = next((self._plane.login(s.name) for s in self._bound.services.values() if name in s.purposes), None)
        tables = rights_on_tables(purpose, self._models)
        asked = [a for table in tables for a in self._columns(name, table)]
        asked += self._gate_tables(name)
        asked += self._calls(name, functions, functions_of_role(purpose))
        yield from self._tried(connection, asked, login, role)
        there = filled[not purpose.requires.sees_restricted]
        rows = [table for table in tables if table.name in there and table.shows_rows is not None]
        rest = [table for table in tables if resting.get(table.name) and table.shows_rows is not None]
        yield from self._rows(connection, name, rows, login, role, [(table, resting[table.name]) for table in rest])

    # ------------------------------------------------------------------------------------------------ the statements

    def _columns(self, purpose: str, table: TableRights) -> Iterator[_Asked]:
        name = self._name(table.name)
        for column in table.columns.values():
            where, quoted_column = f"{table.name}.{column.name}", quoted(column.name)
            yield Cell(purpose, where, "SELECT"), column.select, f"SELECT {quoted_column} FROM {name} WHERE false"  # noqa: S608 - quoted names
            if column.written:
                insert = f"INSERT INTO {name} ({quoted_column}) SELECT NULL WHERE false"
                yield Cell(purpose, where, "INSERT"), column.insert, insert
                update = f"UPDATE {name} SET {quoted_column} = DEFAULT WHERE false"  # noqa: S608 - quoted names
                yield Cell(purpose, where, "UPDATE"), column.update, update
        yield Cell(purpose, table.name, "DELETE"), table.delete, f"DELETE FROM {name} WHERE false"  # noqa: S608 - quoted names

    def _gate_tables(self, who: str) -> Iterator[_Asked]:
        for table in sorted(self._target.gate_tables):
            yield Cell(who, table, "SELECT"), False, f"SELECT FROM {self._name(table)} WHERE false"
            yield Cell(who, table, "DELETE"), False, f"DELETE FROM {self._name(table)} WHERE false"  # noqa: S608 - quoted names

    def _closed(self, service: Service) -> Iterator[_Asked]:
        """A login without a role reads no model's table, and no secret of ours, whatever records it keeps."""
        who = f"service {service.name}"
        for table in (*self._target.tables, *(() if service.keeps else self._target.gate_tables)):
            yield Cell(who, table, "SELECT"), False, f"SELECT FROM {self._name(table)} WHERE false"
        for table, column in _SECRETS:
            query = f"SELECT {column} FROM {self._name(table)} WHERE false"  # noqa: S608 - quoted names
            yield Cell(who, f"{table}.{column}", "SELECT"), False, query

    def _calls(self, who: str, functions: Sequence[tuple[str, list[str]]], allowed: frozenset[str]) -> Iterator[_Asked]:
        for name, types in functions:
            # Arguments that the planner doesn't know, so that it can't work out the call without making it.
            columns = ", ".join(f"NULL::{type_} AS a{n}" for n, type_ in enumerate(types))
            arguments = ", ".join(f"a.a{n}" for n in range(len(types)))
            call = f"SELECT {self._name(name)}({arguments}) FROM (SELECT {columns or '1'} OFFSET 0) a WHERE false"  # noqa: S608 - quoted names
            yield Cell(who, f"{name}({', '.join(types)})", "EXECUTE"), name in allowed, call

    def _name(self, name: str) -> str:
        return f"{quoted(self._schema)}.{quoted(name)}"

    # ------------------------------------------------------------------------------------------------ trying

    def _tried(
        self, connection: sa.Connection, asked: Sequence[_Asked], login: str | None, role: str | None = None
    ) -> list[Probe]:
        """Run every statement under `login` and `role`, in one round trip."""
        literals = ", ".join("'" + statement.replace("'", "''") + "'" for _, _, statement in asked)
        with connection.begin() as transaction:
            self._become(connection, login, role)
            block = _TRY.replace("{statements}", literals)
            connection.exec_driver_sql(block, execution_options={"no_parameters": True})
            answers = connection.exec_driver_sql("SELECT current_setting('vaultstore.answers')").scalar_one()
            transaction.rollback()
        return [
            Probe(cell, expected, answer == "1") for (cell, expected, _), answer in zip(asked, answers, strict=True)
        ]

    def _rows(
        self,
        connection: sa.Connection,
        purpose: str,
        tables: Sequence[TableRights],
        login: str | None,
        role: str,
        resting: Sequence[tuple[TableRights, Sequence[str]]],
    ) -> Iterator[Probe]:
        """Whether somebody who is nobody sees a row: of tables that have some, so that none is an answer."""
        with connection.begin() as transaction:
            session = login or str(connection.exec_driver_sql("SELECT session_user").scalar_one())
            claims = self._claims(connection, purpose, session)
            self._become(connection, login, role)
            for table in tables:
                found = self._sees(connection, table, claims)
                yield Probe(Cell(purpose, f"rows of {table.name}", "SELECT"), bool(table.shows_rows), found)
                if self._plane.strict:
                    bare = {name: value for name, value in claims.items() if name != "ticket"}
                    found = self._sees(connection, table, bare)
                    yield Probe(Cell(purpose, f"rows of {table.name}", "SELECT without a ticket"), False, found)
            for table, subjects in resting:
                expected = bool(table.shows_rows) and table.restricted
                found = self._sees(connection, table, claims, subjects)
                yield Probe(Cell(purpose, f"restricted rows of {table.name}", "SELECT"), expected, found)
            transaction.rollback()

    def _claims(self, connection: sa.Connection, purpose: str, login: str) -> dict[str, object]:
        now = datetime.now(UTC)
        claims: dict[str, object] = {
            "jti": f"probe-{uuid.uuid4()}",
            "actor": str(uuid.uuid4()),
            "role": "",
            "attributes": {},
            "purpose": purpose,
            "pol": self._bound.digest(purpose),
            "iat": now.isoformat(),
            "exp": (now + timedelta(minutes=5)).isoformat(),
            "case": None,
            "subjects": None,
        }
        if self._plane.strict:
            ticket = sa.text(f"SELECT {self._name('vs_ticket')}(CAST(:claims AS jsonb), ARRAY[:login])")
            made = connection.execute(ticket, {"claims": json.dumps(claims), "login": login}).scalar_one()
            claims["ticket"] = made
        return claims

    def _sees(
        self, connection: sa.Connection, table: TableRights, claims: dict[str, object], subjects: Sequence[str] = ()
    ) -> bool:
        """Whether there is a row, or one of `subjects`."""
        savepoint = connection.begin_nested()
        try:
            setting = sa.text("SELECT set_config(:name, :claims, true)")
            connection.execute(setting, {"name": CLAIMS, "claims": json.dumps(claims)})
            query = f"SELECT EXISTS (SELECT FROM {self._name(table.name)}"  # noqa: S608 - quoted names
            if subjects and table.subject is not None:
                listed = ", ".join(f"'{uuid.UUID(each)}'" for each in subjects)
                query += f" WHERE {quoted(table.subject)}::text::uuid = ANY (ARRAY[{listed}]::uuid[])"
            return bool(connection.exec_driver_sql(query + ")").scalar_one())
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", "") != "42501":
                raise
            return False
        finally:
            savepoint.rollback()

    def _become(self, connection: sa.Connection, login: str | None, role: str | None) -> None:
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
        if login is not None:
            connection.exec_driver_sql(f"SET LOCAL SESSION AUTHORIZATION {quoted(login)}")
        if role is not None:
            connection.exec_driver_sql(f"SET LOCAL ROLE {quoted(role)}")

    def _filled(self, connection: sa.Connection, *, in_sight: bool) -> frozenset[str]:
        """The tables that have a row, `in_sight`: one of a member who is not restricted. No row is hidden from us."""
        found = []
        for table in self._present(connection):
            column = self._subjects.get(table)
            asked = f"SELECT EXISTS (SELECT FROM {self._name(table)} t"  # noqa: S608 - quoted names
            if in_sight:
                # The table of a subclass does not say whose its rows are: nothing is asked of it while anybody rests.
                resting = f"SELECT FROM {self._name('vs_subjects')} s WHERE s.state = 'restricted'"
                asked += f" WHERE NOT EXISTS ({resting}"
                asked += f" AND s.subject = t.{quoted(column)}::text::uuid)" if column else ")"
            if connection.exec_driver_sql(asked + ")").scalar():
                found.append(table)
        return frozenset(found)

    def _resting(self, connection: sa.Connection) -> dict[str, list[str]]:
        """Table -> some restricted subjects who have rows there."""
        found = {}
        for table in self._present(connection):
            if column := self._subjects.get(table):
                subject = f"t.{quoted(column)}::text::uuid"
                asked = (
                    f"SELECT DISTINCT s.subject::text FROM {self._name(table)} t"  # noqa: S608 - quoted names
                    f" JOIN {self._name('vs_subjects')} s ON s.subject = {subject}"
                    " WHERE s.state = 'restricted' LIMIT 20"
                )
                found[table] = list(connection.exec_driver_sql(asked).scalars())
        return found

    def _present(self, connection: sa.Connection) -> list[str]:
        kept = sa.text(
            "SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema)"
            " AND c.relkind IN ('r', 'p') AND c.relname = ANY (:tables)"
        ).bindparams(sa.bindparam("tables", list(self._target.tables), type_=sa.ARRAY(sa.Text)))
        return [str(row.relname) for row in connection.execute(kept, {"schema": self._schema})]

    @cached_property
    def _subjects(self) -> dict[str, str]:
        """Table -> the column that says whose its rows are."""
        found: dict[str, str] = {}
        for info in self._models:
            if info.subject_key:
                prop = info.mapper.get_property(info.subject_key)
                found |= {c.table.name: c.name for c in prop.columns if isinstance(c, sa.Column)}
        return found

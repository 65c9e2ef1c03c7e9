"""Models that share a table, models that lie in two, keys of every sort: the plane on a real server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.support.postgres_family import Base, bound_family
from tests.support.postgres_login import PRIVILEGE, ciphertext, claims, running, state_of
from tests.support.postgres_plane import PostgresWorld
from vaultstore import records
from vaultstore.planes.postgres_facts import facts
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.records.base import tables_of
from vaultstore.records.plane import RolePlane
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

SCHEMA = "family"
PEOPLE = [
    (1, "person", "ulm", None),
    (2, "student", "ulm", None),
    (3, "pupil", "ulm", None),
    (4, "pupil", "bonn", None),
    (5, "staff", "ulm", "north"),
    (6, "staff", "bonn", "north"),
    (7, "staff", "bonn", "south"),
]
_RELATIONS = "SELECT count(*) FROM pg_class WHERE relnamespace = %(s)s::regnamespace AND relkind IN ('r', 'v') AND "
LEFT = (
    _RELATIONS + "has_any_column_privilege(%(r)s, oid, 'SELECT, INSERT, UPDATE')",
    _RELATIONS + "has_table_privilege(%(r)s, oid, 'DELETE, TRUNCATE')",
    "SELECT count(*) FROM pg_proc WHERE pronamespace = %(s)s::regnamespace AND has_function_privilege(%(r)s, oid, 'EXECUTE')",  # noqa: E501
    "SELECT count(*) FROM pg_namespace WHERE nspname = %(s)s AND has_schema_privilege(%(r)s, oid, 'USAGE')",
)
VISITS = '"Visits of ""ours"""'


@pytest.fixture(scope="module")
def family(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    world = PostgresWorld(postgres, postgres.create_database(), SCHEMA)
    bound, models = bound_family()
    target = compile_postgres(bound, models, RolePlane(world.prefix))
    try:
        with world.engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
            connection.exec_driver_sql(f"SET LOCAL search_path = {SCHEMA}")
            Base.metadata.create_all(connection)
            records.metadata.create_all(connection, tables=tables_of("postgresql"))
            statements = [*records.postgres_functions(SCHEMA), *target.cluster_sql()]
            for statement in (*statements, *target.reset_sql(SCHEMA), *target.schema_sql(SCHEMA)):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            row = {"prefix": world.prefix, "strict": False, "applied_at": sa.func.now()}
            connection.execute(records.plane.vs_plane.insert().values(row))
        with psycopg.connect(host=str(postgres.folder), dbname=world.database, user="postgres") as connection:
            connection.execute(f"SET search_path = {SCHEMA}")
            for n, kind, town, branch in PEOPLE:
                person = (uuid.UUID(int=n), kind, town, ciphertext())
                connection.execute("INSERT INTO people (id, kind, town, name) VALUES (%s, %s, %s, %s)", person)
                if branch:
                    connection.execute("INSERT INTO staff (id, branch) VALUES (%s, %s)", (person[0], branch))
        yield world
    finally:
        world.close()


@contextmanager
def acting(
    world: PostgresWorld, purpose: str, actor: str = "x", **attributes: str
) -> Iterator[psycopg.Connection[Any]]:
    service = "post" if purpose in ("of.visits", "of.post") else "desk"
    with running(world, service, purpose, claims(purpose, actor, attributes=attributes)) as connection:
        connection.execute(f"SET LOCAL search_path = {SCHEMA}")
        yield connection


def people(connection: psycopg.Connection[Any], table: str = "people") -> list[int]:
    return sorted(row[0].int for row in connection.execute(f"SELECT id FROM {table}"))


SEEN = {
    "of.people": ({}, [1, 2, 3, 4, 5, 6, 7], [5, 6, 7]),
    "of.town": ({"town": "ulm"}, [1, 2, 3, 5], [5]),
    "of.students": ({}, [2, 3, 4], None),
    "of.pupils": ({"town": "bonn"}, [4], None),
    "of.staff": ({}, [5, 6, 7], [5, 6, 7]),
    "of.branch": ({"branch": "north"}, [5, 6], [5, 6]),
    "of.both": ({"town": "bonn"}, [2, 3, 4, 6, 7], [6, 7]),
}


@pytest.mark.parametrize("purpose", SEEN)
def test_a_purpose_sees_the_rows_of_the_models_that_it_lists(family: PostgresWorld, purpose: str) -> None:
    attributes, of_people, of_staff = SEEN[purpose]
    with acting(family, purpose, **attributes) as connection:
        assert people(connection) == of_people
        if of_staff is None:
            assert state_of(connection, "SELECT id FROM staff") == PRIVILEGE
        else:
            assert people(connection, "staff") == of_staff
            joined = "people JOIN staff USING (id)"
            assert people(connection, joined) == of_staff


def test_a_key_that_two_tables_share_is_compared_in_each(family: PostgresWorld) -> None:
    with acting(family, "of.self", str(uuid.UUID(int=6))) as connection:
        assert people(connection) == people(connection, "staff") == [6]
        assert "people" not in str(connection.execute("EXPLAIN SELECT id FROM staff").fetchall())


def test_a_model_is_written_in_both_of_its_tables(family: PostgresWorld) -> None:
    new = {"id": uuid.UUID(int=20), "name": ciphertext()}
    person = "INSERT INTO people (id, kind, town, name) VALUES (%(id)s, '{}', 'ulm', %(name)s)"
    with acting(family, "of.staff") as connection:
        assert state_of(connection, person.format("student"), new) == PRIVILEGE
        connection.execute(person.format("staff"), new)
        connection.execute("INSERT INTO staff (id, branch) VALUES (%(id)s, 'east')", new)
        assert connection.execute("UPDATE people SET town = 'bonn' WHERE id = %(id)s", new).rowcount == 1
        assert state_of(connection, "UPDATE people SET kind = 'person' WHERE id = %(id)s", new) == PRIVILEGE
        assert state_of(connection, "UPDATE people SET name = %(name)s", new) == PRIVILEGE
        assert connection.execute("DELETE FROM staff WHERE id = %(id)s", new).rowcount == 1
        assert connection.execute("DELETE FROM people WHERE id = %(id)s", new).rowcount == 1
        assert connection.execute("DELETE FROM people WHERE kind <> 'staff'").rowcount == 0


def test_a_scope_on_one_table_holds_for_writes_to_the_other(family: PostgresWorld) -> None:
    new = {"id": uuid.UUID(int=21), "name": ciphertext()}
    with acting(family, "of.town", town="ulm") as connection:
        connection.execute("INSERT INTO people (id, kind, town, name) VALUES (%(id)s, 'staff', 'ulm', %(name)s)", new)
        connection.execute("INSERT INTO staff (id, branch) VALUES (%(id)s, 'east')", new)
        assert connection.execute("UPDATE staff SET branch = 'west'").rowcount == 2
        assert state_of(connection, "UPDATE people SET town = 'bonn' WHERE id = %(id)s", new) == PRIVILEGE
        taken = "INSERT INTO staff (id, branch) VALUES ('00000000-0000-0000-0000-000000000004', 'east')"
        assert state_of(connection, taken) == PRIVILEGE
        assert connection.execute("DELETE FROM staff WHERE branch = 'south'").rowcount == 0


def test_row_keys_subjects_and_scopes_of_keys_stay_as_they_are(family: PostgresWorld) -> None:
    with acting(family, "of.visits", town="ulm") as connection:
        values = ("ulm", date(2021, 1, 1), uuid.uuid4(), uuid.uuid4(), uuid.uuid4())
        insert = f'INSERT INTO {VISITS} ("Town", "order", row, person, room) VALUES (%s, %s, %s, %s, %s)'
        connection.execute(insert, values)
        assert connection.execute(f'SELECT "order" FROM {VISITS}').fetchall() == [(date(2021, 1, 1),)]
        for column in ('"Town"', '"order"', "row", "person", "room"):
            assert state_of(connection, f"UPDATE {VISITS} SET {column} = {column}") == PRIVILEGE
        assert connection.execute(f"UPDATE {VISITS} SET note = NULL").rowcount == 1
        with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(insert, ("bonn", *values[1:]))


def test_the_database_numbers_new_rows_for_a_writer(family: PostgresWorld) -> None:
    with acting(family, "of.post") as connection:
        assert connection.execute("INSERT INTO tickets (what) VALUES ('x') RETURNING id").fetchone() == (1,)
        number = connection.execute("SELECT nextval('letter_numbers')").fetchone()
        assert number is not None
        assert connection.execute("INSERT INTO letters VALUES (%s, 'x')", number).rowcount == 1
        assert connection.execute("INSERT INTO parcels (what) VALUES ('x') RETURNING id").fetchone() == (1,)
        assert state_of(connection, "SELECT setval('tickets_id_seq', 1)") == PRIVILEGE
        assert state_of(connection, "SELECT setval('letter_numbers', 1)") == PRIVILEGE
    with acting(family, "of.people") as connection:
        assert state_of(connection, "SELECT nextval('tickets_id_seq')") == PRIVILEGE


def test_to_apply_again_changes_nothing(family: PostgresWorld) -> None:
    bound, models = bound_family()
    target = compile_postgres(bound, models, RolePlane(family.prefix))
    found = []
    for _ in range(2):
        with family.engine.begin() as connection:
            found.append(facts(connection, SCHEMA, prefix=family.prefix, tables=target.tables))
            for statement in (*target.cluster_sql(), *target.reset_sql(SCHEMA), *target.schema_sql(SCHEMA)):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    assert len(found[0]) > 100
    assert found[0] == found[1]


def test_what_is_reset_leaves_the_plane_with_no_right(family: PostgresWorld) -> None:
    bound, models = bound_family()
    target = compile_postgres(bound, models, RolePlane(family.prefix))
    with family.engine.connect() as connection:
        for statement in target.reset_sql(SCHEMA):
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        for role in set(target.roles) - {target.plane.owner}:
            for query in LEFT:
                assert connection.exec_driver_sql(query, {"s": SCHEMA, "r": role}).scalar_one() == 0
        for view in ("pg_policies", "pg_views"):
            count = f"SELECT count(*) FROM {view} WHERE schemaname = %(s)s"
            assert connection.exec_driver_sql(count, {"s": SCHEMA}).scalar_one() == 0
        connection.rollback()

"""A table that moves under PostgreSQL's plane: the plaintext column is its category's, and so are the triggers ours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.support.legacy import NAME, Base, World, moving_store, raw
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.records.plane import RolePlane

pytestmark = pytest.mark.integration

MODELS = ModelRegistry(Base)


class Planed:
    """A moving table, and the plane over it."""

    def __init__(self, world: World, engine: sa.Engine) -> None:
        self.world, self.engine = world, engine
        self.roles = RolePlane(f"t{uuid.uuid4().hex[:6]}_", False)
        self.plane = PostgresPlane(engine, compile_postgres(world.store.policy, MODELS, self.roles), MODELS)

    def apply(self) -> None:
        self.plane.apply()

    def as_role(self, purpose: str, statement: str) -> list[tuple[object, ...]]:
        """Raw SQL, as somebody would run it who has the login of a service."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f'SET LOCAL ROLE "{self.roles.role(purpose)}"')
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture
def planed(pg_database: str) -> Iterator[Planed]:
    with moving_store(pg_database, rows=5) as world:
        engine = sa.create_engine(pg_database)
        made = Planed(world, engine)
        world.store.moves.start(NAME)
        made.apply()
        yield made
        engine.dispose()


@pytest.mark.parametrize("statement", [
    "SELECT phone FROM clients", "SELECT * FROM clients", "SELECT length(phone) FROM clients",
    "SELECT id FROM clients WHERE phone LIKE '138%%'", "SELECT id FROM clients ORDER BY phone",
    "SELECT clients FROM clients",
    "UPDATE clients SET city = phone", "UPDATE clients SET phone = NULL RETURNING phone", "TABLE clients",
    "COPY clients (phone) TO STDOUT", "SELECT m.plain FROM vs_moves m", "UPDATE vs_moves SET state = 'dropped'",
])  # fmt: skip
def test_a_purpose_without_the_category_reads_nothing_of_the_plaintext(planed: Planed, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
        planed.as_role("calls", statement)


def test_a_purpose_with_the_category_has_its_rights_on_the_plaintext_as_on_the_sealed_column(planed: Planed) -> None:
    planed.as_role("desk", "SELECT phone, phone_sealed FROM clients")
    planed.as_role("desk", "UPDATE clients SET phone = NULL, phone_sealed = NULL WHERE false")
    with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
        planed.as_role("desk", "UPDATE vs_moves SET state = 'dropped'")


def test_the_plane_of_a_table_that_moves_is_as_it_should_be(planed: Planed) -> None:
    assert planed.plane.differences() == []
    wrong = [probe for probe in planed.plane.probes() if probe.expected != probe.found]
    assert wrong == []


def test_the_triggers_of_a_move_are_made_again_where_somebody_took_them(planed: Planed) -> None:
    with planed.engine.begin() as connection:
        [name] = connection.exec_driver_sql(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'clients'::regclass AND NOT tgisinternal"
        ).scalars()
        connection.exec_driver_sql(f"DROP TRIGGER {name} ON clients")
    assert planed.plane.differences() != []
    planed.apply()
    assert planed.plane.differences() == []


def test_a_move_goes_to_its_end_under_the_plane(planed: Planed) -> None:
    world = planed.world
    world.store.moves.backfill(NAME, world.token())
    who = sorted(raw(world.old))[0]
    world.set(who, "13712345678")
    assert raw(world.old)[who][1] is None
    world.store.moves.backfill(NAME, world.token())
    assert not world.store.moves.verify(NAME, world.token()).failures
    world.store.moves.cutover(NAME, world.token())
    assert {row[0] for row in raw(world.old).values()} == {None}
    world.store.moves.drop(NAME, world.token())

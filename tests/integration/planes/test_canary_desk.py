"""Canaries are planted under the login of a service that keeps them, and it sees none of those that are there."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import ProgrammingError

from tests.support.postgres_login import engine_of
from tests.support.postgres_plane import PostgresWorld, bind
from tests.support.postgres_store import applied_store
from tests.support.profiles import SHIPPED_POLICY
from vaultstore import LocalKeys, Policy, Store
from vaultstore.evidence.canaries import Number, Plot, Post
from vaultstore.members.canaries import plant
from vaultstore.members.models import Base
from vaultstore.records.plane import RolePlane
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def world(postgres: PostgresServer) -> Iterator[PostgresWorld]:
    with applied_store(postgres, strict=False) as made:
        yield made


def test_its_service_plants_and_lists_nothing(world: PostgresWorld) -> None:
    keys = LocalKeys.memory()
    keys.provision(bind().key_access("vaultstore"))
    with (
        engine_of(world, RolePlane(world.prefix).login("canary-desk")) as engine,
        Store.open(engine, keys=keys, policy=Policy.load(SHIPPED_POLICY), models=Base) as store,
    ):
        [planted] = plant(store, engine, [Plot(Post("sh-01", "u-17"), Number(1, "+8617000000001"))])
        assert isinstance(planted.member, uuid.UUID)
        assert not planted.lead  # leads are another service's to hand out
        with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(sa.text("SELECT subject FROM vs_canaries"))
    with world.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM vs_canaries")).scalar_one() == 1


def test_a_service_that_takes_members_in_marks_nobody(world: PostgresWorld) -> None:
    login = RolePlane(world.prefix).login("registration-service")
    with engine_of(world, login) as engine, engine.connect() as connection:
        for verb in ("INSERT INTO vs_canaries (subject, planted_at) SELECT id, now() FROM members",
                     "DELETE FROM vs_canaries", "UPDATE vs_canaries SET actor = 'u-1'"):  # fmt: skip
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(sa.text(verb))
            connection.rollback()

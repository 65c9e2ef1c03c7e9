"""A PostgreSQL plane with a database and a prefix of its own on a shared cluster, and a way to look behind it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import sqlalchemy as sa

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.profiles import SHIPPED_POLICY
from vaultstore import Policy, records
from vaultstore.members.models import Base
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import PostgresTarget, compile_postgres
from vaultstore.policy import BoundPolicy
from vaultstore.records.base import tables_of
from vaultstore.records.plane import RolePlane
from vaultstore.testing import PostgresServer

__all__ = ["FEWER", "MODELS", "POLICY", "PostgresWorld", "bind", "postgres_world"]

MODELS = ModelRegistry(Base)

POLICY = """\
version: 1
roles: {matchmaker: sells, care_agent: cares, registrar: signs people up}
categories:
  identity: {description: names, sensitive: true}
  contact: {description: phones, sensitive: true}
  profile: {sensitive: true}
  preference: {sensitive: true}
  conversation: {sensitive: true}
  browsing: {sensitive: true}
  pool_card: {projection: true}
  sales_card: {projection: true}
  care_card: {projection: true}
  match_card: {projection: true}
  chat_flags: {projection: true}
  suppression: {sensitive: true}
services:
  crm: {description: sells, purposes: [sales.outreach]}
  desk: {description: cares, purposes: [care.complaint]}
  signup: {description: takes in new members, purposes: [registration], keeps: [consents]}
purposes:
  sales.outreach:
    description: call members
    label: marketing.communications
    basis: consent
    roles: [matchmaker]
    read: {Member: {categories: [sales_card], rows: claimed_by_actor}}
  care.complaint:
    description: settle complaints
    label: essential.service
    basis: contract
    roles: [care_agent]
    read: {Member: {categories: [care_card]}}
    search: {Member: [phone]}
  registration:
    description: sign up
    label: essential.service
    basis: contract
    roles: [registrar]
    write: {Member: [identity, contact]}
"""
"""Three purposes, each of a service of its own."""

FEWER = (POLICY.partition("  care.complaint:")[0] + "  registration:" + POLICY.partition("  registration:")[2]).replace(
    "  desk: {description: cares, purposes: [care.complaint]}\n", ""
)
"""The same without care.complaint and its service."""


@cache
def bind(text: str | None = None) -> BoundPolicy:
    """The shipped policy, or one written as YAML text, bound to the member store's models."""
    policy = Policy.load(SHIPPED_POLICY) if text is None else Policy.parse(text)
    return policy.bind(MODELS.catalogue)


@cache
def _compiled(bound: BoundPolicy, roles: RolePlane) -> PostgresTarget:
    return compile_postgres(bound, MODELS, roles)


class PostgresWorld:
    """A database with the member store's schema, and planes over it."""

    def __init__(self, server: PostgresServer, url: str, schema: str = "public") -> None:
        self.server, self.url, self.schema = server, url, schema
        self.prefix = f"t{uuid.uuid4().hex[:6]}_"
        self.engine = sa.create_engine(url, hide_parameters=True)

    @property
    def database(self) -> str:
        """Name of the database."""
        return str(self.engine.url.database)

    def plane(self, bound: BoundPolicy | None = None, *, strict: bool = False, **options: Any) -> PostgresPlane:
        """A plane over this database, as the bootstrap superuser unless `engine` is given."""
        roles = RolePlane(self.prefix, strict)
        target = _compiled(bound or bind(), roles)
        engine = options.pop("engine", self.engine)
        return PostgresPlane(engine, target, MODELS, schema=self.schema, **options)

    def name(self, text: str) -> str:
        """`text` with ``{p}`` for the prefix, ``{db}`` for the database and ``{x}`` for a prefix that is not ours."""
        return text.replace("{p}", self.prefix).replace("{db}", self.database).replace("{x}", f"x{self.prefix}")

    def execute(self, *statements: str) -> None:
        """Run statements as the superuser, each committed by itself."""
        for statement in statements:
            self.server.execute(self.name(statement), database=self.database)

    def value(self, query: str) -> Any:
        """The first value of a query, as the superuser."""
        with self.engine.connect() as connection:
            text = self.name(query)
            return connection.exec_driver_sql(text, execution_options={"no_parameters": True}).scalar()

    def make_schema(self, engine: sa.Engine | None = None) -> None:
        """The member store's tables, ours and the gate's functions, as a migration makes them."""
        with (engine or self.engine).begin() as connection:
            connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {self.schema}")
            connection.exec_driver_sql(f"SET LOCAL search_path = {self.schema}")
            Base.metadata.create_all(connection)
            records.metadata.create_all(connection, tables=tables_of("postgresql"))
            for statement in records.postgres_functions(self.schema):
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def close(self) -> None:
        """Drop the database and the roles that begin with its prefix, or with ``x`` and that."""
        self.engine.dispose()
        self.server.drop_database(self.url)
        self.server.execute(
            f"""DO $$ DECLARE r name; BEGIN
            FOR r IN SELECT rolname FROM pg_roles WHERE rolname ~ '^x?{self.prefix}' LOOP
                EXECUTE format('DROP OWNED BY %I', r); EXECUTE format('DROP ROLE %I', r);
            END LOOP; END $$"""
        )


@contextmanager
def postgres_world(server: PostgresServer, schema: str = "public") -> Iterator[PostgresWorld]:
    """A world with its schema made, and no plane applied yet."""
    world = PostgresWorld(server, server.create_database(), schema)
    try:
        world.make_schema()
        yield world
    finally:
        world.close()

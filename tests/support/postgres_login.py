"""Raw psycopg under a service's login: what somebody has who took the service over and skips our Python."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa

from tests.support.postgres_plane import PostgresWorld
from vaultstore.gate.claims import Claims
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.grants import Ticket
from vaultstore.orm.types import BlindIndexType, SealedType
from vaultstore.records.plane import CLAIMS, RolePlane

__all__ = ["PRIVILEGE", "ciphertext", "claims", "connected", "engine_of", "fill", "running", "state_of", "ticket"]

PRIVILEGE = "42501"
"""SQLSTATE insufficient_privilege."""


def claims(purpose: str, actor: str = "u-17", *, digest: str = "", ticket: Ticket | None = None, **more: Any) -> Claims:
    """Claims as a token's; everything can be said otherwise."""
    now = datetime.now(UTC).replace(microsecond=0)
    content: dict[str, Any] = {
        "jti": uuid.uuid4().hex,
        "actor": actor,
        "role": "matchmaker",
        "attributes": {"store": "sh-01"},
        "purpose": purpose,
        "digest": digest,
        "issued_at": now,
        "expires_at": now + timedelta(minutes=15),
        "case": None,
        "subjects": None,
    }
    return Claims(**(content | more), ticket=ticket)


@contextmanager
def engine_of(world: PostgresWorld, login: str) -> Iterator[sa.Engine]:
    """An engine that connects as a login."""
    engine = sa.create_engine(world.engine.url.set(username=login))
    try:
        yield engine
    finally:
        engine.dispose()


def ticket(world: PostgresWorld, of: Claims, *services: str) -> Ticket:
    """A ticket from the issuer's login, for the logins of these services."""
    plane = RolePlane(world.prefix)
    with engine_of(world, plane.issuer) as engine:
        return PostgresLedger(engine).ticket(of, [plane.login(service) for service in services])


@contextmanager
def connected(world: PostgresWorld, login: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection as a login, which is rolled back and closed."""
    with psycopg.connect(host=str(world.server.folder), dbname=world.database, user=login) as connection:
        yield connection
        connection.rollback()


@contextmanager
def running(
    world: PostgresWorld, service: str, purpose: str | None = None, said: Claims | str | None = None
) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of a service, under the role of a purpose, with claims that it sets itself."""
    plane = RolePlane(world.prefix)
    with connected(world, plane.login(service)) as connection:
        if said is not None:
            text = said if isinstance(said, str) else said.json
            connection.execute("SELECT set_config(%s, %s, true)", [CLAIMS, text])
        if purpose is not None:
            connection.execute("SELECT set_config('role', %s, true)", [plane.role(purpose)])
        yield connection


def state_of(connection: psycopg.Connection[Any], query: str, values: Mapping[str, Any] | None = None) -> str | None:
    """SQLSTATE that a statement is refused with, None where it runs; it is undone either way."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(query, values)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def ciphertext() -> bytes:
    """What the CHECK of a sealed column takes, and no key opens."""
    return b"\x01" + os.urandom(48)


def fill(world: PostgresWorld, model: type[Any], rows: list[dict[str, Any]]) -> None:
    """Insert rows as the superuser; sealed columns and blind indexes that are not given get bytes of the right form."""
    table = model.__table__
    with connected(world, "postgres") as connection:
        for row in rows:
            values = {
                c.name: row[c.name]
                if c.name in row
                else ciphertext()
                if isinstance(c.type, SealedType)
                else os.urandom(32)
                for c in table.columns
                if c.name in row or isinstance(c.type, SealedType | BlindIndexType)
            }
            columns = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join(f"%({name})s" for name in values)
            connection.execute(f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})', values)
        connection.commit()

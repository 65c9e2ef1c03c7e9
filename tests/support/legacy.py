"""A table that is moved: the old application's own view of it, ours, and the migration between the two."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import vaultstore.alembic
from vaultstore import Actor, LocalKeys, Policy, Store, masks, normalize
from vaultstore.blindindex import blind_index
from vaultstore.keys import Keys
from vaultstore.orm import Encrypted, EncryptedModel, encrypted_column, uuid7

__all__ = ["MOVER", "NAME", "Base", "Client", "OldBase", "OldClient", "add_columns", "drop_column", "moving_store"]

NAME = "Client.phone"


class OldBase(DeclarativeBase):
    """The old application's models: plain SQLAlchemy."""


class OldClient(OldBase):
    __tablename__ = "clients"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str] = mapped_column(default="上海")
    phone: Mapped[str | None] = mapped_column(sa.String(40))


class Base(EncryptedModel, DeclarativeBase):
    """Our models of the same tables."""


class Client(Base):
    __tablename__ = "clients"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str] = mapped_column(default="上海")
    phone: Encrypted[str] = encrypted_column(
        category="contact",
        name="phone_sealed",
        replaces=sa.Column("phone", sa.String(40)),
        index=blind_index(normalize=normalize.phone_e164("CN")),
        projections={"sales_card": masks.keep(last=4)},
    )


POLICY = """\
version: 1
roles: {mover: moves tables, clerk: works at the desk, caller: calls clients}
categories:
  contact: {description: phone numbers, sensitive: true}
  sales_card: {projection: true}
services:
  desk: {description: the desk, purposes: [desk]}
  calls: {description: callers, purposes: [calls]}
  moving: {description: moves tables, purposes: [maintenance.moving]}
purposes:
  maintenance.moving:
    description: move tables in
    label: essential.service
    basis: contract
    roles: [mover]
    requires: {sees_restricted: true}
    batch: 500
    read: {Client: {categories: [contact]}}
    write: {Client: [contact]}
  desk:
    description: work at the desk
    label: essential.service
    basis: contract
    roles: [clerk]
    batch: 50
    read: {Client: {categories: [contact]}}
    search: {Client: [phone]}
    write: {Client: [contact]}
  calls:
    description: call clients
    label: essential.service
    basis: contract
    roles: [caller]
    read: {Client: {categories: [sales_card]}}
    search: {Client: [phone]}
"""

MOVER, CLERK, CALLER = Actor("mover-1", role="mover"), Actor("clerk-1", role="clerk"), Actor("caller-1", role="caller")


def operations(connection: sa.Connection) -> Operations:
    """Alembic's `op`, on a connection."""
    return Operations(MigrationContext.configure(connection))


def add_columns(engine: sa.Engine) -> None:
    """The migration that brings the encrypted columns in."""
    assert vaultstore.alembic
    with engine.begin() as connection:
        operations(connection).add_encrypted_column("clients", "phone_sealed", projections=["sales_card"], index=True)


def drop_column(engine: sa.Engine) -> None:
    """The migration that takes the plaintext column out."""
    with engine.begin() as connection:
        operations(connection).drop_plaintext_column("clients", "phone")


def number(i: int) -> str:
    """The phone number of the i-th client."""
    return f"138{i:08d}"


def fill(engine: sa.Engine, count: int, first: int = 0) -> list[uuid.UUID]:
    """Clients that the old application has written; their ids in order."""
    ids = [uuid7() for _ in range(count)]
    with Session(engine) as session, session.begin():
        session.add_all(OldClient(id=each, phone=number(first + i)) for i, each in enumerate(ids))
    return ids


def raw(engine: sa.Engine) -> dict[uuid.UUID, tuple[Any, Any, Any, Any]]:
    """Id -> phone, phone_sealed, its index and its projection, as the database has them."""
    query = "SELECT id, phone, phone_sealed, phone_sealed_bidx, phone_sealed_sales_card FROM clients"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(query).all()
    return {i if isinstance(i, uuid.UUID) else uuid.UUID(i): tuple(rest) for i, *rest in rows}


class World:
    """The store of a table that moves, and the old application's engine."""

    def __init__(self, store: Store, engine: sa.Engine) -> None:
        self.store, self.old = store, engine

    def token(self, actor: Actor = MOVER, purpose: str = "maintenance.moving", **more: Any) -> str:
        return self.store.issue(actor, purpose, **more)

    @property
    def clerk(self) -> str:
        return self.token(CLERK, "desk")

    @property
    def caller(self) -> str:
        return self.token(CALLER, "calls")

    def phones(self, token: str | None = None) -> dict[uuid.UUID, str | None]:
        """Every client's phone as a session reads it."""
        with self.store.session(token or self.clerk) as session:
            return {c.id: c.phone for c in session.scalars(sa.select(Client).order_by(Client.id))}

    def write(self, statement: str, **values: Any) -> int:
        """What old code writes."""
        with self.old.begin() as connection:
            return connection.execute(sa.text(statement), values).rowcount

    def set(self, who: uuid.UUID, phone: str | None) -> None:
        """Old code changes a phone."""
        with Session(self.old) as session, session.begin():
            session.get_one(OldClient, who).phone = phone

    def moved(self, until: str = "drop") -> None:
        """Take the steps up to `until`."""
        moves = self.store.moves
        for step in ("start", "backfill", "verify", "cutover", "drop"):
            moves.start(NAME) if step == "start" else getattr(moves, step)(NAME, self.token())
            if step == until:
                return


@contextmanager
def moving_store(url: str, keys: Keys | None = None, *, rows: int = 0, gate: Any = None) -> Iterator[World]:
    """The old application's table with some rows, the encrypted columns added, and our store over it."""
    old = sa.create_engine(url)
    if old.dialect.name == "sqlite":
        sa.event.listen(old, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 15000"))
    OldBase.metadata.create_all(old)
    fill(old, rows)
    add_columns(old)
    try:
        with Store.open(
            url, keys=keys or LocalKeys.memory(), policy=Policy.parse(POLICY), models=Base, gate=gate
        ) as store:
            store.create_all()
            yield World(store, old)
    finally:
        old.dispose()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'members.db'}"

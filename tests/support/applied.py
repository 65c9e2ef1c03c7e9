"""A store on a PostgreSQL database that its plane is applied to, opened as an operator and as its services."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from vaultstore import (
    Actor,
    Encrypted,
    EncryptedModel,
    LocalKeys,
    Policy,
    Store,
    blind_index,
    encrypted_column,
    masks,
    normalize,
    row_scope,
    uuid7,
)
from vaultstore.keys import Keys
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.records.plane import RolePlane
from vaultstore.testing import PostgresServer

__all__ = ["BOSS", "POLICY", "SELLER", "Applied", "Base", "Deal", "Note", "Person", "Tag", "Visit", "applied"]


class Base(EncryptedModel, DeclarativeBase): ...


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    seen: Mapped[int] = mapped_column(server_default=sa.text("0"))
    phone: Encrypted[str] = encrypted_column(
        category="contact",
        index=blind_index(normalize=normalize.text()),
        projections={"card": masks.keep(last=4), "desk": masks.keep(first=3)},
    )
    email: Encrypted[str | None] = encrypted_column(category="contact", index=blind_index(unique=True))
    born: Encrypted[date | None] = encrypted_column(category="profile", projections={"card": masks.age_band(5)})
    notes: Mapped[list[Note]] = relationship(back_populates="person", cascade="all, delete-orphan")
    deals: Mapped[list[Deal]] = relationship(back_populates="person")


class Note(Base):
    __tablename__ = "notes"
    __subject__ = "person_id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    kind: Mapped[str]
    text: Encrypted[str] = encrypted_column(category="talk", projections={"card": masks.keep(first=1)})
    person: Mapped[Person] = relationship(back_populates="notes")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "note"}  # noqa: RUF012 - SQLAlchemy's form


class Visit(Note):
    __tablename__ = "visits"

    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("notes.id"), primary_key=True)
    place: Mapped[str]
    door: Encrypted[str | None] = encrypted_column(category="contact")

    __mapper_args__ = {"polymorphic_identity": "visit"}  # noqa: RUF012 - SQLAlchemy's form


class Deal(Base):
    """A model without encrypted fields; its id comes from the database."""

    __tablename__ = "deals"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    seller: Mapped[str]
    stage: Mapped[str] = mapped_column(server_default="new")
    person: Mapped[Person] = relationship(back_populates="deals")
    tags: Mapped[list[Tag]] = relationship(back_populates="deal", lazy="joined")


class Tag(Base):
    """A model without encrypted fields that hardly any purpose lists."""

    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    deal_id: Mapped[int] = mapped_column(ForeignKey("deals.id"))
    word: Mapped[str]
    deal: Mapped[Deal] = relationship(back_populates="tags")


@row_scope("applied_own_deals")
def own_deals(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    column: ColumnElement[Any] = model.id
    return column.in_(select(Deal.person_id).where(Deal.seller == actor.id))


@row_scope("applied_own_city")
def own_city(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    column: ColumnElement[Any] = model.city
    return column == actor.attributes["city"]


POLICY = """
version: 1
categories:
  contact: {description: phone, sensitive: true}
  profile: {description: birth date}
  talk:    {description: what was said, sensitive: true}
  card:    {description: what sellers see, projection: true}
  desk:    {description: what the desk sees, projection: true}
services:
  office: {description: takes people in, purposes: [enter, all, deals]}
  shop:   {description: sells, purposes: [sell, town, deals, visits]}
purposes:
  enter:
    {description: take in, label: essential.service, basis: contract, roles: [clerk],
     write: {Person: [contact, profile], Note: [talk], Visit: [contact, talk], Deal: [], Tag: []}}
  all:
    description: see and mend everything
    label: essential.service
    basis: contract
    roles: [clerk]
    read:
      Person: {categories: [contact, profile]}
      Note: {categories: [talk]}
      Visit: {categories: [talk, contact]}
      Deal: {categories: []}
      Tag: {categories: []}
    search: {Person: [phone, email]}
    write: {Person: [contact, profile], Note: [talk], Visit: [contact, talk], Deal: [], Tag: []}
  deals:
    {description: hand out deals, label: sales, basis: contract, roles: [clerk, seller],
     read: {Deal: {categories: []}}, write: {Deal: []}}
  visits:
    {description: who came, label: sales, basis: contract, roles: [seller],
     read: {Person: {categories: []}, Visit: {categories: [contact]}}}
  sell:
    {description: sell, label: sales, basis: contract, roles: [seller],
     read: {Person: {categories: [card], rows: applied_own_deals}, Note: {categories: [card]}}}
  town:
    {description: see a town, label: sales, basis: contract, roles: [seller],
     read: {Person: {categories: [desk], rows: applied_own_city}}}
"""

BOSS = Actor("boss", role="clerk")
SELLER = Actor("s-1", role="seller", attributes={"city": "Shanghai"})


class Applied:
    """The database, its plane, and stores on it. All stores share one key service."""

    def __init__(
        self,
        server: PostgresServer,
        url: str,
        policy: str,
        *,
        strict: bool,
        models: Any,
        prefix: str | None,
        keys: Keys | None,
    ) -> None:
        self.server, self.url, self.policy, self.models = server, sa.make_url(url), policy, models
        self.roles = RolePlane(prefix or f"t{uuid.uuid4().hex[:6]}_", strict)
        self.keys = keys or LocalKeys.memory()
        self.resources = ExitStack()
        self.operator = Store.open(str(url), keys=self.keys, policy=Policy.parse(policy), models=models)
        self.operator.create_all()
        self.apply()
        self.people: list[uuid.UUID] = []

    def apply(self, policy: str | None = None, *, strict: bool | None = None) -> None:
        """Apply the plane, and publish."""
        if strict is not None:
            self.roles = RolePlane(self.roles.prefix, strict)
        with ExitStack() as resources:
            store = self.operator
            if policy is not None:
                bound = Policy.parse(policy)
                store = resources.enter_context(
                    Store.open(store.engine, keys=self.keys, policy=bound, models=self.models)
                )
            PostgresPlane(store.engine, compile_postgres(store.policy, store.models, self.roles), store.models).apply()
            store.publish()

    def engine(self, service: str | None, **options: Any) -> sa.Engine:
        """An engine under that login."""
        own = "postgres" if service is None else self.roles.issuer if service == "issuer" else self.roles.login(service)
        engine = sa.create_engine(self.url.set(username=own), **options)
        self.resources.callback(engine.dispose)
        return engine

    def open(self, service: str | None, *, policy: str | None = None, **options: Any) -> Store:
        """A store under a service's login, or ``issuer``'s, or the superuser's where it is None.

        `pool` are options of its engine.
        """
        engine = self.engine(service, **options.pop("pool", {}))
        return self.resources.enter_context(
            Store.open(
                engine, keys=self.keys, policy=Policy.parse(policy or self.policy), models=self.models, **options
            )
        )

    def fill(self, store: Store, count: int = 4) -> list[uuid.UUID]:
        """People with a note, a visit and a deal each: every other one in Shanghai and a deal of s-1's."""
        with store.begin(store.issue(BOSS, "enter")) as session:
            people = [
                Person(
                    id=uuid7(),
                    city="Beijing" if i % 2 else "Shanghai",
                    phone=f"1381234{i:04d}",
                    born=date(1990, 1, 1),
                    email=f"p{i}@example.org",
                )
                for i in range(count)
            ]
            for i, person in enumerate(people):
                person.notes = [Note(text=f"hello {i}"), Visit(text=f"saw {i}", place="here", door=f"{i}")]
            session.add_all(people)
            session.flush()
            for i, person in enumerate(people):
                session.add(Deal(person_id=person.id, seller="s-2" if i % 2 else "s-1"))
            self.people = [person.id for person in people]
        return self.people

    def let_go(self) -> None:
        """Close the stores and engines that were opened since."""
        self.resources.close()

    def close(self, *, keep_roles: bool = False) -> None:
        """Drop everything."""
        self.let_go()
        self.operator.close()
        self.keys.close()
        self.server.drop_database(str(self.url.database))
        if keep_roles:
            return
        self.server.execute(
            f"""DO $$ DECLARE r name; BEGIN
            FOR r IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{self.roles.prefix}') LOOP
                EXECUTE format('DROP OWNED BY %I', r); EXECUTE format('DROP ROLE %I', r);
            END LOOP; END $$"""
        )


@contextmanager
def applied(
    server: PostgresServer,
    policy: str = POLICY,
    *,
    strict: bool = False,
    models: Any = Base,
    prefix: str | None = None,
    keys: Keys | None = None,
) -> Iterator[Applied]:
    """A fresh database with the plane applied; with the `prefix` of another one it shares that one's roles."""
    made = Applied(server, server.create_database(), policy, strict=strict, models=models, prefix=prefix, keys=keys)
    try:
        yield made
    finally:
        made.close(keep_roles=prefix is not None)

"""People and their notes, whose masks change from one release to the next: on SQLite with a key file, and on PostgreSQL
with OpenBao."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import Actor, Encrypted, EncryptedModel, LocalKeys, Policy, Store, VaultKeys, encrypted_column, masks
from vaultstore.keys import Keys
from vaultstore.masks import Mask
from vaultstore.testing import OpenBaoServer

__all__ = [
    "OPERATOR",
    "REVIEWERS",
    "Place",
    "Release",
    "embedded_place",
    "in_another_process",
    "rebuild_token",
    "release",
    "standard_place",
]

OPERATOR = Actor("op-1", role="operator")
REVIEWERS = (Actor("au-1", role="auditor"), Actor("au-2", role="auditor"))

POLICY = """
version: 1
categories:
  contact: {description: phone}
  talk:    {description: what was written}
  card:    {description: the end of a number, projection: true}
  signs:   {description: what a note shows, projection: true}
roles: {clerk: a clerk, operator: keeps machines, auditor: looks on, seller: sells}
purposes:
  intake:
    roles: [clerk]
    write: {Person: [contact], Note: [talk]}
  desk:
    roles: [clerk]
    read: {Person: {categories: [contact]}, Note: {categories: [talk]}}
    write: {Person: [contact], Note: [talk]}
  sales:
    roles: [seller]
    read: {Person: {categories: [card]}, Note: {categories: [signs]}}
  maintenance.projection:
    roles: [operator]
    read: {Person: {categories: [contact]}, Note: {categories: [talk]}}
    write: {Person: [contact], Note: [talk]}
    requires: {approvals: 2}
    batch: 7
    ttl: 1h
  tight:
    roles: [operator]
    read: {Person: {categories: [contact]}}
    write: {Person: [contact]}
    limits: {disclose: [{max: 5, per: day, by: actor}]}
    batch: 3
  review:
    roles: [auditor]
    approves: [maintenance.projection]
"""


@dataclass(frozen=True)
class Release:
    """One release of the application: its models, with one mask for numbers and one for notes."""

    base: type[Any]
    person: type[Any]
    note: type[Any]


def release(card: Mask, signs: Mask | None = None) -> Release:
    """The models with these masks."""

    class Base(EncryptedModel, DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "people"
        __subject__ = "id"
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        town: Mapped[str] = mapped_column(default="")
        phone: Encrypted[str | None] = encrypted_column(category="contact", projections={"card": card})

    class Note(Base):
        __tablename__ = "notes"
        __subject__ = "person_id"
        __key_scope__ = "thread"
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        person_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("people.id"))
        thread: Mapped[uuid.UUID]
        text: Encrypted[str] = encrypted_column(category="talk", projections={"signs": signs or masks.keep(first=1)})

    return Release(Base, Person, Note)


@dataclass
class Place:
    """Where a store lies; it is opened again with each release."""

    url: str
    keys: Keys

    @contextmanager
    def store(self, models: Release) -> Iterator[Store]:
        """The store as this release opens it."""
        with Store.open(self.url, keys=self.keys, policy=Policy.parse(POLICY), models=models.base) as store:
            store.create_all()
            yield store


@contextmanager
def embedded_place(folder: Path) -> Iterator[Place]:
    """SQLite and a key file."""
    keys = LocalKeys.open(folder / "keys.json")
    yield Place(f"sqlite:///{folder / 'people.db'}", keys)
    keys.close()


@contextmanager
def in_another_process(folder: str, last: int) -> Iterator[Store]:
    """The embedded store as a worker in another process opens it: its keys, its file, the new release's mask."""
    with embedded_place(Path(folder)) as place:
        models = release(masks.keep(last=last))
        with Store.open(place.url, keys=place.keys, policy=Policy.parse(POLICY), models=models.base) as store:
            yield store


@contextmanager
def standard_place(openbao: OpenBaoServer, url: str) -> Iterator[Place]:
    """PostgreSQL and OpenBao."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    keys = VaultKeys(
        openbao.url, token=openbao.root_token, mount=f"{prefix}transit", prefix=prefix, auth_mount=f"{prefix}jwt"
    )
    yield Place(url, keys)
    keys.close()


def rebuild_token(store: Store, approvals: int = 2) -> str:
    """A token for maintenance.projection that so many others said yes to."""
    request = store.request_access(OPERATOR, "maintenance.projection")
    for reviewer in REVIEWERS[:approvals]:
        store.approve(request, store.issue(reviewer, "review"))
    return store.issue(OPERATOR, "maintenance.projection")

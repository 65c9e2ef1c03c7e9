"""Models that share tables and lie in several, with keys of every sort, and a policy that lists some of them."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey, Identity, Sequence, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import Actor, Encrypted, EncryptedModel, Policy, blind_index, encrypted_column, masks, row_scope, uuid7
from vaultstore.orm.registry import ModelRegistry
from vaultstore.policy import BoundPolicy

__all__ = ["FAMILY", "Base", "bound_family"]


class Base(EncryptedModel, DeclarativeBase):
    """Base of these models."""


class Person(Base):
    """One table for three models; a fourth has a table of its own beside it."""

    __tablename__ = "people"
    __subject__ = "id"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    kind: Mapped[str]
    town: Mapped[str]
    name: Encrypted[str] = encrypted_column(category="identity", projections={"card": masks.surname()})


class Student(Person):
    """In the table of people."""

    __mapper_args__ = {"polymorphic_identity": "student"}  # noqa: RUF012

    school: Mapped[str | None]
    marks: Encrypted[str | None] = encrypted_column(category="school")


class Pupil(Student):
    """In the table of people, too."""

    __mapper_args__ = {"polymorphic_identity": "pupil"}  # noqa: RUF012


class Staff(Person):
    """Half in the table of people, half in its own."""

    __tablename__ = "staff"
    __mapper_args__ = {"polymorphic_identity": "staff"}  # noqa: RUF012

    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"), primary_key=True)
    branch: Mapped[str]
    wage: Encrypted[int | None] = encrypted_column(category="pay", index=blind_index())


class Visit(Base):
    """A key of two columns, and a row key beside it."""

    __tablename__ = 'Visits of "ours"'
    __subject__ = "person"
    __row_key__ = "row"
    __key_scope__ = "room"
    __table_args__ = (UniqueConstraint("row"),)

    town: Mapped[str] = mapped_column("Town", primary_key=True)
    day: Mapped[date] = mapped_column("order", primary_key=True)
    row: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    person: Mapped[uuid.UUID]
    room: Mapped[uuid.UUID]
    note: Encrypted[str | None] = encrypted_column(category="school")


class Ticket(Base):
    """Numbered by the database, in one way."""

    __tablename__ = "tickets"

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]


class Letter(Base):
    """In another."""

    __tablename__ = "letters"

    id: Mapped[int] = mapped_column(Sequence("letter_numbers"), primary_key=True)
    what: Mapped[str]


class Parcel(Base):
    """In a third."""

    __tablename__ = "parcels"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    what: Mapped[str]


@row_scope("family_town")
def of_town(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """People of the actor's town."""
    return model.town == actor.attributes["town"]  # type: ignore[no-any-return]


@row_scope("family_branch")
def of_branch(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """Staff of the actor's branch."""
    return model.branch == actor.attributes["branch"]  # type: ignore[no-any-return]


@row_scope("family_self")
def oneself(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """The actor's own row."""
    return model.id == uuid.UUID(actor.id)  # type: ignore[no-any-return]


FAMILY = """
version: 1
categories:
  identity: {description: x}
  school: {description: x}
  pay: {description: x}
  card: {description: x, projection: true}
purposes:
  of.people:
    {description: everybody, roles: [r], read: {Person: {categories: [card]}}}
  of.town:
    description: a town
    roles: [r]
    read: {Person: {categories: [identity], rows: family_town}}
    write: {Person: [identity]}
  of.students:
    {description: students and pupils, roles: [r], read: {Student: {categories: [school]}}, write: {Student: [school]}}
  of.pupils:
    {description: pupils of a town, roles: [r], read: {Pupil: {categories: [card], rows: family_town}}}
  of.staff:
    {description: staff, roles: [r], read: {Staff: {categories: [pay]}}, search: {Staff: [wage]}, write: {Staff: [pay]}}
  of.branch:
    {description: staff of a branch, roles: [r], read: {Staff: {categories: [card], rows: family_branch}}}
  of.both:
    description: everybody of a town, and all students
    roles: [r]
    read: {Person: {categories: [], rows: family_town}, Student: {categories: []}}
  of.self:
    {description: oneself, roles: [r], read: {Person: {categories: [identity], rows: family_self}}}
  of.visits:
    description: visits
    roles: [r]
    read: {Visit: {categories: [school], rows: family_town}}
    write: {Visit: [school]}
  of.post:
    {description: post, roles: [r], write: {Ticket: [], Letter: [], Parcel: []}}
services:
  desk: {description: x, purposes: [of.people, of.town, of.students, of.pupils, of.staff, of.branch, of.both, of.self]}
  post: {description: x, purposes: [of.visits, of.post]}
"""


def bound_family(text: str = FAMILY) -> tuple[BoundPolicy, ModelRegistry]:
    """The policy, bound to these models."""
    models = ModelRegistry(Base)
    return Policy.parse(text).bind(models.catalogue), models

"""Models that the tests of the ORM layer share."""

from __future__ import annotations

import datetime as dt
import uuid
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any

from sqlalchemy import ColumnElement, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from vaultstore import masks, normalize
from vaultstore.blindindex import blind_index
from vaultstore.grants import Actor
from vaultstore.orm import Encrypted, EncryptedModel, encrypted_column, row_scope, uuid7

SECRET = "13812345678"


class Base(EncryptedModel, DeclarativeBase):
    """The base of all of them."""


class Member(Base):
    __tablename__ = "members"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    phone: Encrypted[str] = encrypted_column(
        category="contact",
        index=blind_index(normalize=normalize.text()),
        projections={"sales_card": masks.keep(last=4), "care_card": masks.keep(first=3, last=4)},
    )
    email: Encrypted[str | None] = encrypted_column(category="contact", index=blind_index(unique=True))
    birth_date: Encrypted[date | None] = encrypted_column(
        category="profile", projections={"sales_card": masks.age_band(5)}
    )
    wishes: Encrypted[dict[str, Any] | None] = encrypted_column(category="preference")
    messages: Mapped[list[Message]] = relationship(back_populates="member", cascade="all, delete-orphan")


class Message(Base):
    __tablename__ = "messages"
    __subject__ = "member_id"
    __key_scope__ = "room_id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"))
    room_id: Mapped[uuid.UUID] = mapped_column(default=uuid7)
    body: Encrypted[str] = encrypted_column(category="conversation", pad=128)
    member: Mapped[Member] = relationship(back_populates="messages")


class Note(Base):
    __tablename__ = "notes"
    __subject__ = "member_id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"))
    kind: Mapped[str]
    text: Encrypted[str] = encrypted_column(category="contact", projections={"sales_card": masks.keep(first=1)})

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "note"}  # noqa: RUF012 - SQLAlchemy's form


class CallNote(Note):
    __tablename__ = "call_notes"

    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("notes.id"), primary_key=True)
    number: Encrypted[str] = encrypted_column(category="contact", projections={"sales_card": masks.keep(last=2)})
    place: Mapped[str | None]

    __mapper_args__ = {"polymorphic_identity": "call"}  # noqa: RUF012 - SQLAlchemy's form


class Lead(Base):
    """A model without encrypted fields."""

    __tablename__ = "leads"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    member_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("members.id"))
    actor: Mapped[str]
    member: Mapped[Member] = relationship()


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Sample(Base):
    """One field of each type."""

    __tablename__ = "samples"
    __subject__ = "owner"
    __row_key__ = "row"

    number: Mapped[int] = mapped_column(primary_key=True)
    row: Mapped[uuid.UUID] = mapped_column(unique=True, default=uuid7)
    owner: Mapped[uuid.UUID]
    version: Mapped[int] = mapped_column()
    a_str: Encrypted[str | None] = encrypted_column(category="profile", name="a_text", context="samples.pinned")
    a_bytes: Encrypted[bytes | None] = encrypted_column(category="profile")
    a_int: Encrypted[int | None] = encrypted_column(category="profile", index=blind_index())
    a_bool: Encrypted[bool | None] = encrypted_column(category="profile")
    a_decimal: Encrypted[Decimal | None] = encrypted_column(category="profile")
    a_date: Encrypted[date | None] = encrypted_column(category="profile")
    a_time: Encrypted[dt.datetime | None] = encrypted_column(category="profile")
    a_uuid: Encrypted[uuid.UUID | None] = encrypted_column(category="profile")
    an_enum: Encrypted[Colour | None] = encrypted_column(category="profile")
    a_list: Encrypted[list[int] | None] = encrypted_column(category="profile", default=lambda: [1])

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's form


@row_scope("orm_tests.city_of_actor")
def city_of_actor(actor: Actor, model: type[Member]) -> ColumnElement[bool]:
    return model.city == actor.attributes["city"]


@row_scope("orm_tests.leads_of_actor")
def leads_of_actor(actor: Actor, model: type[Member]) -> ColumnElement[bool]:
    from sqlalchemy import select

    return model.id.in_(select(Lead.member_id).where(Lead.actor == actor.id))


@row_scope("orm_tests.member_in_city")
def member_in_city(actor: Actor, model: type[Message]) -> ColumnElement[bool]:
    return model.member.has(Member.city == actor.attributes["city"])

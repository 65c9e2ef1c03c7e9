"""The same rows three times: as vaultstore seals them, plain, and as sqlalchemy-utils encrypts them."""

from __future__ import annotations

import uuid

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy_utils import StringEncryptedType
from sqlalchemy_utils.types.encrypted.encrypted_type import AesGcmEngine

from vaultstore import Encrypted, EncryptedModel, blind_index, encrypted_column, masks, normalize, uuid7

VALUES = {
    "a": "13812345678",
    "b": "hello@example.com",
    "c": "Shanghai, Renmin Road 123",
    "d": "1990-01-01",
    "e": "x" * 30,
}
EIGHT = VALUES | {"f": "wx_464779", "g": "married", "h": "12000"}
CARD = {"card": masks.keep(last=4)}


class SealedBase(EncryptedModel, DeclarativeBase):
    """Base of the sealed models."""


class Person(SealedBase):
    """Five encrypted fields of two categories, each with a card."""

    __tablename__ = "person"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Encrypted[str] = encrypted_column(category="contact", projections=CARD)
    b: Encrypted[str] = encrypted_column(category="contact", projections=CARD)
    c: Encrypted[str] = encrypted_column(category="contact", projections=CARD)
    d: Encrypted[str] = encrypted_column(category="profile", projections=CARD)
    e: Encrypted[str] = encrypted_column(category="profile", projections=CARD)


class Record(SealedBase):
    """Eight encrypted fields, two projections, one blind index."""

    __tablename__ = "record"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Encrypted[str] = encrypted_column(
        category="contact", index=blind_index(normalize=normalize.phone_e164(region="CN")), projections=CARD
    )
    b: Encrypted[str] = encrypted_column(category="contact", projections=CARD)
    c: Encrypted[str] = encrypted_column(category="contact")
    d: Encrypted[str] = encrypted_column(category="profile")
    e: Encrypted[str] = encrypted_column(category="profile")
    f: Encrypted[str] = encrypted_column(category="contact")
    g: Encrypted[str] = encrypted_column(category="profile")
    h: Encrypted[str] = encrypted_column(category="profile")


class PlainBase(DeclarativeBase):
    """Base of the plain models."""


class PlainPerson(PlainBase):
    """What `Person` would be without encryption."""

    __tablename__ = "plain_person"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Mapped[str]
    b: Mapped[str]
    c: Mapped[str]
    d: Mapped[str]
    e: Mapped[str]


class PlainCard(PlainBase):
    """What a matchmaker's table of cards would be without encryption: the five masks as text."""

    __tablename__ = "plain_card"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Mapped[str]
    b: Mapped[str]
    c: Mapped[str]
    d: Mapped[str]
    e: Mapped[str]


class PlainRecord(PlainBase):
    """What `Record` would be without encryption, the indexed column indexed."""

    __tablename__ = "plain_record"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Mapped[str] = mapped_column(index=True)
    b: Mapped[str]
    c: Mapped[str]
    d: Mapped[str]
    e: Mapped[str]
    f: Mapped[str]
    g: Mapped[str]
    h: Mapped[str]


class WideRecord(PlainBase):
    """A plain table with as many columns, of the same sizes, as `Record` has in the database."""

    __tablename__ = "wide_record"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Mapped[bytes]
    b: Mapped[bytes]
    c: Mapped[bytes]
    d: Mapped[bytes]
    e: Mapped[bytes]
    f: Mapped[bytes]
    g: Mapped[bytes]
    h: Mapped[bytes]
    a_card: Mapped[bytes]
    b_card: Mapped[bytes]
    a_bidx: Mapped[bytes] = mapped_column(index=True)


class WideKey(PlainBase):
    """A plain table of the size of the keyring."""

    __tablename__ = "wide_key"
    subject: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    category: Mapped[str] = mapped_column(primary_key=True)
    wrapped: Mapped[str]
    minted_by: Mapped[str]


def _peer() -> StringEncryptedType:
    return StringEncryptedType(String, "one key for the whole column", AesGcmEngine)


class PeerPerson(PlainBase):
    """What sqlalchemy-utils makes of it: one key in the code, bound to nothing."""

    __tablename__ = "peer_person"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    a: Mapped[str] = mapped_column(_peer())
    b: Mapped[str] = mapped_column(_peer())
    c: Mapped[str] = mapped_column(_peer())
    d: Mapped[str] = mapped_column(_peer())
    e: Mapped[str] = mapped_column(_peer())

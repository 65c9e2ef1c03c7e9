"""What a type checker sees of encrypted fields; test_typing.py runs `mypy --strict` over it."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any, assert_type

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import masks, normalize
from vaultstore.blindindex import blind_index
from vaultstore.grants import Actor
from vaultstore.orm import Encrypted, EncryptedModel, PurposeSession, encrypted_column, row_scope, uuid7


class Base(EncryptedModel, DeclarativeBase):
    pass


class Member(Base):
    __tablename__ = "members"
    __subject__ = "id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    city: Mapped[str]
    phone: Encrypted[str] = encrypted_column(
        category="contact",
        index=blind_index(normalize=normalize.text()),
        projections={"sales_card": masks.keep(last=4)},
    )
    birth_date: Encrypted[date | None] = encrypted_column(category="profile")
    wishes: Encrypted[dict[str, Any]] = encrypted_column(category="preference", default_factory=dict)


@row_scope("typing_sample.own_city")
def own_city(actor: Actor, model: type[Member]) -> ColumnElement[bool]:
    return model.city == actor.attributes["city"]


def read(session: PurposeSession, member: Member) -> None:
    assert_type(member.phone, str)
    assert_type(member.birth_date, date | None)
    assert_type(member.wishes, dict[str, Any])
    member.phone = "13812345678"
    member.birth_date = None
    session.disclose([member])
    assert_type(list(session.scalars(search())), list[Member])


def search() -> Select[Member]:
    return select(Member).where(Member.phone == "13812345678", Member.birth_date.is_(None))

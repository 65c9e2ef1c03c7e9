"""One member, as each of those who work with the store sees the same rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from vaultstore import Actor, errors, is_masked
from vaultstore.members.demo.stage import Stage
from vaultstore.members.models import ChatMessage, Member
from vaultstore.orm import Clear

__all__ = ["FIELDS", "Shown", "View", "at_rest", "page_of_cards", "through"]

FIELDS = ("name", "id_number", "phone", "wechat", "address", "birth_date", "monthly_income", "wants")


@dataclass(frozen=True, slots=True)
class Shown:
    """One value as somebody sees it: ``raw``, ``clear``, ``masked`` or ``denied``."""

    how: str
    text: str


@dataclass(frozen=True, slots=True)
class View:
    """What one reader sees: by field of Member, and the message under ``message``."""

    who: str
    purpose: str
    values: Mapping[str, Shown]


def at_rest(stage: Stage) -> View:
    """The bytes that lie in the database, read past vaultstore."""
    values = {}
    with stage.store.engine.connect() as connection:
        for table, column, key in (
            *(("members", f, stage.hero) for f in FIELDS),
            ("chat_messages", "body", stage.message),
        ):
            raw = raw_cell(connection, table, column, key)
            name = "message" if column == "body" else column
            values[name] = Shown("raw", f"{raw[:4].hex()}… {len(raw)} B")
    return View("the database", "no purpose", values)


def raw_cell(connection: sa.Connection, table: str, column: str, key: uuid.UUID) -> bytes:
    """One stored ciphertext, with plain SQL."""
    where = sa.table(table, sa.column("id", sa.Uuid()), sa.column(column, sa.LargeBinary()))
    return bytes(connection.execute(sa.select(where.c[column]).where(where.c.id == key)).scalar_one())


def through(stage: Stage, who: str, actor: Actor, purpose: str) -> View:
    """What a session under `purpose` shows of the member and of the message."""
    values: dict[str, Shown] = {}
    with stage.store.session(stage.token(actor, purpose)) as session:
        for model, key, fields in ((Member, stage.hero, FIELDS), (ChatMessage, stage.message, ("body",))):
            names = ["message"] if model is ChatMessage else list(fields)
            try:
                found = session.get(model, key)
                seen = session.view(found) if found is not None else {}
            except errors.AccessDenied:
                seen = {}
            for name, attribute in zip(names, fields, strict=True):
                values[name] = _shown(seen.get(attribute))
    return View(who, purpose, values)


def page_of_cards(stage: Stage) -> Sequence[tuple[str, str, str, str, str]]:
    """The matchmaker's page of leads: nickname and city in clear, name, phone and age as the card shows them."""
    with stage.store.session(stage.token(stage.matchmaker, "sales.outreach")) as session:
        found = session.scalars(sa.select(Member).where(Member.id.in_(stage.page)).order_by(Member.id)).all()
        return [(m.nickname, m.city, str(m.name), str(m.phone), str(m.birth_date)) for m in found]


def _shown(value: Any) -> Shown:
    if is_masked(value):
        return Shown("masked", str(value))
    if isinstance(value, Clear):
        return Shown("clear", "—" if value.value is None else str(value.value))
    return Shown("denied", "denied")

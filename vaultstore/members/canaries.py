"""Planting canaries: members who look like the others of their store, and are nobody."""

from __future__ import annotations

import random
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from vaultstore import Actor, Store
from vaultstore.errors import SettingsError, VaultstoreError
from vaultstore.evidence.canaries import Plot, Post
from vaultstore.members.generate import town
from vaultstore.members.models import ConsentNotice, Lead, Member
from vaultstore.records import canaries
from vaultstore.records.canaries import Canary

__all__ = ["Planted", "plant"]

_LIKE = 200
_DAY = timedelta(days=1)
_LEAD = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Planted:
    """A canary that was planted."""

    member: uuid.UUID
    post: Post
    lead: bool
    """Whether the actor holds it as a lead. A canary that is an actor's and is not has to be handed out by hand."""


@dataclass(frozen=True, slots=True)
class _Like:
    """What anybody in sales can read of a member of this store."""

    id: uuid.UUID
    city: str
    grade: str
    last_login: date | None
    created_at: datetime


def plant(store: Store, gate: Engine, plots: Sequence[Plot], *, actor: str = "canaries") -> list[Planted]:
    """Register a canary for each plot, give it the consent that members have, and each actor a lead of theirs.

    `gate` reaches vs_canaries: it is written before the rows, so the gate never takes a canary for a member. Clear
    columns are drawn from members of the same store. Raises SettingsError where a number is a member's already, or a
    store has no members to hide among.
    """
    dice = secrets.SystemRandom()
    token = store.issue(Actor(actor, role="registrar"), "registration")
    with store.session(token) as session:
        taken = [str(p.number.line) for p in plots if _is_taken(session, p.number.phone)]
        if taken:
            raise SettingsError(f"numbers of members, in lines {', '.join(taken)}: a canary takes one that is nobody's")
        like = {name: _like(session, name) for name in dict.fromkeys(plot.post.store for plot in plots)}
        notice = _notice(session)
    people = town(max(2, len(plots)), seed=secrets.randbits(64), chats=0, views=0).members
    members = [
        _disguised(dice, plot, dice.choice(like[plot.post.store]), person)
        for plot, person in zip(plots, people, strict=False)
    ]
    ids, now = [member.id for member in members], datetime.now(UTC)
    with gate.begin() as connection:
        canaries.add(connection, [Canary(m.id.bytes, p.post.actor, p.post.store, now)
                                  for m, p in zip(members, plots, strict=True)])  # fmt: skip
    consented: dict[uuid.UUID | bytes, datetime] = {member.id: member.created_at for member in members}
    with store.begin(token) as session:
        session.add_all(members)
    store.consents.take_over("matchmaking", consented, notice_version=notice)
    held = _leads(store, actor, dice, [(i, p.post) for i, p in zip(ids, plots, strict=True) if p.post.actor])
    return [Planted(i, plot.post, i in held) for i, plot in zip(ids, plots, strict=True)]


def _is_taken(session: Session, phone: str) -> bool:
    return session.scalars(select(Member.id).where(Member.phone == phone).limit(1)).first() is not None


def _like(session: Session, store: str) -> list[_Like]:
    query = (
        select(Member.id, Member.city, Member.grade, Member.last_login, Member.created_at)
        .where(Member.store == store)
        .order_by(func.random())
        .limit(_LIKE)
    )
    found = [_Like(*row) for row in session.execute(query)]
    if not found:
        raise SettingsError(f"store {store} has no members: a canary there would stand alone")
    return found


def _notice(session: Session) -> str:
    """The version of the notice that new members are shown."""
    query = (
        select(ConsentNotice.version)
        .where(ConsentNotice.kind == "matchmaking")
        .order_by(ConsentNotice.published_at.desc())
    )
    return session.scalars(query.limit(1)).first() or "imported"


def _disguised(dice: random.Random, plot: Plot, like: _Like, person: dict[str, str]) -> Member:
    """A member with the habits of `like` and the face of `person`. No ID number, address or mailbox is made up."""
    joined = min(like.created_at + timedelta(seconds=dice.uniform(-3, 3) * 86_400), datetime.now(UTC))
    filled: dict[str, Any] = {key: person[key] or None for key in ("education", "marital", "house", "car", "wants")}
    return Member(
        id=_id_like(dice, like.id, joined),
        nickname=person["nickname"],
        gender=person["gender"],
        city=like.city,
        store=plot.post.store,
        grade=like.grade,
        last_login=like.last_login,
        created_at=joined,
        name=person["real_name"],
        phone=plot.number.phone,
        wechat=plot.number.wechat,
        birth_date=date.fromisoformat(person["birth_date"]),
        height_cm=int(person["height_cm"]),
        monthly_income=Decimal(person["monthly_income"]) if person["monthly_income"] else None,
        **filled,
    )


def _id_like(dice: random.Random, other: uuid.UUID, at: datetime) -> uuid.UUID:
    """An id of the version that the store's members have; of version 7, one that tells this time (RFC 9562, 5.7)."""
    if other.version != 7:
        return uuid.UUID(int=dice.getrandbits(128), version=4)
    bits = (int(at.timestamp() * 1000) << 80) | dice.getrandbits(80)
    return uuid.UUID(int=bits & ~(0xF << 76) & ~(0x3 << 62) | (7 << 76) | (2 << 62))


def _leads(
    store: Store, actor: str, dice: random.Random, wanted: Sequence[tuple[uuid.UUID, Post]]
) -> frozenset[uuid.UUID]:
    """Hand canaries to the actors they are meant for, as a store's manager does; which were.

    A service that takes in members does not manage leads: with the database's own roles this fails, and is said.
    """
    held: set[uuid.UUID] = set()
    for name in dict.fromkeys(post.store for _, post in wanted):
        here = [(member, post) for member, post in wanted if post.store == name]
        try:
            manager = Actor(actor, role="store_manager", attributes={"store": name})
            with store.begin(store.issue(manager, "sales.manage")) as session:
                now = datetime.now(UTC)
                for member, post in here:
                    claimed = now - dice.uniform(0, 10) * _DAY
                    session.add(
                        Lead(member_id=member, actor_id=post.actor or "", store=name, claimed_at=claimed,
                             expires_at=claimed + _LEAD)
                    )  # fmt: skip
        except (VaultstoreError, DBAPIError):
            continue
        held.update(member for member, _ in here)
    return frozenset(held)

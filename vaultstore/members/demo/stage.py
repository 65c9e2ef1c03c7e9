"""Setting the stage: made-up members imported as any file is, leads for two matchmakers, and one member to follow."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from vaultstore import Actor, Store
from vaultstore.members.generate import SCAM, Town, as_csv, town
from vaultstore.members.importer import Importer
from vaultstore.members.models import ConsentNotice, Lead

__all__ = ["NOTICE", "Stage", "set_stage"]

NOTICE = "2021-11"
PAGE = 50

_FULL = {
    "id_number": "11010519491231002X",
    "wechat": "wx_900913",
    "email": "xiaoyu@example.com",
    "address": "上海市人民路12号1503室",
    "birth_date": "1949-12-31",
    "monthly_income": "12000",
    "wants": "性格温柔，喜欢做饭",
    "consent_matchmaking": "2021-11-02",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A filled store, and who plays in it."""

    store: Store
    gate: Engine
    """Where the audit entries lie."""
    town: Town = field(repr=False)
    hero: uuid.UUID
    """The member whom the demo follows."""
    other: uuid.UUID
    """Another member, to swap ciphertexts with."""
    message: uuid.UUID
    """A message that the member wrote."""
    page: Sequence[uuid.UUID]
    """Leads of the honest matchmaker, at most 50, the member first."""
    matchmaker: Actor
    scraper: Actor
    """A matchmaker whose script holds everybody else as a lead."""

    def token(self, actor: Actor, purpose: str, *, ttl: timedelta | None = None) -> str:
        """A token as the login service would issue it."""
        own = [uuid.UUID(actor.id)] if purpose == "member.self" else None
        return self.store.issue(actor, purpose, subjects=own, ttl=ttl)

    @property
    def member(self) -> Actor:
        """The member, logged in."""
        return Actor(str(self.hero), role="member")


def set_stage(
    store: Store,
    gate: Engine,
    *,
    members: int,
    seed: int,
    progress: Callable[[str, int], None],
) -> Stage:
    """Fill an empty store with `members` made-up people (at least 10), through the import that real files take.

    `progress` hears of each file: its kind, and its rows.
    """
    store.create_all()
    people = town(members, seed=seed)
    hero, other = people.members[0], people.members[1]
    hero.update({name: value for name, value in _FULL.items() if not hero[name]})
    first = people.chats[0]
    first.update(sender_id=hero["member_id"], recipient_id=other["member_id"], body=SCAM[1], is_scam="1")
    importer = Importer(store, notice=NOTICE, actor="demo-import")
    for kind, rows in (("members", people.members), ("chats", people.chats), ("views", people.views)):
        done = importer.stream(io.BytesIO(as_csv(rows, bom=kind == "members")), f"{kind}.csv", kind)
        progress(kind, done.written)
    willing = [uuid.UUID(m["member_id"]) for m in people.members if m["consent_matchmaking"]]
    rest = [one for m in people.members if (one := uuid.UUID(m["member_id"])) not in willing[:PAGE]]
    matchmaker = Actor("u-17", role="matchmaker", attributes={"store": hero["store"]})
    scraper = Actor("u-66", role="matchmaker", attributes={"store": hero["store"]})
    with Session(store.engine) as session:
        session.add(_notice())
        session.add_all(_leads(matchmaker, willing[:PAGE]))
        session.add_all(_leads(scraper, rest))
        session.commit()
    return Stage(
        store=store,
        gate=gate,
        town=people,
        hero=uuid.UUID(hero["member_id"]),
        other=uuid.UUID(other["member_id"]),
        message=uuid.UUID(first["message_id"]),
        page=tuple(willing[:PAGE]),
        matchmaker=matchmaker,
        scraper=scraper,
    )


def _leads(actor: Actor, members: Sequence[uuid.UUID]) -> Iterator[Lead]:
    until = datetime.now(UTC) + timedelta(days=1)
    for member in members:
        yield Lead(member_id=member, actor_id=actor.id, store=actor.attributes["store"], expires_at=until)


def _notice() -> ConsentNotice:
    return ConsentNotice(
        kind="matchmaking",
        version=NOTICE,
        text="我们会把您的资料卡（不含电话、证件和聊天）给为您服务的红娘看，您可以随时撤回。",
        published_at=datetime(2021, 11, 1, tzinfo=UTC),
    )

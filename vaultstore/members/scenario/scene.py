"""The scene: a member store filled from files, the desks that a backend runs over it, and the people of the story."""

from __future__ import annotations

import csv
import io
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import cached_property
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from vaultstore import Actor, Store
from vaultstore.errors import SettingsError
from vaultstore.members.carriers import RecordingCarrier
from vaultstore.members.claims import Claims
from vaultstore.members.complaints import Complaints
from vaultstore.members.generate import SCAM, Town, as_csv, town
from vaultstore.members.importer import Importer
from vaultstore.members.models import ConsentNotice, Member
from vaultstore.members.pools import Pools
from vaultstore.members.relay import ContactRules, Relay
from vaultstore.members.relay_worker import RelayWorker
from vaultstore.members.safety import blocked_among
from vaultstore.members.self_service import SelfService
from vaultstore.members.suppression import Suppressions, suppressed_among

__all__ = ["NOTICE", "Scene", "read_town", "set_scene"]

NOTICE = "2021-11"
KINDS = ("members", "chats", "views")

_ANY_TIME = ContactRules(quiet_from=time(0), quiet_until=time(0))
"""The script runs at any hour."""


@dataclass
class Scene:
    """A filled store, and everybody in it."""

    store: Store
    gate: Engine
    town: Town = field(repr=False)
    planes: bool
    """Whether Vault and PostgreSQL enforce the policy too."""
    willing: list[uuid.UUID] = field(repr=False)
    """Members who consented to matchmaking, those of the largest store first; an act takes some and gives none back."""
    homes: Mapping[uuid.UUID, tuple[str, str]] = field(repr=False)
    """Member -> store and city."""

    def __post_init__(self) -> None:
        self._desk = token = self._kept(Actor("lead-desk", role="lead_desk"), "sales.desk")
        relay = self._kept(Actor("relay-desk", role="relay_desk"), "relay.desk")
        self.claims = Claims(self.store, token, out=self.out)
        self.pools = Pools(self.store, self.claims.free, out=self.out)
        self.suppressions = Suppressions(
            self.store, self._naming(Actor("no-desk", role="suppression_desk"), "suppression.desk"),
            closed=self.claims.close,
        )  # fmt: skip
        self.carrier = RecordingCarrier()
        self.relay = Relay(self.store, relay, rules=_ANY_TIME)
        self.worker = RelayWorker(
            self.store, self.carrier, desk=relay, rules=_ANY_TIME,
            number=self._naming(Actor("relay-1", role="telephony"), "relay.telephony"),
        )  # fmt: skip
        self.complaints = Complaints(self.store)
        self.me = SelfService(self.store)

    def take(self) -> uuid.UUID:
        """A member whom nothing has happened to yet."""
        if not self.willing:
            raise SettingsError("these files have too few members who consented: give larger ones")
        return self.willing.pop(0)

    @property
    def shop(self) -> str:
        """The store with most of the members who are left."""
        return Counter(self.homes[one][0] for one in self.willing).most_common(1)[0][0]

    def seller(self, name: str = "u-17", of: uuid.UUID | None = None) -> Actor:
        """A matchmaker of the highest rank, in the store of a member."""
        shop, city = self.homes[of or self.willing[0]]
        return Actor(name, role="matchmaker", attributes={"store": shop, "city": city, "rank": "X"})

    def outreach(self, name: str = "u-17") -> str:
        """That matchmaker's token for the members they hold."""
        return self.store.issue(self.seller(name), "sales.outreach")

    def claimed(self, name: str = "u-17") -> uuid.UUID:
        """A member whom that matchmaker has just claimed."""
        member = self.take()
        self.claim(name, member)
        return member

    def claim(self, name: str, member: uuid.UUID) -> None:
        """That matchmaker, of the member's store, claims the member from the store's pool."""
        self.claims.claim(self.store.issue(self.seller(name, member), "sales.pool"), member)

    def member(self, member: uuid.UUID, purpose: str = "member.self") -> str:
        """A member's own token."""
        return self.store.issue(Actor(str(member), role="member"), purpose)

    def out(self, members: Sequence[uuid.UUID]) -> set[uuid.UUID]:
        """Who is in no pool."""
        with self.store.session(self._desk()) as session:
            return suppressed_among(session, members) | blocked_among(session, members)

    def row(self, member: uuid.UUID) -> dict[str, str]:
        """What the file said of a member."""
        return self._rows[str(member)]

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        return {row["member_id"]: row for row in self.town.members}

    def _kept(self, actor: Actor, purpose: str) -> Callable[[], str]:
        made: list[str] = []

        def token() -> str:
            if not made:
                made.append(self.store.issue(actor, purpose))
            return made[0]

        return token

    def _naming(self, actor: Actor, purpose: str) -> Callable[[uuid.UUID], str]:
        return lambda member: self.store.issue(actor, purpose, subjects=[member])


def read_town(folder: Path) -> Town:
    """The three files of a folder: members.csv, chats.csv, views.csv. Raises SettingsError where one is missing."""
    found = []
    for kind in KINDS:
        path = folder / f"{kind}.csv"
        try:
            found.append(list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))))
        except FileNotFoundError:
            raise SettingsError(
                f"{path} is missing: the script plays on members.csv, chats.csv and views.csv"
            ) from None
    return Town(*found)


def set_scene(
    store: Store,
    gate: Engine,
    data: Path | None,
    *,
    planes: bool,
    members: int,
    seed: int,
    progress: Callable[[str, int], None],
) -> Scene:
    """Fill an empty store: from the files in `data`, or with `members` made-up people."""
    people = read_town(data) if data else _made_up(members, seed)
    importer = Importer(store, notice=NOTICE, actor="import")
    for kind in KINDS:
        rows = getattr(people, kind)
        stream = io.BytesIO((data / f"{kind}.csv").read_bytes() if data else as_csv(rows, bom=False))
        progress(kind, importer.stream(stream, f"{kind}.csv", kind).written)
    with Session(store.engine) as session, session.begin():
        session.add(
            ConsentNotice(
                kind="matchmaking", version=NOTICE, text="我们会把您的资料卡给为您服务的红娘看,您可以随时撤回。",
                published_at=datetime(2021, 11, 1, tzinfo=UTC),
            )
        )  # fmt: skip
    willing, homes = _willing(store, people.members)
    return Scene(store, gate, people, planes, willing, homes)


def _made_up(members: int, seed: int) -> Town:
    people = town(members, seed=seed)
    for row in people.members:  # one store, so that the script has enough of its members
        row.update(store="sh-01", city="上海", grade="B")
    people.chats[0].update(body=SCAM[1], is_scam="1")
    return people


def _willing(store: Store, rows: Iterable[dict[str, str]]) -> tuple[list[uuid.UUID], dict[uuid.UUID, tuple[str, str]]]:
    """Members who consented and were taken in, those of large stores first; and where they are at home."""
    with Session(store.engine) as session:
        found = session.execute(select(Member.id, Member.store, Member.city))
        homes = {one: (shop, city) for one, shop, city in found}
    asked = [uuid.UUID(row["member_id"]) for row in rows if row["consent_matchmaking"]]
    willing = [one for one in asked if one in homes]
    sizes = Counter(homes[one][0] for one in willing)
    return sorted(willing, key=lambda one: (-sizes[homes[one][0]], homes[one][0])), homes

"""A scammer, two victims and small talk, for tests of chat safety and the real-name check on either profile."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.support.profiles import COURIER, REGISTRAR, member
from vaultstore import Actor, Store
from vaultstore.members.safety import Safety
from vaultstore.members.safety_rules import WarningPlan

__all__ = ["DESK", "ID", "NAME", "SECRET", "VERIFIER", "Scene", "analyst", "register"]

SECRET = b"a secret of thirty-two bytes, ok"
DESK = Actor("safety-desk", role="safety_desk")
VERIFIER = Actor("verifier-1", role="verifier")
ID, NAME = "11010519491231002X", "欧阳晨秀"


def analyst(name: str, role: str = "safety_analyst") -> Actor:
    """Somebody of the safety team."""
    return Actor(name, role=role)


def register(store: Store, count: int, **values: object) -> list[uuid.UUID]:
    """Members who are new."""
    members = [member(uuid.uuid4().int % 10**8, **values) for _ in range(count)]
    ids = [one.id for one in members]
    with store.begin(store.issue(REGISTRAR, "registration")) as session:
        session.add_all(members)
    return ids


@dataclass
class Scene:
    """A store with a scam in it, and its safety desk. Its clock is moved by hand."""

    store: Store
    scammer: uuid.UUID
    victim: uuid.UUID
    friends: tuple[uuid.UUID, uuid.UUID]
    scam: uuid.UUID
    talk: uuid.UUID
    safety: Safety
    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """The time, as far as it was moved."""
        return datetime.now(UTC) + self.ahead

    def token(self, actor: Actor, purpose: str, **more: object) -> str:
        """A token from the store's own issuer."""
        return self.store.issue(actor, purpose, **more)  # type: ignore[arg-type]

    @property
    def triage(self) -> str:
        """An analyst's token."""
        return self.token(analyst("s-1"), "safety.triage")

    def write(self, sender: uuid.UUID, recipient: uuid.UUID, conversation: uuid.UUID, *texts: str) -> None:
        """Messages, delivered as the chat does."""
        courier = self.token(COURIER, "chat.delivery")
        for text in texts:
            self.safety.deliver(courier, sender=sender, recipient=recipient, conversation=conversation, text=text)

    @classmethod
    def of(cls, store: Store, plan: WarningPlan | None = None) -> Scene:
        """Set it up in an empty store."""
        scammer, victim, one, other = register(store, 4)
        scene: Scene
        safety = Safety(
            store, lambda: store.issue(DESK, "safety.desk"), secret=SECRET, plan=plan, clock=lambda: scene.now()
        )
        scene = cls(store, scammer, victim, (one, other), uuid.uuid4(), uuid.uuid4(), safety)
        scene.write(scammer, victim, scene.scam, "你好", "我急用钱，能先转账5000给我吗", "加我微信：abc123，私聊")
        scene.write(victim, scammer, scene.scam, "你说什么？")
        scene.write(one, other, scene.talk, "周末有空一起喝咖啡吗？", "我在银行上班")
        return scene

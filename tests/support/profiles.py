"""The member store in both profiles, with everything counted that the claims speak of."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event

from vaultstore import Actor, LocalKeys, Policy, Store, VaultKeys
from vaultstore.keys import Keys
from vaultstore.members.models import Base, ChatMessage, Lead, Member, ProfileView
from vaultstore.testing import OpenBaoServer

SHIPPED_POLICY = Path(__file__).parents[2] / "policies"

REGISTRAR = Actor("registrar-1", role="registrar")
COURIER = Actor("courier-1", role="courier")
MATCHER = Actor("matcher-1", role="matcher")
MATCHMAKER = Actor("u-17", role="matchmaker", attributes={"store": "sh-01"})


@dataclass
class Profile:
    """One member store, its key service and what it was asked."""

    name: str
    store: Store
    keys: Keys
    url: str
    folder: Path
    requests: Counter[str] = field(default_factory=Counter)
    statements: list[str] = field(default_factory=list)
    parameters: list[Any] = field(default_factory=list)
    gate_statements: list[str] = field(default_factory=list)
    """What the gate's own connections ran; on SQLite as the file saw it, COMMIT included."""

    def forget(self) -> None:
        """Start counting anew."""
        self.requests.clear()
        self.statements.clear()
        self.parameters.clear()
        self.gate_statements.clear()

    def token(self, actor: Actor, purpose: str, **more: Any) -> str:
        """A token from the store's own issuer."""
        return self.store.issue(actor, purpose, **more)

    def add_members(self, count: int, **values: Any) -> list[uuid.UUID]:
        """Register `count` members and return their ids, in order of registration."""
        members = [member(i, **values) for i in range(count)]
        ids = [m.id for m in members]
        with self.store.begin(self.token(REGISTRAR, "registration")) as session:
            session.add_all(members)
        return ids

    def claim(self, ids: list[uuid.UUID], actor: Actor = MATCHMAKER) -> None:
        """Give `actor` an open lead of each member, and the members' consent to be matched."""
        from sqlalchemy import update
        from sqlalchemy.orm import Session

        now = datetime.now(UTC)
        with Session(self.store.engine) as session, session.begin():
            # A member is one seller's at a time.
            session.execute(
                update(Lead)
                .where(Lead.member_id.in_(ids), Lead.state == "open")
                .values(state="reassigned", ended_at=now)
            )
            session.add_all(
                Lead(
                    member_id=i,
                    actor_id=actor.id,
                    store=actor.attributes["store"],
                    state="open",
                    claimed_at=now,
                    expires_at=now + timedelta(days=7),
                )
                for i in ids
            )
        for i in ids:
            self.store.consents.grant(i, "matchmaking", notice_version="2021-11")


def member(i: int, **values: Any) -> Member:
    """A member with every field filled, told apart by `i`."""
    filled: dict[str, Any] = {
        "id": uuid.uuid4(),
        "nickname": f"nick-{i}",
        "gender": "F",
        "city": "上海",
        "store": "sh-01",
        "grade": "A",
        "last_login": date(2021, 11, 1),
        "name": "欧阳晨秀",
        "id_number": None,
        "phone": f"138{i:08d}",
        "wechat": f"wx_{i:06d}",
        "email": f"user{i}@example.com",
        "address": f"上海市浦东新区人民路{i}号",
        "birth_date": date(1988, 2, 29),
        "height_cm": 168,
        "education": "本科",
        "marital": "未婚",
        "monthly_income": Decimal("12000.50"),
        "house": "有",
        "car": "无",
        "wants": "长头发",
    }
    filled.setdefault("created_at", datetime.now(UTC))
    return Member(**(filled | values))


@contextmanager
def embedded(folder: Path, **options: Any) -> Iterator[Profile]:
    """SQLite and a key file; `options` go to `Store.open`."""
    url = f"sqlite:///{folder / 'members.db'}"
    with _profile("embedded", url, LocalKeys.open(folder / "keys.json"), folder, Counter(), **options) as profile:
        yield profile


@contextmanager
def standard(
    folder: Path, openbao: OpenBaoServer, url: str, timeout: tuple[float, float] = (2.0, 10.0), **options: Any
) -> Iterator[Profile]:
    """PostgreSQL and OpenBao, with a key prefix of its own on a shared server; `options` go to `Store.open`."""
    requests: Counter[str] = Counter()
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    keys = VaultKeys(
        openbao.url,
        token=openbao.root_token,
        mount=f"{prefix}transit",
        prefix=prefix,
        auth_mount=f"{prefix}jwt",
        timeout=timeout,
        on_request=lambda method, path, items: requests.update(
            [path.rpartition("transit/")[2].replace(f"{prefix}cat-", "")]
        ),
    )
    with _profile("standard", url, keys, folder, requests, **options) as profile:
        yield profile


@contextmanager
def _profile(
    name: str, url: str, keys: Keys, folder: Path, requests: Counter[str], **options: Any
) -> Iterator[Profile]:
    import vaultstore.members.scopes  # noqa: F401 - registers the row scopes

    gate = create_engine(url.replace("members.db", "gate.db"), hide_parameters=True, pool_pre_ping=True, pool_size=4)
    gate_statements: list[str] = []
    # Before the store derives engines of its own from it: those take the listeners that are there by then.
    if gate.dialect.name == "sqlite":
        event.listen(gate, "connect", lambda raw, record: raw.set_trace_callback(gate_statements.append))
    else:
        event.listen(gate, "before_cursor_execute", lambda conn, cur, sql, *rest: gate_statements.append(sql))
    store = Store.open(url, keys=keys, policy=Policy.load(SHIPPED_POLICY), models=Base, gate=gate, **options)
    store.create_all()
    profile = Profile(name, store, keys, url, folder, requests, gate_statements=gate_statements)

    def record(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        profile.statements.append(statement)
        profile.parameters.append((statement, parameters))

    event.listen(store.engine, "before_cursor_execute", record)
    try:
        yield profile
    finally:
        event.remove(store.engine, "before_cursor_execute", record)
        store.close()
        gate.dispose()
        keys.close()


__all__ = [
    "COURIER",
    "MATCHER",
    "MATCHMAKER",
    "REGISTRAR",
    "SHIPPED_POLICY",
    "ChatMessage",
    "Profile",
    "ProfileView",
    "embedded",
    "member",
    "standard",
]

"""The member store on PostgreSQL with its plane applied, and rows that say by their ids whose they are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tests.support.postgres_login import fill
from tests.support.postgres_plane import PostgresWorld, bind, postgres_world
from vaultstore.gate.postgres import PostgresLedger
from vaultstore.members.models import ChatMessage, ConsentNotice, Lead, Member, ProfileView
from vaultstore.testing import PostgresServer

__all__ = ["ME", "OTHER", "SOON", "applied_store", "lead", "member", "number"]

SOON = timedelta(days=7)


def number(n: int) -> uuid.UUID:
    """The `n`-th id."""
    return uuid.UUID(int=n)


ME, OTHER = number(1), number(2)


def member(n: int, store: str = "sh-01") -> dict[str, Any]:
    """The clear columns of a member."""
    return {
        "id": number(n),
        "nickname": f"nick-{n}",
        "gender": "F",
        "city": "上海",
        "store": store,
        "grade": "A",
        "last_login": date(2021, 11, 1),
        "created_at": datetime.now(UTC),
    }


def lead(
    n: int, of: int, actor: str, state: str = "open", ends: timedelta = SOON, store: str = "sh-01"
) -> dict[str, Any]:
    """A lead of member `of`."""
    now = datetime.now(UTC)
    return {
        "id": number(n),
        "member_id": number(of),
        "actor_id": actor,
        "store": store,
        "state": state,
        "claimed_at": now - SOON,
        "expires_at": now + ends,
    }


@contextmanager
def applied_store(server: PostgresServer, *, strict: bool) -> Iterator[PostgresWorld]:
    """Members 1 to 4 in store sh-01, 5 and 6 in bj-01; u-17 holds 3 and 5 as leads, and once held 4 and 6."""
    with postgres_world(server) as world:
        world.plane(strict=strict).apply()
        PostgresLedger(world.engine).publish(bind())
        fill(world, Member, [member(n) for n in (1, 2, 3, 4)] + [member(n, "bj-01") for n in (5, 6)])
        fill(
            world,
            Lead,
            [
                lead(103, 3, "u-17"),
                lead(105, 5, "u-17"),
                lead(104, 4, "u-17", ends=-timedelta(hours=1)),
                lead(106, 6, "u-17", state="closed"),
                lead(101, 1, "u-18"),
            ],
        )
        sent = [(201, 1, 2), (202, 2, 1), (203, 3, 2)]
        fill(
            world,
            ChatMessage,
            [
                {
                    "id": number(n),
                    "sender_id": number(sender),
                    "recipient_id": number(recipient),
                    "conversation_id": number(900),
                    "sent_at": datetime.now(UTC),
                }
                for n, sender, recipient in sent
            ],
        )
        fill(world, ProfileView, [{"id": number(301), "viewer_id": ME}, {"id": number(302), "viewer_id": OTHER}])
        fill(
            world,
            ConsentNotice,
            [{"kind": "matchmaking", "version": "1", "text": "...", "published_at": datetime.now(UTC)}],
        )
        world.execute(
            "INSERT INTO vs_keyring (subject, category, scope, key_id, wrapped, minted_by, minted_at)"
            f" VALUES ('{ME}', 'contact', '', 7, 'wrap-7', 'registration', now())"
        )
        yield world

"""A member store on either database with a key file, for tests of what an erasure leaves."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.support.profiles import COURIER, MATCHER, Profile, _profile, embedded
from vaultstore import Actor, LocalKeys
from vaultstore.audit.log import note_keys
from vaultstore.audit.verify import Verified, verify_log
from vaultstore.members.models import ChatMessage, ProfileView
from vaultstore.signed_note import NoteKey
from vaultstore.testing import PostgresServer

__all__ = ["ANALYST", "OFFICER", "chat", "everything_of", "log_keys", "on_postgres", "shop_in", "verified", "view"]

OFFICER = Actor("officer-1", role="privacy_officer")
ANALYST = Actor("analyst-1", role="safety_analyst")


@contextmanager
def shop_in(folder: Path) -> Iterator[Profile]:
    """On SQLite."""
    with embedded(folder) as profile:
        yield profile


@contextmanager
def on_postgres(folder: Path, postgres: PostgresServer) -> Iterator[Profile]:
    """On PostgreSQL, as the owner of everything."""
    url = postgres.create_database()
    keys = LocalKeys.open(folder / "keys.json")
    try:
        with _profile("postgres", url, keys, folder, Counter()) as profile:
            yield profile
    finally:
        postgres.drop_database(url)


def chat(shop: Profile, sender: uuid.UUID, recipient: uuid.UUID, conversation: uuid.UUID | None = None) -> uuid.UUID:
    """A message; its conversation."""
    conversation = conversation or uuid.uuid4()
    message = ChatMessage(
        sender_id=sender,
        recipient_id=recipient,
        conversation_id=conversation,
        sent_at=datetime.now(UTC),
        body="meet me at nine",
    )
    with shop.store.begin(shop.token(COURIER, "chat.delivery")) as session:
        session.add(message)
    return conversation


def view(shop: Profile, viewer: uuid.UUID, viewed: uuid.UUID) -> None:
    """A look at somebody's profile."""
    seen = ProfileView(viewer_id=viewer, viewed_id=viewed, viewed_at=datetime.now(UTC), event=f"{viewer}-{viewed}")
    with shop.store.begin(shop.token(MATCHER, "matching")) as session:
        session.add(seen)


def everything_of(shop: Profile) -> Mapping[str, list[tuple[Any, ...]]]:
    """Every row of every table, by table; times and signatures as they are."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for engine in {shop.store.engine, shop.store.parts.gate_engine}:
        with Session(engine) as session:
            for table in sa.inspect(engine).get_table_names():
                rows = session.execute(sa.text(f'SELECT * FROM "{table}"')).all()
                found[table] = [tuple(row) for row in rows]
    return found


def log_keys(shop: Profile) -> list[NoteKey]:
    """The public keys of the store's log."""
    return note_keys(shop.keys, shop.store.parts.origin)


def verified(shop: Profile) -> Verified:
    """The store's log, sequenced and checked."""
    shop.store.parts.log().checkpoint(shop.keys, datetime.now(UTC))
    return verify_log(shop.store.parts.gate_engine, shop.store.parts.origin, log_keys(shop))

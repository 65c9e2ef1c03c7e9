"""The shipped policy under all three planes, and what somebody has who took over one service's process.

That is its database login, the tokens that its users brought, and the Vault logins that the issuer gave for them. What
they do with it is raw SQL and raw HTTP: none of vaultstore runs on their side.
"""

from __future__ import annotations

import base64
import json
import secrets
import struct
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

import vaultstore.members.scopes  # noqa: F401 - registers the row scopes
from tests.support.generated_planes import Deployment, deployed
from tests.support.generated_sql import claims_of
from tests.support.profiles import COURIER, MATCHMAKER, REGISTRAR, SHIPPED_POLICY, member
from vaultstore import Actor, Policy
from vaultstore.members.models import Base, ChatMessage, Lead
from vaultstore.testing import OpenBaoServer, PostgresServer

__all__ = ["MANAGER", "RELAY", "Ref", "Thief", "Town", "seller", "town"]

RELAY = Actor("relay-1", role="telephony", attributes={"store": "sh-01"})

MANAGER = Actor("boss-1", role="store_manager", attributes={"store": "sh-01"})

Ref = tuple[str, bytes, bytes, int]
"""(category, subject, scope, key id) of a data key."""


@dataclass
class Town:
    """A deployed store with members in it."""

    live: Deployment
    openbao: OpenBaoServer
    known: list[uuid.UUID] = field(default_factory=list)

    def members(self, count: int, *, store: str = "sh-01", consent: bool = True, lead: bool = False) -> list[uuid.UUID]:
        """New members; with their consent to be matched, and as leads of the matchmaker, where asked."""
        people = [member(secrets.randbelow(10**8), store=store) for _ in range(count)]
        ids = [p.id for p in people]
        with self.live.store("registration").begin(self.live.operator.issue(REGISTRAR, "registration")) as session:
            session.add_all(people)
        now = datetime.now(UTC)
        if consent:
            given = dict.fromkeys(ids, now - timedelta(minutes=1))
            self.live.operator.consents.take_over("matchmaking", given, notice_version="2021-11")
        if lead:
            self.leads(ids)
        self.known += ids
        return ids

    def leads(self, ids: Sequence[uuid.UUID], actor: Actor = MATCHMAKER) -> None:
        """Open leads of `actor`, written as the superuser."""
        now = datetime.now(UTC)
        about = {"actor_id": actor.id, "store": "sh-01", "claimed_at": now, "expires_at": now + timedelta(days=7)}
        with Session(self.live.operator.engine) as session, session.begin():
            session.add_all(Lead(member_id=i, state="open", **about) for i in ids)

    def chat(self, sender: uuid.UUID, recipient: uuid.UUID) -> uuid.UUID:
        """A message; its id."""
        made = uuid.uuid4()
        message = ChatMessage(
            id=made,
            sender_id=sender,
            recipient_id=recipient,
            conversation_id=uuid.uuid4(),
            sent_at=datetime.now(UTC),
            body="meet me at nine",
        )
        with self.live.store("chat.delivery").begin(self.live.operator.issue(COURIER, "chat.delivery")) as session:
            session.add(message)
        return made

    def refs(self, subject: uuid.UUID, *categories: str) -> list[Ref]:
        """References of a subject's data keys, as the superuser reads them: say, from a stolen backup."""
        query = (
            "SELECT category, scope, key_id FROM vs_keyring WHERE subject = %s AND category = ANY (%s) ORDER BY key_id"
        )
        return [(r[0], subject.bytes, bytes(r[1]), r[2]) for r in self.inside(query, subject, list(categories))]

    def wrapped(self, ref: Ref) -> str:
        """A wrap, as the superuser reads it."""
        query = "SELECT wrapped FROM vs_keyring WHERE subject = %s AND category = %s AND key_id = %s"
        [(text,)] = self.inside(query, uuid.UUID(bytes=ref[1]), ref[0], ref[3])
        return str(text)

    def inside(self, query: str, *values: object) -> list[Any]:
        """Rows of a query as the superuser."""
        with self.live.operator.engine.begin() as connection:
            result = connection.exec_driver_sql(query, values or None)
            return list(result.all()) if result.returns_rows else []

    def disclosed(self, login: str) -> list[tuple[str, uuid.UUID]]:
        """(actor, subject) of every line that says a login was shown somebody. What was shown stands in the log."""
        query = "SELECT actor, lines, outcomes FROM vs_entries WHERE login = %s AND kind = 'disclose'"
        found = []
        for actor, lines, outcomes in self.inside(query, login):
            told = json.loads(outcomes)
            for at in range(0, len(lines), 57):  # subject (16), salt (32), number (8), outcome (1)
                line = bytes(lines[at : at + 57])
                if told[line[56] :][:1] == ["disclosed"]:  # an erasure clears the lines of its subject
                    found.append((actor, uuid.UUID(bytes=line[:16])))
        return found

    def thief(self, purpose: str = "sales.outreach", actor: Actor = MATCHMAKER, **token: Any) -> Thief:
        """Somebody in the process of the service that serves `purpose`, with a token that `actor` brought there."""
        return Thief(self, purpose, self.live.operator.issue(actor, purpose, **token))


class Thief:
    """Raw SQL under one service's login, raw HTTP under the Vault login of one token."""

    def __init__(self, town: Town, purpose: str, token: str) -> None:
        self.town, self.purpose, self.token = town, purpose, token
        self.login = town.live.login(purpose)
        self.claims = claims_of(token)
        self.connection = self.connect()
        weakref.finalize(self, self.connection.close)
        self.handed: set[tuple[str, bytes]] = set()
        """(category, subject) of every wrap that was handed out."""

    def connect(self) -> psycopg.Connection[Any]:
        """One more connection of the login; each statement commits."""
        url = sa.make_url(self.town.live.url)
        return psycopg.connect(dbname=url.database, host=str(url.query["host"]), user=self.login, autocommit=True)

    # ------------------------------------------------------------------------------------------------ SQL

    def call(self, query: str, *values: object, on: psycopg.Connection[Any] | None = None) -> Any:
        """The answer of a function that returns JSON text; or {"error": SQLSTATE}."""
        try:
            row = (on or self.connection).execute(query, values).fetchone()
        except psycopg.Error as error:
            return {"error": error.sqlstate}
        return json.loads(row[0]) if row and row[0] else {}

    def admit(
        self, categories: Sequence[str], *subjects: uuid.UUID, model: str = "Member", scopes: bytes | None = None,
        on: psycopg.Connection[Any] | None = None, **forged: Any,
    ) -> Any:  # fmt: skip
        """vs_admit under the token's claims, or others."""
        packed = b"".join(s.bytes for s in subjects)
        query = "SELECT vs_admit(%s::jsonb, %s::text, %s::text[], %s::bytea, %s::bytea)::text"
        return self.call(query, json.dumps(self.claims | forged), model, list(categories), packed, scopes, on=on)

    def wraps(
        self, entry: object, refs: Sequence[Ref], *, on: psycopg.Connection[Any] | None = None, **forged: Any
    ) -> list[str]:
        """vs_wraps of these references."""
        columns = ([r[0] for r in refs], b"".join(r[1] for r in refs), [r[2] for r in refs], [r[3] for r in refs])
        query = "SELECT vs_wraps(%s::jsonb, %s::text, %s::text[], %s::bytea, %s::bytea[], %s::bigint[])::text"
        answer = self.call(query, json.dumps(self.claims | forged), entry, *columns, on=on)
        handed = answer.get("wraps", [])
        self.handed |= {(refs[at][0], refs[at][1]) for at, _, _ in handed}
        return [wrapped for _, wrapped, _ in handed]

    def take(self, refs: Sequence[Ref], **forged: Any) -> list[str]:
        """Admission, then wraps, as a session does it."""
        subjects = dict.fromkeys(uuid.UUID(bytes=ref[1]) for ref in refs)
        answer = self.admit(sorted({ref[0] for ref in refs}), *subjects, **forged)
        return self.wraps(answer.get("entry"), refs, **forged)

    @contextmanager
    def role(self, taken: str = "", /, **forged: Any) -> Iterator[psycopg.Cursor[Any]]:
        """A transaction under a purpose's role with the claims, rolled back."""
        role = self.town.live.roles.role(taken or self.purpose)
        with self.connect() as connection:
            connection.autocommit = False
            cursor = connection.cursor()
            setting = "SELECT set_config('role', %s, true), set_config('vaultstore.claims', %s, true)"
            cursor.execute(setting, (role, json.dumps(self.claims | forged)))
            yield cursor
            connection.rollback()

    # ------------------------------------------------------------------------------------------------ HTTP

    def vault(self) -> str:
        """A Vault token, as the issuer's exchange and Vault's login give it for the token."""
        grant = self.town.live.operator.verify(self.token)
        jwt = self.town.live.operator._issuer.exchange(grant)
        status, answer = self.log_in(self.purpose, jwt)
        assert status == 200, answer
        return str(answer["auth"]["client_token"])

    def log_in(self, role: str, jwt: str) -> tuple[int, Any]:
        """A login at Vault."""
        names = self.town.live.keys.names
        return self.town.openbao.request("POST", f"auth/{names.auth_mount}/login", {"role": role, "jwt": jwt}, token="")

    def unwrap(self, vault_token: str, ref: Ref, wrapped: str) -> bytes | None:
        """A data key out of its wrap, if Vault opens it."""
        names, body = self.town.live.keys.names, {"ciphertext": wrapped, "context": wrap_context(ref)}
        path = f"{names.mount}/decrypt/{names.category(ref[0])}"
        status, answer = self.town.openbao.request("POST", path, body, token=vault_token)
        return base64.b64decode(answer["data"]["plaintext"]) if status == 200 else None


def seller(place: Town) -> Thief:
    """Somebody in the CRM's process, with the token of a matchmaker whom no other test knows."""
    return place.thief(actor=Actor(f"m-{uuid.uuid4().hex[:8]}", "matchmaker", {"store": "sh-01"}))


def wrap_context(ref: Ref) -> str:
    """docs/formats/wrap-context.md, by hand."""
    parts = [b"vaultstore/wrap/v1", ref[1], ref[0].encode(), ref[2]]
    packed = struct.pack("<Q", len(parts)) + b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return base64.b64encode(packed).decode()


@contextmanager
def town(openbao: OpenBaoServer, postgres: PostgresServer, *, strict: bool) -> Iterator[Town]:
    """The member store, deployed and empty."""
    with deployed(openbao, postgres, Policy.load(SHIPPED_POLICY), Base, strict=strict) as live:
        yield Town(live, openbao)

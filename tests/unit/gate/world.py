"""A small world for the gate's tests: two models, purposes that each show one rule, and a key service that counts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore import records
from vaultstore.audit import Line, parse_lines, verify_entry
from vaultstore.canonical import canonical_json
from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection
from vaultstore.errors import VaultstoreError
from vaultstore.gate import Disclosed, Gate, KeyNeed, KeyRef, OpenGrant, PostgresLedger, Sealed, SqliteLedger
from vaultstore.gate.ledger import Ledger
from vaultstore.grants import Actor, Grant
from vaultstore.lifecycle import Approvals, Cases, Consents, Revocations, Subjects
from vaultstore.policy.closure import closure_of
from vaultstore.policy.model import Limit, ModelRead, Purpose, Requirements
from vaultstore.records import entries, pseudonyms

CATALOGUE = Catalogue(
    {
        "Member": Model(
            "Member",
            "members",
            (
                Field("name", "identity", "members.name", "str", None, (Projection("card", "keep()", "members.card"),)),
                Field("phone", "contact", "members.phone", "str", Index("members.phone", "phone()", unique=True)),
                Field("email", "contact", "members.email", "str", Index("members.email", "email()")),
                Field("birth", "profile", "members.birth", "date"),
            ),
        ),
        "Message": Model("Message", "messages", (Field("body", "conversation", "messages.body", "str"),)),
    }
)


def purpose(name: str, read: str = "", write: str = "", search: str = "", **rest: Any) -> Purpose:
    """A purpose of clerks, unless `roles` says otherwise; rights are ``Model:category Model:category``."""

    def rights(text: str) -> dict[str, frozenset[str]]:
        pairs = [item.split(":") for item in text.split()]
        return {model: frozenset(what for of, what in pairs if of == model) for model, _ in pairs}

    return Purpose(
        name,
        roles=frozenset(rest.pop("roles", "clerk").split()),
        read={model: ModelRead(categories) for model, categories in rights(read).items()},
        write=rights(write),
        search=rights(search),
        **rest,
    )


EVERYTHING = "Member:identity Member:contact Member:profile"

PURPOSES = [
    purpose("register", f"{EVERYTHING} Member:card", f"{EVERYTHING} Message:conversation"),
    purpose("import", write=EVERYTHING),
    purpose("care", "Member:identity Member:contact", "Member:contact"),
    purpose("chats", "Message:conversation"),
    purpose("cards", "Member:card", requires=Requirements(consent="matchmaking")),
    purpose("letters", write="Member:contact", requires=Requirements(consent="matchmaking")),
    purpose("few", "Member:profile", limits={"disclose": (Limit(3, "1h", "actor"),)}),
    purpose("daily", "Member:profile", limits={"disclose": (Limit(3, "day", "purpose"),)}, timezone="Asia/Shanghai"),
    purpose("both", "Member:profile", limits={"disclose": (Limit(2, "1h", "actor"), Limit(3, "30d", "purpose"))}),
    purpose("many", "Member:profile", limits={"disclose": (Limit(100, "1h", "purpose"),)}),
    purpose("lookup", search="Member:phone", limits={"search": (Limit(4, "1h", "actor"),)}),
    purpose("signup", write="Member:contact", limits={"search": (Limit(1, "1h", "actor"),)}),
    purpose("complaint", "Member:contact", requires=Requirements(case=True)),
    purpose("inquiry", "Message:conversation Member:contact", "Message:conversation", requires=Requirements(case=True)),
    purpose(
        "probe",
        "Message:conversation",
        "Message:conversation",
        "Member:phone",
        roles="safety",
        requires=Requirements(case=True, approvals=2, subjects="named"),
    ),
    purpose("lead", roles="lead safety", approves=frozenset({"probe"})),
    purpose("privacy", "Member:identity", "Member:identity", requires=Requirements(sees_restricted=True)),
    purpose("self", "Member:identity", "Member:identity", requires=Requirements(subjects="self")),
    purpose(
        "pool",
        "Member:card",
        limits={"claim": (Limit(2, "day", "actor"),)},
        requires=Requirements(consent="matchmaking"),
    ),
    purpose(
        "calls",
        "Member:contact",
        limits={"contact": (Limit(1, "1h", "subject"), Limit(3, "30d", "subject"), Limit(4, "30d", "actor"))},
    ),
    purpose("decoys", "Member:identity", requires=Requirements(sees_canaries=True)),
]


class Published:
    """Purposes, bound to the catalogue."""

    def __init__(self, purposes: Collection[Purpose]) -> None:
        self.purposes = {purpose.name: purpose for purpose in purposes}

    def closure(self, name: str) -> dict[str, Any]:
        return closure_of(self.purposes[name], (), CATALOGUE)

    def digest(self, name: str) -> str:
        return "sha256:" + hashlib.sha256(canonical_json(self.closure(name))).hexdigest()


class CountingKeys:
    """A key service in memory. `requests` lists (verb, key, items, reference)."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, int, str | None]] = []
        self.failure: Exception | None = None
        self.logins = self.closed = 0
        self._secret = os.urandom(32)

    def login(self) -> CountingKeys:
        self.logins += 1
        return self

    def close(self) -> None:
        self.closed += 1

    def wrap(self, category: str, items: Sequence[tuple[bytes, bytes]]) -> list[str]:
        self._count("wrap", category, items)
        aead = self._key(category)
        nonces = [os.urandom(12) for _ in items]
        return [
            base64.b64encode(nonce + aead.encrypt(nonce, key, context)).decode()
            for nonce, (context, key) in zip(nonces, items, strict=True)
        ]

    def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        self._count("unwrap", category, items, reference)
        return [self._open(category, context, wrapped) for context, wrapped in items]

    def rewrap(self, category: str, items: Sequence[tuple[bytes, str]]) -> list[str | None]:
        raise NotImplementedError

    def hmac(self, index: str, values: Sequence[bytes], *, version: int) -> list[bytes]:
        self._count("hmac", index, values)
        return [hmac.digest(self._secret, f"{index} {version} ".encode() + value, "sha256") for value in values]

    def verbs(self) -> list[tuple[str, str, int]]:
        """(verb, key, items) since the last call."""
        taken, self.requests = self.requests, []
        return [request[:3] for request in taken]

    def _count(self, verb: str, key: str, items: Sequence[object], reference: str | None = None) -> None:
        self.requests.append((verb, key, len(items), reference))
        if self.failure is not None:
            raise self.failure

    def _key(self, category: str) -> AESGCM:
        return AESGCM(hmac.digest(self._secret, category.encode(), "sha256"))

    def _open(self, category: str, context: bytes, wrapped: str) -> bytes | None:
        raw = base64.b64decode(wrapped)
        try:
            return self._key(category).decrypt(raw[:12], raw[12:], context)
        except InvalidTag:
            return None


@dataclass
class Clock:
    """A clock that tests move."""

    offset: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


@dataclass
class Told:
    """An audit entry as it was committed: the leaf's content, and its lines."""

    content: dict[str, Any]
    lines: list[Line]
    leaf: str
    scopes: bytes | None
    actor: str

    def outcomes(self) -> dict[bytes, str]:
        return {line.subject: line.outcome for line in self.lines}


@dataclass
class World:
    """A gate over one of the two databases, and all that it decides on."""

    ledger: Ledger
    gate_engine: sa.Engine
    members_engine: sa.Engine
    clock: Clock = field(default_factory=Clock)
    keys: CountingKeys = field(default_factory=CountingKeys)
    refs: dict[tuple[bytes, str], KeyRef] = field(default_factory=dict)
    """(subject, category) -> the key that `member` made."""

    def __post_init__(self) -> None:
        self.gate = Gate(self.ledger, CATALOGUE, self.clock)
        self.policy = Published(PURPOSES)
        self.subjects, self.cases = Subjects(self.ledger), Cases(self.ledger)
        self.consents, self.revocations = Consents(self.ledger), Revocations(self.ledger)
        self.approvals = Approvals(self.ledger, self.gate)
        self._jtis = itertools.count(1)

    @property
    def dialect(self) -> str:
        return self.gate_engine.dialect.name

    def stepping(self, on_step: Callable[[str], None]) -> Gate:
        """The same gate with a seam between its steps."""
        return Gate(self.ledger, CATALOGUE, self.clock, on_step)

    # ------------------------------------------------------------------------------------------------ grants

    def grant(
        self,
        name: str,
        actor: str = "ann",
        role: str = "clerk",
        *,
        subjects: Collection[bytes] | None = None,
        case: str | None = None,
        ttl: timedelta = timedelta(minutes=15),
        issued: datetime | None = None,
        digest: str | None = None,
        attributes: Mapping[str, str] | None = None,
        jti: str | None = None,
    ) -> Grant:
        issued = issued or self.clock()
        return Grant(
            jti=jti or f"t-{next(self._jtis)}",
            actor=Actor(actor, role, attributes or {}),
            purpose=self.policy.purposes.get(name) or purpose(name),
            digest=digest or self.policy.digest(name),
            issued_at=issued,
            expires_at=issued + ttl,
            subjects=None if subjects is None else tuple(uuid.UUID(bytes=s) for s in subjects),
            case=case,
        )

    def open(self, name: str, *args: Any, **kwargs: Any) -> OpenGrant:
        return self.gate.open(self.grant(name, *args, **kwargs), self.keys.login)

    # ------------------------------------------------------------------------------------------- rows and keys

    def seal(
        self,
        opened: OpenGrant,
        needs: Sequence[KeyNeed],
        *,
        model: str = "Member",
        sources: Collection[str] = ("contact",),
        values: Mapping[str, Sequence[bytes]] | None = None,
        commit: bool = True,
        gate: Gate | None = None,
    ) -> Sealed:
        """Seal in a transaction of one's own, which is committed or rolled back."""
        with self.members_engine.connect() as connection:
            sealed = (gate or self.gate).seal(opened, model, sources, needs, values or {}, connection)
            if commit:
                connection.commit()
                opened.committed(sealed.minted)
            else:
                connection.rollback()
                opened.rolled_back(sealed.minted)
        return sealed

    def member(self, *categories: str, by: str = "import") -> bytes:
        """A new subject with a data key for each category."""
        return self.members(1, *categories, by=by)[0]

    def members(self, count: int, *categories: str, by: str = "import") -> list[bytes]:
        """New subjects, sorted, each with a data key for each category."""
        made = sorted(os.urandom(16) for _ in range(count))
        categories = categories or ("contact",)
        sources = {"identity" if category == "card" else category for category in categories}
        opened = self.open(by)
        for start in range(0, count, 1000):
            needs = [(category, subject, b"") for subject in made[start : start + 1000] for category in categories]
            for ref in self.seal(opened, needs, sources=sources).minted:
                self.refs[ref[1], ref[0]] = ref
        opened.close()
        self.keys.requests.clear()
        return made

    def message(self, subject: bytes, scope: bytes | None = None) -> KeyRef:
        """A new key for what `subject` says in this conversation, or in a new one."""
        need = ("conversation", subject, os.urandom(16) if scope is None else scope)
        opened = self.open("register")
        sealed = self.seal(opened, [need], model="Message", sources=["conversation"])
        opened.close()
        self.keys.requests.clear()
        return sealed.minted[0]

    def disclose(
        self, opened: OpenGrant, subjects: Sequence[bytes], *categories: str, gate: Gate | None = None
    ) -> Disclosed:
        """Ask for keys that `member` made, subject by subject."""
        refs = [self.refs.get((s, c), (c, s, b"", 1)) for s in subjects for c in categories]
        return (gate or self.gate).disclose(opened, "Member", list(categories), refs)

    # ------------------------------------------------------------------------------------------------- records

    def entries(self, kind: str | None = None) -> list[Told]:
        """Every audit entry, each verified against its lines by the pure-Python audit log, without erased lines."""
        told: list[Told] = []
        with self.gate_engine.connect() as connection:
            secret = pseudonyms.key_of(connection)
            for _, entry in entries.read(connection, limit=100_000):
                content = verify_entry(entry.leaf, entry.lines, entry.outcomes)
                assert content["kind"] == entry.kind
                assert content["id"] == entry.id
                assert not entry.actor or content["actor"] == pseudonyms.pseudonym(secret, entry.actor)
                assert datetime.fromisoformat(content["time"]) == entry.time
                lines = [stored.line for stored in parse_lines(entry.lines, entry.outcomes)]
                told.append(
                    Told(content, [line for line in lines if line is not None], entry.leaf, entry.scopes, entry.actor)
                )
        return [entry for entry in told if kind in (None, entry.content["kind"])]

    def last(self) -> Told:
        return self.entries()[-1]

    def used(self, name: str, verb: str = "disclose") -> list[int]:
        """Units used in each window of a purpose, and the same counted from the charges."""
        with self.gate_engine.connect() as connection:
            query = (
                "SELECT l.used, (SELECT coalesce(sum(c.units), 0) FROM vs_charges c WHERE c.window_id = l.id)"
                " FROM vs_limits l WHERE l.purpose = :name AND l.verb = :verb ORDER BY l.used"
            )
            rows = connection.execute(sa.text(query), {"name": name, "verb": verb}).all()
        assert all(used == charged for used, charged in rows)
        return [used for used, _ in rows]

    def rows(self, table: str) -> int:
        engine = self.members_engine if table == "vs_keyring" else self.gate_engine
        with engine.connect() as connection:
            count: int = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
        return count

    def later(self, by: timedelta) -> None:
        """Let time pass: the clock goes on, or, where the database's own is asked, its records grow older."""
        if self.dialect == "sqlite":
            self.clock.offset += by
            return
        columns = {
            "vs_charges": ["charged_at"],
            "vs_requests": ["requested_at", "expires_at"],
        }
        with self.gate_engine.begin() as connection:
            for table, names in columns.items():
                changes = ", ".join(f"{name} = {name} - make_interval(secs => {by.total_seconds()})" for name in names)
                connection.exec_driver_sql(f"UPDATE {table} SET {changes}")


@contextmanager
def sqlite_world(folder: Path) -> Iterator[World]:
    """A world on two SQLite files."""
    clock = Clock()
    members = records.configure_sqlite(sa.create_engine(f"sqlite:///{folder / 'members.db'}"))
    gate = records.configure_sqlite(sa.create_engine(f"sqlite:///{folder / 'gate.db'}"))
    records.create_all(members, gate)
    ledger = SqliteLedger(gate, members, clock)
    try:
        world = World(ledger, gate, members, clock)
        ledger.publish(world.policy)
        yield world
    finally:
        ledger.close()
        members.dispose()
        gate.dispose()


@contextmanager
def postgres_world(url: str) -> Iterator[World]:
    """A world on a PostgreSQL database that has our tables and functions."""
    members, gate = sa.create_engine(url), sa.create_engine(url, pool_size=4, max_overflow=4)
    ledger = PostgresLedger(gate)
    try:
        world = World(ledger, gate, members)
        ledger.publish(world.policy)
        yield world
    finally:
        members.dispose()
        gate.dispose()


def code_of(error: VaultstoreError) -> str:
    """The refusal code of an error."""
    return getattr(error, "reason", type(error).__name__)

"""People who are found by phone (any number may share one) and by email (one each), and the upkeep of both indexes'
keys: on SQLite with a key file, and on PostgreSQL with OpenBao."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import (
    Actor,
    Encrypted,
    EncryptedModel,
    LocalKeys,
    Policy,
    Store,
    VaultKeys,
    blind_index,
    encrypted_column,
    normalize,
)
from vaultstore.keys import Keys, KeyService
from vaultstore.testing import OpenBaoServer

__all__ = [
    "CLERK",
    "EMAIL",
    "KEEPER",
    "OPERATOR",
    "PHONE",
    "Base",
    "IndexedPlace",
    "Person",
    "embedded_place",
    "reopened",
    "standard_place",
]

CLERK, SELLER, FINDER = Actor("c-1", role="clerk"), Actor("s-1", role="seller"), Actor("f-1", role="finder")
KEEPER, OPERATOR = Actor("k-1", role="keeper"), Actor("op-1", role="operator")
REVIEWERS = (Actor("au-1", role="auditor"), Actor("au-2", role="auditor"))
PHONE, EMAIL = "people.phone", "people.email"

POLICY = """
version: 1
categories:
  contact: {description: how to reach somebody}
  secret:  {description: what nobody searches}
roles:
  clerk: a clerk
  seller: sells
  finder: finds people
  operator: keeps machines
  keeper: keeps keys
  auditor: looks on
purposes:
  intake:
    roles: [clerk]
    write: {Person: [contact]}
  desk:
    roles: [clerk]
    read: {Person: {categories: [contact]}}
    write: {Person: [contact]}
    search: {Person: [phone, email, lost]}
  finding:
    roles: [finder]
    search: {Person: [phone]}
    limits: {search: [{max: 3, per: day, by: actor}]}
  sales:
    roles: [seller]
    read: {Person: {categories: [secret]}}
  keys:
    roles: [keeper]
    read: {}
    keeps_keys: [rotate, retire]
  index:
    roles: [operator]
    read: {Person: {categories: [contact]}}
    write: {Person: [contact]}
    requires: {approvals: 2, sees_restricted: true, sees_canaries: true}
    batch: 7
  careless:
    roles: [operator]
    read: {Person: {categories: [contact]}}
    write: {Person: [contact]}
  review:
    roles: [auditor]
    approves: [index]
"""


class Base(EncryptedModel, DeclarativeBase):
    pass


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    town: Mapped[str] = mapped_column(default="")
    phone: Encrypted[str | None] = encrypted_column(category="contact", index=blind_index(normalize=normalize.text()))
    email: Encrypted[str | None] = encrypted_column(
        category="contact", index=blind_index(normalize=normalize.email(), unique=True)
    )
    lost: Encrypted[str | None] = encrypted_column(category="contact", index=blind_index(forever=True))
    """Never assigned: for tags of values that nobody keeps."""
    note: Encrypted[str | None] = encrypted_column(category="secret")


class Counting:
    """Passes everything on to a key service and counts requests for digests by index and version."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self.digests: Counter[tuple[str, int]] = Counter()

    def login(self, login_token: str) -> KeyService:
        return _CountingService(self._keys.login(login_token), self.digests)  # type: ignore[return-value]

    def __getattr__(self, name: str) -> object:
        return getattr(self._keys, name)


class _CountingService:
    def __init__(self, service: KeyService, digests: Counter[tuple[str, int]]) -> None:
        self._service, self._digests = service, digests

    def hmac(self, index: str, values: Sequence[bytes], *, version: int = 1) -> list[bytes]:
        self._digests[index, version] += 1
        return self._service.hmac(index, values, version=version)

    def __getattr__(self, name: str) -> object:
        return getattr(self._service, name)


@dataclass
class IndexedPlace:
    """Where a store lies, and how to get at it as somebody."""

    url: str
    keys: Keys
    where: tuple[str, ...]
    """What `reopened` takes in another process."""
    counting: Counting = field(init=False)

    def __post_init__(self) -> None:
        self.counting = Counting(self.keys)

    def open(self) -> Store:
        """The store; each call is one more process's view of it."""
        keys: Keys = self.counting  # type: ignore[assignment]
        return Store.open(self.url, keys=keys, policy=Policy.parse(POLICY), models=Base)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """The store, with everything made."""
        with self.open() as store:
            store.create_all()
            yield store


@contextmanager
def embedded_place(folder: Path) -> Iterator[IndexedPlace]:
    """SQLite and a key file."""
    url, path = f"sqlite:///{folder / 'people.db'}", str(folder / "keys.json")
    with LocalKeys.open(path) as keys:
        yield IndexedPlace(url, keys, (url, path))


@contextmanager
def standard_place(openbao: OpenBaoServer, url: str) -> Iterator[IndexedPlace]:
    """PostgreSQL and OpenBao."""
    prefix = f"t{uuid.uuid4().hex[:8]}-"
    with _vault(openbao.url, openbao.root_token, prefix) as keys:
        yield IndexedPlace(url, keys, (url, openbao.url, openbao.root_token, prefix))


def _vault(url: str, token: str, prefix: str) -> VaultKeys:
    return VaultKeys(url, token=token, mount=f"{prefix}transit", prefix=prefix, auth_mount=f"{prefix}jwt")


@contextmanager
def reopened(where: tuple[str, ...]) -> Iterator[Store]:
    """The store of a place, as another process opens it."""
    url, *rest = where
    with (
        _vault(*rest) if len(rest) == 3 else LocalKeys.open(rest[0]) as keys,
        IndexedPlace(url, keys, where).open() as store,
    ):
        yield store


def index_token(store: Store, approvals: int = 2) -> str:
    """A token for the backfill that so many others said yes to."""
    request = store.request_access(OPERATOR, "index")
    for reviewer in REVIEWERS[:approvals]:
        store.approve(request, store.issue(reviewer, "review"))
    return store.issue(OPERATOR, "index")


def keys_token(store: Store) -> str:
    """A token for the upkeep of keys."""
    return store.issue(KEEPER, "keys")


def add(store: Store, count: int, start: int = 0) -> list[uuid.UUID]:
    """So many people, told apart by a running number: `phone-N` and `N@example.com`."""
    people = [
        Person(id=uuid.uuid4(), phone=f"phone-{n}", email=f"{n}@example.com") for n in range(start, start + count)
    ]
    ids = [person.id for person in people]
    with store.begin(store.issue(CLERK, "intake")) as session:
        session.add_all(people)
    return ids


def find(store: Store, phone: str, purpose: str = "desk") -> list[uuid.UUID]:
    """Whose phone it is."""
    token = store.issue(CLERK if purpose == "desk" else FINDER, purpose)
    with store.session(token) as session:
        return list(session.scalars(select(Person.id).where(Person.phone == phone)))


def column(store: Store, name: str = "phone_bidx") -> dict[uuid.UUID, bytes | None]:
    """The index column as whoever reads the database sees it."""
    with store.engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT id, {name} FROM people"))
        return {i if isinstance(i, uuid.UUID) else uuid.UUID(i): None if d is None else bytes(d) for i, d in rows}

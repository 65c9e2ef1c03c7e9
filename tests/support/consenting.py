"""A store with a purpose of each kind that consent and restriction speak of, for this process and for others.

``python -m tests.support.consenting URL FOLDER TOKEN``: opens one session and reads, in a loop, whom stdin names.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import Actor, Encrypted, EncryptedModel, LocalKeys, Policy, Store, encrypted_column, masks, uuid7
from vaultstore.errors import AccessDenied
from vaultstore.keys import Keys

__all__ = ["CLERK", "DESK", "MEMBER", "POLICY", "SELLER", "Base", "Call", "Person", "fill", "opened", "token"]


class Base(EncryptedModel, DeclarativeBase): ...


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"
    __activity__ = ("seen", "created_at")

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    seen: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC).replace(tzinfo=None))
    name: Encrypted[str] = encrypted_column(category="identity", projections={"card": masks.keep(last=1)})
    phone: Encrypted[str | None] = encrypted_column(category="contact", projections={"card": masks.keep(last=4)})
    wish: Encrypted[str | None] = encrypted_column(category="wishes")


class Call(Base):
    """A model without encrypted fields that says whose its rows are."""

    __tablename__ = "calls"
    __subject__ = "person_id"

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[uuid.UUID]


POLICY = """
version: 1
categories:
  identity: {description: names, sensitive: true}
  contact:  {description: phones, sensitive: true, consent: phone_consent}
  wishes:   {description: wishes, sensitive: true, consent: wish_consent}
  card:     {description: what sellers see, projection: true}
purposes:
  enter:
    {description: take in, label: essential.service, basis: contract, roles: [clerk],
     write: {Person: [identity, contact, wishes], Call: []}}
  sell:
    {description: sell by card, label: sales, basis: consent, roles: [seller],
     read: {Person: {categories: [card]}, Call: {categories: []}}, requires: {consent: marketing}}
  dial:
    {description: sell by phone, label: sales, basis: consent, roles: [seller],
     read: {Person: {categories: [contact]}}, requires: {consent: marketing}}
  wish:
    {description: take wishes, label: sales, basis: separate_consent, roles: [clerk], write: {Person: [wishes]}}
  care:
    {description: care, label: essential.service, basis: contract, roles: [clerk],
     read: {Person: {categories: [identity, contact]}, Call: {categories: []}}}
  own:
    {description: members themselves, label: essential.service, basis: contract, roles: [member],
     read: {Person: {categories: [contact]}}, requires: {subjects: self}}
  privacy.request:
    {description: answer members, label: essential.legal_obligation, basis: legal_obligation, roles: [officer],
     read: {Person: {categories: [identity, contact]}}, requires: {subjects: named, sees_restricted: true}}
"""

CLERK, SELLER = Actor("c-1", role="clerk"), Actor("s-1", role="seller")
DESK = Actor("d-1", role="officer")


def MEMBER(person: uuid.UUID) -> Actor:
    return Actor(str(person), role="member")


@contextmanager
def opened(url: str, folder: Path, keys: Keys | None = None, **more: Any) -> Iterator[Store]:
    """The store at `url`, whose key file is in `folder`."""
    mine = keys or LocalKeys.open(folder / "keys.json")
    with Store.open(url, keys=mine, policy=Policy.parse(POLICY), models=Base, **more) as store:
        try:
            yield store
        finally:
            if keys is None:
                mine.close()


def fill(store: Store, count: int, **values: Any) -> list[uuid.UUID]:
    """People with every field, and a call each."""
    with store.begin(store.issue(CLERK, "enter")) as session:
        people = [
            Person(id=uuid7(), name=f"name-{i}", phone=f"1381234{i:04d}", wish="long hair", **values)
            for i in range(count)
        ]
        session.add_all(people)
        session.flush()
        session.add_all(Call(person_id=person.id) for person in people)
        return [person.id for person in people]


def token(store: Store, purpose: str, person: uuid.UUID | None = None) -> str:
    """A token of whoever has this purpose."""
    if purpose == "own":
        assert person is not None
        return store.issue(MEMBER(person), purpose)
    if purpose == "privacy.request":
        return store.issue(DESK, purpose, subjects=[person] if person else None)
    return store.issue(SELLER if purpose in ("sell", "dial") else CLERK, purpose)


def main(url: str, folder: str, given: str) -> None:
    """One session and one warm cache, as long as stdin says whom to read."""
    field = "phone"
    with opened(url, Path(folder)) as store, store.session(given) as session:
        print("ready", flush=True)
        for line in sys.stdin:
            session.rollback()
            session.expire_all()
            person = session.get(Person, uuid.UUID(line.strip()))
            try:
                print("gone" if person is None else str(getattr(person, field)), flush=True)
            except AccessDenied as error:
                print(error.reason, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

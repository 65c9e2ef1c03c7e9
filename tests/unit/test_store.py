"""The front door: what a store is opened with, and what its parts share."""

from __future__ import annotations

import gc
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultstore import (
    Actor,
    Encrypted,
    EncryptedModel,
    LocalKeys,
    Policy,
    Store,
    encrypted_column,
    errors,
    masks,
    uuid7,
)
from vaultstore.keys import Keys
from vaultstore.tokens import jwks

POLICY = """
version: 1
categories:
  contact: {description: phone, sensitive: true}
  card: {description: last digits, projection: true}
purposes:
  write: {description: w, label: essential.service, basis: contract, roles: [clerk], write: {Person: [contact]}}
  read:
    {description: r, label: essential.service, basis: contract, roles: [clerk], read: {Person: {categories: [contact]}}}
  card:
    {description: c, label: essential.service, basis: contract, roles: [clerk], read: {Person: {categories: [card]}}}
"""

CLERK = Actor("c-1", role="clerk")


class Base(EncryptedModel, DeclarativeBase): ...


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    phone: Encrypted[str] = encrypted_column(category="contact", projections={"card": masks.keep(last=4)})


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[Store]:
    with Store.open(
        "sqlite://", keys=LocalKeys.memory(clock=clock), policy=Policy.parse(POLICY), models=Base, clock=clock
    ) as made:
        made.create_all()
        with made.begin(made.issue(CLERK, "write")) as session:
            session.add(Person(phone="13812345678"))
        yield made


def read(store: Store, token: str) -> list[str]:
    with store.session(token) as session:
        return [person.phone for person in session.scalars(select(Person))]


def test_a_store_without_a_file_leaves_none_behind(store: Store) -> None:
    folder = Path(store.engine.url.database or "").parent
    assert (folder / "gate.db").exists()
    store.close()
    assert not folder.exists()


def test_begin_commits_and_an_error_rolls_back(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.begin(store.issue(CLERK, "write")) as session:
        session.add(Person(phone="1"))
        session.flush()
        raise ZeroDivisionError
    assert read(store, store.issue(CLERK, "read")) == ["13812345678"]


def test_sessions_of_one_token_share_a_login_and_two_tokens_do_not(store: Store) -> None:
    first, second = store.issue(CLERK, "read"), store.issue(CLERK, "read")
    with store.session(first) as a, store.session(first) as b, store.session(second) as c:
        assert a.opened is b.opened
        assert a.opened is not c.opened


def test_an_expired_token_opens_nothing_and_its_login_is_given_back(store: Store, clock: Clock) -> None:
    token = store.issue(CLERK, "read", ttl=timedelta(minutes=1))
    assert read(store, token) == ["13812345678"]
    clock.now += timedelta(minutes=2)
    with pytest.raises(errors.TokenExpired):
        store.session(token)
    assert read(store, store.issue(CLERK, "card")) == ["*******5678"]


def test_a_revoked_token_reads_nothing_even_with_warm_keys(store: Store) -> None:
    token = store.issue(CLERK, "read")
    assert read(store, token) == ["13812345678"]
    store.revoke(jti=store.verify(token).jti)
    with pytest.raises(errors.TokenRevoked):
        read(store, token)


def test_an_edited_purpose_needs_new_tokens_and_the_others_go_on(store: Store, clock: Clock) -> None:
    old_read, old_card = store.issue(CLERK, "read"), store.issue(CLERK, "card")
    edited = Policy.parse(
        POLICY.replace(
            "{categories: [contact]}", "{categories: [contact]}}, limits: {disclose: [{max: 9, per: day, by: actor}]"
        )
    )
    with Store.open(store.engine, keys=store._keys, policy=edited, models=Base, clock=clock) as newer:
        newer.publish()
        with pytest.raises(errors.TokenInvalid):
            read(store, old_read)
        with pytest.raises(errors.TokenInvalid, match="new"):
            newer.session(old_read)
        assert read(store, old_card) == read(newer, old_card) == ["*******5678"]
        assert read(newer, newer.issue(CLERK, "read")) == ["13812345678"]


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    keys, policy = LocalKeys.memory(), Policy.parse(POLICY)
    with pytest.raises(errors.SettingsError, match="in-memory"):
        Store.open(create_engine("sqlite://"), keys=keys, policy=policy, models=Base)
    with pytest.raises(errors.SettingsError, match="the gate's database is"):
        Store.open(
            f"sqlite:///{tmp_path}/m.db",
            keys=keys,
            policy=policy,
            models=Base,
            gate=create_engine("postgresql+psycopg://"),
        )

    class Bare(DeclarativeBase): ...

    with pytest.raises(errors.ModelError, match=r"class Bare\(EncryptedModel, DeclarativeBase\)"):
        Store.open("sqlite://", keys=keys, policy=policy, models=Bare)


def test_a_store_shows_neither_passwords_nor_keys(tmp_path: Path) -> None:
    engine = create_engine("postgresql+psycopg://someone:hunter2@127.0.0.1:1/x")
    with Store.open(engine, keys=LocalKeys.memory(), policy=Policy.parse(POLICY), models=Base) as store:
        assert "hunter2" not in repr(store)
        assert "***" in repr(store)


class CountedKeys:
    """Keys of which logins, and what was given back, are counted."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.logins = self.given_back = 0

    def login(self, login_token: str) -> Any:
        self.logins += 1
        service, counted = self.keys.login(login_token), self

        class Counted:
            def close(self) -> None:
                counted.given_back += 1
                service.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(service, name)

        return Counted()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.keys, name)


@pytest.fixture
def counted(store: Store, clock: Clock) -> Iterator[tuple[Store, CountedKeys]]:
    """Another store on the same database."""
    keys: Any = CountedKeys(store._keys)
    with Store.open(store.engine, keys=keys, policy=Policy.parse(POLICY), models=Base, clock=clock) as made:
        yield made, keys


def test_a_login_lasts_as_long_as_a_session_of_its_token_is_open(counted: tuple[Store, CountedKeys]) -> None:
    store, keys = counted
    token = store.issue(CLERK, "read")
    with store.session(token) as outer:
        assert read(store, token) == ["13812345678"]
        assert (keys.logins, keys.given_back) == (1, 0)
        assert outer.scalars(select(Person)).one().phone
    assert (keys.logins, keys.given_back) == (1, 1)
    assert read(store, token) == ["13812345678"]
    assert keys.logins == 1, "its keys were still open"
    for end in ("reset", "invalidate", "close"):
        session = store.session(store.issue(CLERK, "read"))
        assert session.scalars(select(Person)).one().phone
        given_back = keys.given_back
        getattr(session, end)()
        assert keys.given_back == given_back + 1, end


def test_a_login_ends_with_a_session_that_nobody_closed(counted: tuple[Store, CountedKeys]) -> None:
    store, keys = counted
    session = store.session(store.issue(CLERK, "read"))
    assert session.scalars(select(Person)).one().phone
    del session
    gc.collect()
    deadline = time.monotonic() + 10
    while keys.given_back == 0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert (keys.logins, keys.given_back) == (1, 1)


def test_a_login_ends_when_its_token_is_found_expired_or_revoked(
    counted: tuple[Store, CountedKeys], clock: Clock
) -> None:
    store, keys = counted
    session = store.session(store.issue(CLERK, "read", ttl=timedelta(minutes=1)))
    assert session.scalars(select(Person)).one().phone
    clock.now += timedelta(minutes=2)
    with pytest.raises(errors.TokenExpired):
        session.scalars(select(Person))
    assert keys.given_back == 1
    token = store.issue(CLERK, "read")
    other = store.session(token)
    assert other.scalars(select(Person)).one().phone
    store.revoke(jti=store.verify(token).jti)
    assert keys.given_back == 2
    session.close()
    other.close()
    assert (keys.logins, keys.given_back) == (2, 2)


class Desk:
    """Stands in for an IssuerClient."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def exchange(self, token: str) -> str:
        return self.store._issuer.exchange(self.store.verify(token))

    def public_keys(self) -> Mapping[str, bytes]:
        return self.store._keys.public_keys("tokens")


def test_a_store_with_an_issuer_reads_and_writes_and_neither_issues_nor_publishes(store: Store, clock: Clock) -> None:
    keys, policy = store._keys, Policy.parse(POLICY)
    desk: Any = Desk(store)
    with Store.open(store.engine, keys=keys, policy=policy, models=Base, clock=clock, issuer_client=desk) as service:
        assert read(service, store.issue(CLERK, "read")) == ["13812345678"]
        with service.begin(store.issue(CLERK, "write")) as session:
            session.add(Person(phone="2"))
        assert sorted(read(store, store.issue(CLERK, "card"))) == ["***********", "*******5678"]
        with pytest.raises(errors.UnsupportedOperation, match="ask its issuer"):
            service.issue(CLERK, "read")
        with pytest.raises(errors.UnsupportedOperation, match="policy apply"):
            service.publish()


def test_tokens_are_verified_with_the_keys_that_are_given(store: Store, clock: Clock, tmp_path: Path) -> None:
    path, policy = tmp_path / "jwks.json", Policy.parse(POLICY)
    token = store.issue(CLERK, "read")
    strangers = LocalKeys.memory()
    with Store.open("sqlite://", keys=strangers, policy=policy, models=Base) as stranger:
        stranger.create_all()
    for content, holds in ((jwks(store._keys), True), (jwks(strangers), False)):
        path.write_text(json.dumps(content))
        with Store.open(store.engine, keys=store._keys, policy=policy, models=Base, clock=clock, jwks=path) as other:
            if holds:
                assert read(other, token) == ["13812345678"]
            else:
                with pytest.raises(errors.TokenInvalid):
                    other.session(token)
    with pytest.raises(errors.SettingsError):
        Store.open(store.engine, keys=store._keys, policy=policy, models=Base, jwks=tmp_path / "none.json")
    with pytest.raises(errors.SettingsError, match="only PostgreSQL"):
        Store.open(store.engine, keys=store._keys, policy=policy, models=Base, postgres_strict=True)

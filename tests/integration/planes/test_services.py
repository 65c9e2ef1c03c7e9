"""Stores of services: what a process without credentials of its own may do, how long its logins last, and roll-outs."""

from __future__ import annotations

import gc
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select

from tests.support.applied import BOSS, POLICY, SELLER, Base, Deal, Person, applied
from tests.support.vault_plane import remove_plane
from vaultstore import Policy, Store, VaultKeys
from vaultstore.errors import (
    AccessDenied,
    KeyServiceRefused,
    SettingsError,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    UnsupportedOperation,
)
from vaultstore.orm import PurposeSession
from vaultstore.testing import OpenBaoServer, PostgresServer
from vaultstore.tokens import jwks

pytestmark = pytest.mark.integration


# ----------------------------------------------------------------------------------------------------- strict mode


def test_a_strict_database_takes_tokens_with_a_ticket_and_no_others(postgres: PostgresServer) -> None:
    with applied(postgres, strict=True) as place:
        issuing = place.open("issuer", postgres_strict=True)
        office, shop = place.open("office", postgres_strict=True), place.open("shop", postgres_strict=True)
        token = issuing.issue(BOSS, "enter")
        with office.begin(token) as session:
            person = Person(city="Shanghai", phone="13812340000")
            session.add(person)
            session.flush()
            session.add(Deal(person_id=person.id, seller="s-1"))
        ticketed = shop.verify(issuing.issue(SELLER, "sell")).ticket
        assert ticketed is not None
        assert ticketed.logins == (place.roles.login("shop"),)
        with shop.session(issuing.issue(SELLER, "sell")) as session:
            assert [p.phone for p in session.scalars(select(Person))] == ["*******0000"]
        both = shop.verify(issuing.issue(BOSS, "deals")).ticket
        assert both is not None
        assert both.logins == (place.roles.login("office"), place.roles.login("shop"))
        bare = shop._issuer.issue(SELLER, "sell")  # signed, and without a ticket
        with shop.session(bare) as session:
            assert session.scalars(select(Person)).all() == []
            with pytest.raises(TokenInvalid):
                shop.gate.check(session.opened.grant)


def test_a_store_that_wants_tickets_refuses_a_database_that_demands_none(postgres: PostgresServer) -> None:
    with applied(postgres) as place:
        token = place.open("shop").issue(SELLER, "sell")
        wary = place.open("shop", postgres_strict=True)
        with pytest.raises(SettingsError, match="demands no tickets"):
            wary.session(token)
        with pytest.raises(SettingsError, match="demands no tickets"):
            wary.issue(SELLER, "sell")
        place.apply(strict=True)
        wary._known = None  # what the store knows of the plane is a minute old at most
        with pytest.raises(SettingsError, match="ticket"):
            wary.issue(SELLER, "sell")  # this login may not have them made
        with wary.session(token) as session:
            assert session.scalars(select(Person)).all() == []


# ------------------------------------------------------------------------------------------------------- roll-outs


def test_a_service_login_publishes_nothing_and_makes_no_tables(postgres: PostgresServer) -> None:
    with applied(postgres) as place:
        shop = place.open("shop")
        for act in (shop.publish, shop.create_all):
            with pytest.raises(UnsupportedOperation, match="policy apply"):
                act()


def test_while_a_policy_is_rolled_out_only_the_purposes_that_changed_wait(postgres: PostgresServer) -> None:
    changed = POLICY.replace(
        "{categories: [desk], rows: applied_own_city}", "{categories: [card], rows: applied_own_city}"
    )
    with applied(postgres) as place:
        place.fill(place.open("office"))
        older, newer = place.open("shop"), place.open("shop", policy=changed)
        town, sell = older.issue(SELLER, "town"), older.issue(SELLER, "sell")
        with older.session(town) as session:
            assert {str(p.phone) for p in session.scalars(select(Person))} == {"138********"}
        with newer.session(sell) as session:  # before the roll-out: what did not change goes on
            assert len(session.scalars(select(Person)).all()) == 2
        with newer.session(newer.issue(SELLER, "town")) as session, pytest.raises((TokenInvalid, AccessDenied)):
            _ = [p.phone for p in session.scalars(select(Person))]
        place.apply(changed)
        for store in (older, newer):
            with store.session(sell) as session:
                assert [str(p.phone)[-4:] for p in session.scalars(select(Person).order_by(Person.id))] == [
                    "0000",
                    "0002",
                ]
        with older.session(town) as session, pytest.raises((TokenInvalid, AccessDenied)):
            _ = [p.phone for p in session.scalars(select(Person))]
        with pytest.raises(TokenInvalid, match="changed"):
            newer.session(town)
        with newer.session(newer.issue(SELLER, "town")) as session:
            assert {str(p.phone)[-4:] for p in session.scalars(select(Person))} == {"0000", "0002"}
        with pytest.raises(TokenInvalid, match="changed"):
            older.session(newer.issue(SELLER, "town"))


# ---------------------------------------------------------------------------------- a process without credentials


@dataclass
class Desk:
    """An issuer: another store, with the keys' own token. It stands in for IssuerClient."""

    store: Store
    asked: Counter[str] = field(default_factory=Counter)

    def exchange(self, token: str) -> str:
        self.asked["exchange"] += 1
        return self.store._issuer.exchange(self.store.verify(token))

    def public_keys(self) -> Mapping[str, bytes]:
        self.asked["public_keys"] += 1
        return self.store._keys.public_keys("tokens")


@dataclass
class Service:
    """A store that reads and writes with logins from a Desk, and what Vault was asked by it."""

    store: Store
    desk: Desk
    requests: Counter[str]
    revoked: Callable[[], int]
    clock: Any

    def token(self, purpose: str = "all", **more: Any) -> str:
        return self.desk.store.issue(BOSS, purpose, **more)


class Clock:
    """The real time, and a bit more."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@contextmanager
def service(postgres: PostgresServer, openbao: OpenBaoServer) -> Iterator[Service]:
    prefix, requests, clock = f"t{uuid4().hex[:8]}-", Counter[str](), Clock()
    names: dict[str, Any] = {"mount": f"{prefix}transit", "prefix": prefix, "auth_mount": f"{prefix}jwt"}

    def count(method: str, path: str, items: int) -> None:
        requests[path.rpartition("/")[2] if "transit" not in path else path.split("/")[1]] += 1

    with (
        ExitStack() as stack,
        VaultKeys(openbao.url, token=openbao.root_token, **names) as issuing,
        VaultKeys(openbao.url, on_request=count, **names) as bare,
        applied(postgres, keys=issuing) as place,
    ):
        stack.callback(remove_plane, openbao, prefix)
        desk = Desk(place.operator)
        engine = place.engine("office")
        with Store.open(
            engine,
            keys=bare,
            policy=Policy.parse(POLICY),
            models=Base,
            issuer_client=desk,  # type: ignore[arg-type] # it stands in
            clock=clock,
        ) as store:
            yield Service(store, desk, requests, lambda: requests["revoke-self"], clock)


@pytest.fixture
def office(postgres: PostgresServer, openbao: OpenBaoServer) -> Iterator[Service]:
    with service(postgres, openbao) as made:
        with made.store.begin(made.token("enter")) as session:
            session.add_all([Person(city="Shanghai", phone="13812340000"), Person(city="Beijing", phone="2")])
        made.requests.clear()
        made.desk.asked.clear()
        yield made


def phones(session: PurposeSession) -> list[str]:
    return [p.phone for p in session.scalars(select(Person).order_by(Person.id))]


def test_a_process_without_credentials_reads_writes_and_searches(office: Service) -> None:
    with office.store.begin(office.token()) as session:
        assert phones(session) == ["13812340000", "2"]
        assert session.scalars(select(Person).where(Person.phone == "2")).one().city == "Beijing"
        session.add(Person(city="Xi'an", phone="3"))
    assert office.desk.asked["exchange"] == office.requests["login"] == office.revoked() == 1
    with pytest.raises(UnsupportedOperation, match="issuer"):
        office.store.issue(BOSS, "all")
    for act in (office.store.publish, office.store.create_all):
        with pytest.raises(UnsupportedOperation, match="policy apply"):
            act()
    with pytest.raises(KeyServiceRefused):
        office.store._keys.sign("tokens", b"")


def test_the_login_ends_with_the_last_session_of_its_token_and_warm_keys_stay(office: Service) -> None:
    token = office.token()
    first, second = office.store.session(token), office.store.session(token)
    assert phones(first) == phones(second)
    first.close()
    assert (office.requests["login"], office.revoked()) == (1, 0)
    second.close()
    second.close()
    assert (office.requests["login"], office.revoked()) == (1, 1)
    decrypted = office.requests["decrypt"]
    with office.store.session(token) as third:
        assert phones(third) == ["13812340000", "2"]
    assert (office.requests["login"], office.requests["decrypt"]) == (1, decrypted), "the keys were warm"
    with office.store.session(token) as fourth:
        assert fourth.scalars(select(Person).where(Person.phone == "2")).one().city == "Beijing"
        assert (office.requests["login"], office.revoked()) == (2, 1)
    assert office.revoked() == 2
    fourth.scalars(select(Person).where(Person.phone == "2")).one()  # a closed session that is used again
    assert (office.requests["login"], office.revoked()) == (3, 2)
    fourth.close()
    assert office.revoked() == 3


def test_a_session_that_is_dropped_gives_its_login_back(office: Service) -> None:
    session = office.store.session(office.token())
    people = session.scalars(select(Person)).all()
    assert people[0].phone
    del session, people
    gc.collect()
    deadline = time.monotonic() + 10
    while office.revoked() < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert office.revoked() == 1


def test_a_login_ends_when_its_token_is_found_expired(office: Service) -> None:
    session, other = office.store.session(office.token(ttl=timedelta(minutes=1))), office.token()
    [first, *_] = session.scalars(select(Person)).all()
    assert first.phone
    office.clock.ahead = timedelta(minutes=2)
    with pytest.raises(TokenExpired):
        session.scalars(select(Person))
    assert office.revoked() == 1
    session.close()
    office.clock.ahead = timedelta()
    with office.store.session(office.token(ttl=timedelta(minutes=1))) as session:
        assert phones(session)[0]
        office.clock.ahead = timedelta(minutes=2)
        office.store.session(other).close()  # any session looks whose time is over
        assert office.revoked() == 2


def test_a_login_ends_at_revocation_and_with_the_store(office: Service) -> None:
    token = office.token()
    session = office.store.session(token)
    assert phones(session)[0]
    office.desk.store.revoke(jti=office.store.verify(token).jti)  # in another process
    session.expire_all()
    with pytest.raises(TokenRevoked):
        _ = phones(session)[0]
    assert office.revoked() == 1
    session.close()
    with office.store.session(office.token()) as session:
        assert phones(session)[0]
        office.store.close()
        assert office.revoked() == 2


def test_a_store_verifies_with_a_jwks_of_its_own(office: Service, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(jwks(office.desk.store._keys)))
    with Store.open(
        office.store.engine,
        keys=office.store._keys,
        policy=Policy.parse(POLICY),
        models=Base,
        issuer_client=office.desk,  # type: ignore[arg-type] # it stands in
        jwks=path,
    ) as store:
        asked = office.desk.asked["public_keys"]
        with store.session(office.token()) as session:
            assert phones(session) == ["13812340000", "2"]
        assert office.desk.asked["public_keys"] == asked

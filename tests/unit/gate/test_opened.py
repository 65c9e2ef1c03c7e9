"""An open grant: one login, made late, renewed when it ends, given back when closed."""

from __future__ import annotations

import pickle
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.gate.world import CountingKeys, World
from vaultstore.errors import KeyServiceRefused, TokenRevoked
from vaultstore.keys import LoginEnded


def test_nobody_logs_in_before_a_key_is_needed(sqlite: World) -> None:
    member, logins = sqlite.member("contact"), sqlite.keys.logins
    opened = sqlite.open("care")
    assert sqlite.keys.logins == logins
    sqlite.disclose(opened, [member], "contact")
    sqlite.disclose(opened, [member], "contact")
    assert sqlite.keys.logins == logins + 1


def test_a_login_that_ended_is_made_anew_once(sqlite: World) -> None:
    member = sqlite.member("contact")
    ended = CountingKeys()
    ended.failure = LoginEnded("expired")
    services = [ended, sqlite.keys]
    opened = sqlite.gate.open(sqlite.grant("care"), lambda: services.pop(0))
    assert sqlite.disclose(opened, [member], "contact").keys
    assert services == []


def test_a_login_that_ends_again_is_an_error(sqlite: World) -> None:
    member = sqlite.member("contact")
    sqlite.keys.failure = LoginEnded("expired")
    with pytest.raises(LoginEnded):
        sqlite.disclose(sqlite.open("care"), [member], "contact")
    assert len(sqlite.keys.verbs()) == 2


def test_closing_gives_the_login_back_and_forgets_the_keys(sqlite: World) -> None:
    member, opened = sqlite.member("contact"), sqlite.open("care")
    sqlite.disclose(opened, [member], "contact")
    closed = sqlite.keys.closed
    opened.close()
    opened.close()
    assert sqlite.keys.closed == closed + 1
    assert len(opened.cache) == 0
    with pytest.raises(KeyServiceRefused, match="this grant was closed"):
        sqlite.disclose(opened, [member], "contact")


def test_a_data_key_of_another_length_is_not_used(sqlite: World) -> None:
    member = sqlite.member("contact")

    def unwrap(category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
        return [bytes(16) for _ in items]

    sqlite.keys.unwrap = unwrap  # type: ignore[method-assign]
    assert sqlite.disclose(sqlite.open("care"), [member], "contact").keys == {}


def test_it_shows_neither_keys_nor_token_and_is_not_pickled(sqlite: World) -> None:
    member, opened = sqlite.member("contact"), sqlite.open("care", jti="j-1")
    answer = sqlite.disclose(opened, [member], "contact")
    assert repr(opened) == "<OpenGrant j-1 care>"
    assert "AESGCM" not in repr(answer)
    with pytest.raises(TypeError):
        pickle.dumps(opened)


def test_disposing_of_the_members_engine_closes_the_gates_connections_to_it(sqlite: World) -> None:
    member = sqlite.member("contact")
    sqlite.disclose(sqlite.open("care"), [member], "contact")
    folder = Path(sqlite.members_engine.url.database or "").parent
    assert list(folder.glob("members.db-wal"))
    sqlite.members_engine.dispose()
    assert not list(folder.glob("members.db-wal"))  # the last connection to close takes it away
    assert sqlite.disclose(sqlite.open("care"), [member], "contact").keys


def test_the_login_is_given_back_with_the_last_lease_and_the_keys_stay_open(sqlite: World) -> None:
    member, other, opened = sqlite.member("contact"), sqlite.member("contact"), sqlite.open("care")
    first, second = opened.lease(), opened.lease()
    sqlite.disclose(opened, [member], "contact")
    logins, closed = sqlite.keys.logins, sqlite.keys.closed
    first.give()
    first.give()
    assert sqlite.keys.closed == closed
    second.give()
    assert sqlite.keys.closed == closed + 1
    assert len(opened.cache) == 1
    first.take()
    first.take()
    sqlite.disclose(opened, [member], "contact")
    assert sqlite.keys.logins == logins, "the key was open: nobody logs in for it"
    sqlite.disclose(opened, [other], "contact")
    assert sqlite.keys.logins == logins + 1
    first.give()
    assert sqlite.keys.closed == closed + 2


def test_a_refusal_that_ends_the_grant_ends_its_login(sqlite: World) -> None:
    member, opened = sqlite.member("contact"), sqlite.open("care")
    lease = opened.lease()
    sqlite.disclose(opened, [member], "contact")
    closed = sqlite.keys.closed
    sqlite.revocations.revoke(jti=opened.grant.jti)
    with pytest.raises(TokenRevoked):
        sqlite.disclose(opened, [member], "contact")
    assert (sqlite.keys.closed, len(opened.cache)) == (closed + 1, 0)
    lease.give()
    assert sqlite.keys.closed == closed + 1


def test_leases_of_many_threads_count_right(sqlite: World) -> None:
    barrier = threading.Barrier(8)
    services: list[CountingKeys] = []

    def login() -> CountingKeys:
        services.append(CountingKeys())
        return services[-1]

    opened = sqlite.gate.open(sqlite.grant("care"), login)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        barrier.wait()
        for _ in range(200):
            lease = opened.lease()
            opened.ask(lambda service: None)
            (lease.give if chance.random() < 0.9 else lease.drop)()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    deadline = time.monotonic() + 10
    while any(service.closed != 1 for service in services) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {service.closed for service in services} == {1}

"""An open grant: one login, made late, renewed when it ends, given back when closed."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.gate.world import CountingKeys, World
from vaultstore.errors import KeyServiceRefused
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

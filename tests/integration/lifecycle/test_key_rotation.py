"""Rotation on both profiles: what is retired never opens again, everything else does, and nobody has to wait."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.support.profiles import REGISTRAR, Profile, member, standard
from tests.support.vault_plane import Thief
from vaultstore import Actor
from vaultstore.errors import AccessDenied, DecryptionError, KeyServiceRefused, KeyServiceUnavailable, KeyVersionNeeded
from vaultstore.keys import VaultKeys
from vaultstore.members.models import Member
from vaultstore.records.key_versions import version_of
from vaultstore.records.keyring import vs_keyring
from vaultstore.testing import OpenBaoServer

pytestmark = pytest.mark.integration

OPERATOR = Actor("operator-1", role="operator")


@pytest.fixture
def token(profile: Profile) -> str:
    return profile.token(OPERATOR, "maintenance.keys")


@pytest.fixture
def vault(openbao: OpenBaoServer, pg_database: str, tmp_path: Path) -> Iterator[Profile]:
    with standard(tmp_path, openbao, pg_database) as made:
        yield made


def phone(profile: Profile, one: uuid.UUID) -> str | None:
    with profile.store.session(profile.token(Actor(str(one), role="member"), "member.self")) as session:
        return session.get_one(Member, one).phone


def wraps(profile: Profile, category: str) -> dict[bytes, str]:
    c = vs_keyring.c
    with profile.store.engine.connect() as connection:
        rows = connection.execute(select(c.subject, c.wrapped).where(c.category == category))
        return {row.subject: row.wrapped for row in rows}


def put_back(profile: Profile, category: str, one: uuid.UUID, wrapped: str) -> None:
    c = vs_keyring.c
    with profile.store.engine.begin() as connection:
        here = (c.subject == one.bytes) & (c.category == category)
        assert connection.execute(vs_keyring.update().where(here).values(wrapped=wrapped)).rowcount == 1


def retired(profile: Profile, token: str, category: str) -> None:
    profile.store.keyring.rotate(category, token)
    profile.store.keyring.rewrap(category, token)
    profile.store.keyring.retire(category, token)


def test_after_retirement_an_old_wrap_opens_no_more_and_everything_else_does(profile: Profile, token: str) -> None:
    ids = profile.add_members(4)
    before = wraps(profile, "contact")
    with pytest.raises(KeyVersionNeeded, match="4 of version 1"):
        profile.store.keyring.rotate("contact", token)
        profile.store.keyring.retire("contact", token)
    [summary] = profile.store.keyring.rewrap("contact", token)
    assert (summary.done, summary.failed) == (4, 0)
    assert [phone(profile, one) for one in ids] == [f"1380000000{n}" for n in range(4)]
    put_back(profile, "contact", ids[1], before[ids[1].bytes])
    assert phone(profile, ids[1]) == "13800000001"  # not retired yet: an old backup still opens
    profile.store.keyring.rewrap("contact", token)
    assert profile.store.keyring.retire("contact", token) == 2
    assert {version_of(wrapped) for wrapped in wraps(profile, "contact").values()} == {2}
    put_back(profile, "contact", ids[2], before[ids[2].bytes])
    with pytest.raises(DecryptionError):
        phone(profile, ids[2])
    assert [phone(profile, one) for one in (ids[0], ids[1], ids[3])] == ["13800000000", "13800000001", "13800000003"]


def test_transit_has_forgotten_the_version_whoever_asks(vault: Profile, openbao: OpenBaoServer) -> None:
    token = vault.token(OPERATOR, "maintenance.keys")
    [one] = vault.add_members(1)
    old = wraps(vault, "contact")[one.bytes]
    assert isinstance(vault.keys, VaultKeys)
    mount, key = vault.keys.names.mount, vault.keys.names.category("contact")
    retired(vault, token, "contact")
    body = {"min_decryption_version": 1, "min_encryption_version": 0}
    status, answer = openbao.request("POST", f"{mount}/keys/{key}/config", body)
    assert status == 400, answer
    status, found = openbao.request("GET", f"{mount}/keys/{key}")
    assert (status, found["data"]["min_available_version"], set(found["data"]["keys"])) == (200, 2, {"2"})
    from base64 import b64encode

    from vaultstore.envelope import wrap_context

    context = b64encode(wrap_context(one.bytes, "contact", b"")).decode()
    status, _ = openbao.request("POST", f"{mount}/decrypt/{key}", {"ciphertext": old, "context": context})
    assert status == 400
    fresh = wraps(vault, "contact")[one.bytes]
    status, _ = openbao.request("POST", f"{mount}/decrypt/{key}", {"ciphertext": fresh, "context": context})
    assert status == 200


def test_writers_and_readers_lose_nothing_while_keys_change_under_them(profile: Profile, token: str) -> None:
    ids, failed, stop = profile.add_members(3), list[BaseException](), threading.Event()
    written: list[uuid.UUID] = []

    def write() -> None:
        try:
            n = 100
            while not stop.is_set():
                n += 1
                one = member(n)
                one_id = one.id
                with profile.store.begin(profile.token(REGISTRAR, "registration")) as session:
                    session.add(one)
                written.append(one_id)
        except BaseException as error:
            failed.append(error)

    def read() -> None:
        try:
            while not stop.is_set():
                for one in ids:
                    assert phone(profile, one)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            profile.store.keyring.rotate("contact", token)
            while True:
                profile.store.keyring.rewrap("contact", token)
                try:
                    profile.store.keyring.retire("contact", token)
                    break
                except KeyVersionNeeded:  # a writer was between the two
                    continue
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert written
    assert {version_of(wrapped) for wrapped in wraps(profile, "contact").values()} == {4}
    for one in (*ids, *written):
        assert phone(profile, one)
    with profile.store.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(Member)).scalar_one() == 3 + len(written)


@pytest.mark.parametrize("lost", range(8))
def test_a_retirement_that_breaks_off_at_any_request_is_taken_up_again(vault: Profile, lost: int) -> None:
    token = vault.token(OPERATOR, "maintenance.keys")
    ids = vault.add_members(2)
    before = wraps(vault, "contact")
    vault.store.keyring.rotate("contact", token)
    vault.store.keyring.rewrap("contact", token)
    assert isinstance(vault.keys, VaultKeys)
    client, seen = vault.keys._client, list[str]()

    def breaks(method: str, path: str, items: int) -> None:
        seen.append(f"{method} {path}")
        if len(seen) == lost + 1:
            raise KeyServiceUnavailable("the network went away")

    counted, client._on_request = client._on_request, breaks
    failed = False
    try:
        vault.store.keyring.retire("contact", token)
    except KeyServiceUnavailable:
        failed = True
    client._on_request = counted
    assert failed == (lost < len(seen))
    for one in ids:
        assert phone(vault, one)
    assert vault.store.keyring.retire("contact", token) == 2
    put_back(vault, "contact", ids[0], before[ids[0].bytes])
    with pytest.raises(DecryptionError):
        phone(vault, ids[0])
    assert phone(vault, ids[1])


def thief_of(vault: Profile, openbao: OpenBaoServer, actor: Actor, purpose: str) -> tuple[Thief, str, str]:
    """A stolen Vault token of a purpose's login, the mount, and the key of the contact category."""
    store, keys = vault.store, vault.keys
    assert isinstance(keys, VaultKeys)
    service = keys.login(store._issuer.exchange(store.verify(vault.token(actor, purpose))))
    return Thief(openbao.url, service._token), keys.names.mount, keys.names.category("contact")


def test_a_stolen_login_of_key_upkeep_opens_nothing_and_unlocks_no_key(vault: Profile, openbao: OpenBaoServer) -> None:
    from base64 import b64encode

    from vaultstore.envelope import wrap_context

    [one] = vault.add_members(1)
    wrapped = wraps(vault, "contact")[one.bytes]
    thief, mount, key = thief_of(vault, openbao, OPERATOR, "maintenance.keys")
    context = b64encode(wrap_context(one.bytes, "contact", b"")).decode()
    opening: dict[str, Any] = {"ciphertext": wrapped, "context": context}
    assert isinstance(vault.keys, VaultKeys)
    signing, index = vault.keys.names.signing("tokens"), vault.keys.names.index("members.phone")
    refused = [
        ("POST", f"decrypt/{key}", opening),
        ("POST", f"decrypt/{key}", {"batch_input": [opening]}),
        ("POST", f"encrypt/{key}", {"plaintext": b64encode(bytes(32)).decode(), "context": context}),
        ("POST", f"datakey/plaintext/{key}", {"context": context}),
        ("POST", f"keys/{key}/config", {"exportable": True}),
        ("POST", f"keys/{key}/config", {"exportable": True, "min_decryption_version": 1}),
        ("POST", f"keys/{key}/config", {"allow_plaintext_backup": True}),
        ("POST", f"keys/{key}/config", {"deletion_allowed": True}),
        ("POST", f"keys/{key}/config", {"auto_rotate_period": "1h"}),
        ("POST", f"keys/{key}/trim", {"min_available_version": 1, "force": True}),
        ("DELETE", f"keys/{key}", None),
        ("POST", f"keys/{key}-new", {"type": "aes256-gcm96"}),
        ("GET", f"export/encryption-key/{key}", None),
        ("GET", f"backup/{key}", None),
        ("POST", f"keys/{signing}/rotate", {}),
        ("POST", f"sign/{signing}", {"input": "eA=="}),
        ("POST", f"hmac/{index}", {"input": "eA=="}),
        ("POST", f"keys/{index}/config", {"exportable": True}),
        ("POST", "config/keys", {"disable_upsert": False}),
    ]
    try:
        for method, path, body in refused:
            status, answer = thief(method, f"{mount}/{path}", body)
            assert status == 403, (method, path, body, status, answer)
        status, answer = thief("POST", f"{mount}/rewrap/{key}", opening)
        assert status == 200
        assert answer["data"]["ciphertext"].startswith("vault:v1:")
    finally:
        thief.close()
    assert phone(vault, one)


@pytest.mark.parametrize(
    ("actor", "purpose"),
    [
        (Actor("u-17", role="matchmaker", attributes={"store": "sh-01"}), "sales.outreach"),
        (REGISTRAR, "registration"),
        (OPERATOR, "maintenance.projection"),
    ],
)
def test_no_other_login_rewraps_rotates_or_trims(
    vault: Profile, openbao: OpenBaoServer, actor: Actor, purpose: str
) -> None:
    thief, mount, key = thief_of(vault, openbao, actor, purpose)
    requests: list[tuple[str, str, Any]] = [
        ("POST", f"rewrap/{key}", {"ciphertext": "vault:v1:AAAA", "context": "eA=="}),
        ("POST", f"keys/{key}/rotate", {}),
        ("POST", f"keys/{key}/config", {"min_decryption_version": 1}),
        ("POST", f"keys/{key}/trim", {"min_available_version": 1}),
        ("GET", f"keys/{key}", None),
    ]
    try:
        for method, path, body in requests:
            assert thief(method, f"{mount}/{path}", body)[0] == 403, path
    finally:
        thief.close()


def test_who_may_not_is_refused_by_the_gate_before_a_key_is_asked_for(profile: Profile) -> None:
    profile.add_members(1)
    sales = profile.token(REGISTRAR, "registration")
    profile.requests.clear()
    for action in (
        lambda: profile.store.keyring.rotate("contact", sales),
        lambda: profile.store.keyring.rewrap("contact", sales),
        lambda: profile.store.keyring.retire("contact", sales),
        lambda: profile.store.keyring.status(sales),
    ):
        with pytest.raises(AccessDenied, match="does not"):
            action()
    assert not any("rewrap" in path or "keys/" in path for path in profile.requests)


def test_the_key_service_refuses_who_gets_past_the_gate(profile: Profile) -> None:
    profile.add_members(1)
    opened = profile.store.parts.opened(profile.token(REGISTRAR, "registration"))
    for ask in (
        lambda service: service.rotate("contact"),
        lambda service: service.rewrap("contact", [(b"x", "vault:v1:AAAA")]),
        lambda service: service.retire("contact", 1),
        lambda service: service.versions("contact"),
    ):
        with pytest.raises(KeyServiceRefused, match="may not"):
            opened.ask(ask)

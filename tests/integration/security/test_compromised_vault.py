"""A sales process is taken over: what its Vault logins open, by raw HTTP, with wraps that it should never have had."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.security.deployment import Town, town
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration

CARD, NUMBER = "sales_card", "contact"


@pytest.fixture(scope="module")
def place(openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=False) as made:
        yield made


def test_wraps_of_other_categories_stay_shut_even_if_they_fell_off_a_backup(place: Town) -> None:
    one, two = place.members(2)
    place.chat(one, two)
    thief = place.thief()
    token = thief.vault()
    stolen = place.refs(one, "contact", "identity", "profile", "conversation", "care_card", "pool_card", "chat_flags")
    assert len({category for category, *_ in stolen}) >= 6
    for ref in stolen:
        assert thief.unwrap(token, ref, place.wrapped(ref)) is None
    card, other = place.refs(one, CARD)[0], place.refs(two, CARD)[0]
    assert thief.unwrap(token, card, place.wrapped(card))  # a wrap that did fall into its hands: its category opens
    assert thief.unwrap(token, other, place.wrapped(card)) is None
    assert thief.unwrap(token, card, place.wrapped(stolen[0])) is None


def test_no_batch_and_no_other_path_leads_around_the_category(place: Town) -> None:
    [one] = place.members(1)
    thief = place.thief()
    token, names = thief.vault(), place.live.keys.names
    number, card = place.refs(one, NUMBER)[0], place.refs(one, CARD)[0]
    key, shut = names.category(CARD), names.category(NUMBER)
    stolen, wrap = place.wrapped(number), place.wrapped(card)
    bodies: list[tuple[str, dict[str, Any]]] = [
        (f"decrypt/{shut}", {"batch_input": [{"ciphertext": stolen}]}),
        (f"decrypt/{key}", {"batch_input": [{"ciphertext": stolen, "context": "eA=="}, {"ciphertext": wrap}]}),
        (f"decrypt/{key}/../{shut}", {"ciphertext": stolen}),
        (f"decrypt/{key}%2f..%2f{shut}", {"ciphertext": stolen}),
        (f"decrypt//{shut}", {"ciphertext": stolen}),
        (f"rewrap/{shut}", {"ciphertext": stolen}),
        (f"rewrap/{key}", {"ciphertext": stolen}),
        (f"encrypt/{key}", {"plaintext": "eA==", "context": "eA=="}),
        (f"keys/{shut}/rotate", {}),
        (f"keys/{shut}/config", {"exportable": True}),
        (f"keys/{shut}/trim", {"min_available_version": 1}),
        (f"datakey/plaintext/{shut}", {"context": "eA=="}),
        (f"sign/{names.signing('tokens')}", {"input": "eA=="}),
        ("config/keys", {"disable_upsert": False}),
        ("restore/copy", {"backup": "eA=="}),
        ("cache-config", {"size": 1}),
    ]
    for path, body in bodies:
        status, answer = place.openbao.request("POST", f"{names.mount}/{path}", body, token=token)
        assert status >= 300, (path, answer)
        assert "plaintext" not in json.dumps(answer), path
    for path in (f"keys/{shut}", f"export/encryption-key/{shut}", f"backup/{shut}", f"export/hmac-key/{shut}"):
        assert place.openbao.request("GET", f"{names.mount}/{path}", token=token)[0] >= 300


def test_its_vault_login_changes_no_right_and_makes_no_other_login(place: Town) -> None:
    thief = place.thief()
    token, names = thief.vault(), place.live.keys.names
    own = names.acl(thief.purpose)
    for method, path, body in (
        ("POST", names.acl_path(own), {"policy": 'path "*" { capabilities = ["update"] }'}),
        ("POST", names.role_path(thief.purpose), {"token_policies": ["root"]}),
        ("POST", f"auth/{names.auth_mount}/config", {"jwt_validation_pubkeys": []}),
        ("POST", "auth/token/create", {"policies": [names.acl("relay.telephony")]}),
        ("POST", "auth/token/create-orphan", {}),
        ("POST", "sys/mounts/own", {"type": "transit"}),
        ("POST", "sys/capabilities", {"paths": ["*"]}),
        ("POST", "identity/entity", {"name": "me", "policies": [names.acl("relay.telephony")]}),
        ("POST", "auth/token/renew-self", {"increment": "720h"}),
        ("LIST", "sys/policies/acl", None),
        ("GET", "sys/auth", None),
        ("GET", f"auth/{names.auth_mount}/role/relay.telephony", None),
        ("GET", "sys/raw/core", None),
    ):
        assert place.openbao.request(method, path, body, token=token)[0] >= 400, path


def test_no_token_of_its_users_logs_in_for_another_purpose(place: Town) -> None:
    thief = place.thief()
    grant = place.live.operator.verify(thief.token)
    login = place.live.operator._issuer.exchange(grant)
    for role in place.live.bound.purposes:
        expected = 200 if role == thief.purpose else 400
        assert thief.log_in(role, login)[0] == expected, role
    assert thief.log_in(thief.purpose, thief.token)[0] == 400  # a client token is no login token
    header, payload, signature = login.split(".")
    body = json.loads(base64.urlsafe_b64decode(payload + "=="))
    body |= {"purpose": "relay.telephony", "pol": place.live.bound.digest("relay.telephony")}
    forged = base64.urlsafe_b64encode(json.dumps(body).encode()).rstrip(b"=").decode()
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    for jwt in (f"{header}.{forged}.{signature}", f"{none}.{forged}.", f"{none}.{forged}.{signature}"):
        assert thief.log_in("relay.telephony", jwt)[0] == 400

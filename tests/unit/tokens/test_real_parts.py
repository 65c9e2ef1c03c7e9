"""Issuer and verifier with a real policy and a real key service: client tokens and login tokens don't mix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vaultstore.catalogue import Catalogue, Field, Model
from vaultstore.errors import IssueDenied, KeyServiceRefused, TokenInvalid
from vaultstore.grants import Actor
from vaultstore.keys import LocalKeys
from vaultstore.policy import BoundPolicy, Policy
from vaultstore.tokens import Issuer, JwksKeys, Verifier, jwks

from .support import NOW

CATALOGUE = Catalogue({"Note": Model("Note", "notes", (Field("text", "contact", "notes.text", "str"),))})
POLICY = """\
version: 1
categories:
  contact: {description: phone numbers}
purposes:
  desk.call:
    description: call somebody
    label: essential.service
    basis: contract
    roles: [clerk]
    read: {Note: {categories: [contact]}}
    ttl: 5m
"""
CLERK = Actor("u-1", "clerk")


def policy(text: str = POLICY) -> BoundPolicy:
    return Policy.parse(text).bind(CATALOGUE)


class Desk:
    def __init__(self) -> None:
        self.keys, self.policy = LocalKeys.memory(clock=lambda: NOW), policy()
        self.keys.provision(self.policy.key_access("vaultstore"))
        self.issuer = Issuer(self.keys, self.policy, "vaultstore", lambda: NOW)
        self.verifier = Verifier(lambda: self.keys.public_keys("tokens"), self.policy, "vaultstore", lambda: NOW)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_client_token_becomes_a_grant_and_the_grant_a_login(desk: Desk) -> None:
    grant = desk.verifier.verify(desk.issuer.issue(CLERK, "desk.call"))
    service = desk.keys.login(desk.issuer.exchange(grant))
    assert service.unwrap("contact", [], reference="entry") == []
    with pytest.raises(KeyServiceRefused):
        service.wrap("contact", [(b"context", bytes(32))])


def test_a_client_token_is_no_login(desk: Desk) -> None:
    with pytest.raises(KeyServiceRefused):
        desk.keys.login(desk.issuer.issue(CLERK, "desk.call"))


def test_a_login_token_is_no_client_token(desk: Desk) -> None:
    grant = desk.verifier.verify(desk.issuer.issue(CLERK, "desk.call"))
    with pytest.raises(TokenInvalid):
        desk.verifier.verify(desk.issuer.exchange(grant))


def test_a_token_of_another_version_of_the_purpose_is_refused(desk: Desk) -> None:
    token = desk.issuer.issue(CLERK, "desk.call")
    keys = lambda: desk.keys.public_keys("tokens")  # noqa: E731
    edited = Verifier(keys, policy(POLICY + "    batch: 7\n"), "vaultstore", lambda: NOW)
    with pytest.raises(TokenInvalid, match=r"desk\.call has changed"):
        edited.verify(token)
    again = Verifier(keys, policy(POLICY.replace("call somebody", "call people")), "vaultstore", lambda: NOW)
    assert again.verify(token).purpose.description == "call people"


def test_a_misspelt_purpose_is_denied_with_the_nearest_name(desk: Desk) -> None:
    with pytest.raises(IssueDenied, match=r"unknown purpose .*desk\.cal.*desk\.call.*open to 'clerk': desk\.call"):
        desk.issuer.issue(CLERK, "desk.cal")


def test_a_reader_with_the_public_keys_alone_verifies(desk: Desk, tmp_path: Path) -> None:
    token = desk.issuer.issue(CLERK, "desk.call")
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(jwks(desk.keys)))
    reader = Verifier(JwksKeys.from_file(path), desk.policy, "vaultstore", lambda: NOW)
    assert reader.verify(token).actor == CLERK

"""JWKS: verifying with public keys from a file, and inspecting without any."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import KeyServiceUnavailable, SettingsError, TokenInvalid
from vaultstore.tokens import JwksKeys, Verifier, inspect, jwks

from .support import ANNA, World, b64


def test_a_reader_verifies_with_a_jwks_file_alone(world: World, tmp_path: Path) -> None:
    world.keys.rotate()
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(jwks(world.keys)))
    reader = Verifier(JwksKeys.from_file(path), world.policy, "vaultstore", world.clock)
    assert reader.verify(world.forge()).jti == str(ANNA)
    assert reader.verify(world.token()).purpose.name == "sales.outreach"


def test_the_jwks_is_one_that_other_libraries_read(world: World) -> None:
    public = jwks(world.keys)
    assert public["keys"][0] == {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": b64(world.keys.public_keys("tokens")["tokens:1"]),
        "kid": "tokens:1",
        "use": "sig",
        "alg": "EdDSA",
    }
    key = jwt.PyJWKSet.from_dict(public)["tokens:1"]
    options: Any = {"verify_exp": False}
    assert jwt.decode(world.token(), key, audience="vaultstore", options=options)["sub"] == "u-17"


def test_a_file_that_is_replaced_is_read_anew(world: World, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(jwks(world.keys)))
    reader = Verifier(JwksKeys.from_file(path), world.policy, "vaultstore", world.clock)
    reader.verify(world.token())
    world.keys.rotate()
    path.write_text(json.dumps(jwks(world.keys)))
    world.later(seconds=30)
    reader.verify(world.token())
    path.unlink()
    world.later(seconds=301)
    with pytest.raises(KeyServiceUnavailable, match=r"jwks\.json can't be read"):
        reader.verify(world.token())


X = b64(bytes(32))
GOOD = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": X}


def document(*keys: object) -> str:
    return json.dumps({"keys": keys})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no list 'keys'"),
        ('{"keys":{}}', "no list 'keys'"),
        (document(1), "key 1 is not an object"),
        (document({"kty": "RSA", "kid": "a", "n": "x"}), "key 1 is not an Ed25519 key"),
        (document({**GOOD, "crv": "Ed448"}), "key 1 is not an Ed25519 key"),
        (document({**GOOD, "alg": "HS256"}), "key 1 is not an Ed25519 key"),
        (document({**GOOD, "d": X}), "a private key"),
        (document({**GOOD, "kid": 1}), "lacks kid or x"),
        (document({**GOOD, "kid": ""}), "lacks kid or x"),
        (document({**GOOD, "x": None}), "lacks kid or x"),
        (document({**GOOD, "x": X + "="}), "not 32 bytes"),
        (document({**GOOD, "x": "AA"}), "not 32 bytes"),
        (document(GOOD, GOOD), "key 2 has the kid of another"),
        (" " * 1_100_000, "longer than"),
    ],
)
def test_a_file_that_is_no_jwks_of_public_keys_is_a_settings_error(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=reason):
        JwksKeys.from_file(path)


def test_a_missing_file_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        JwksKeys.from_file(tmp_path / "none.json")


def test_inspection_shows_what_a_token_says_and_marks_it_unverified(world: World) -> None:
    token = world.forge({"purpose": "no.such"}, sign=lambda data: bytes(64))
    seen = inspect(token)
    assert seen["verified"] is False
    assert seen["header"]["alg"] == "EdDSA"
    assert seen["claims"]["purpose"] == "no.such"
    assert token.split(".")[2] not in repr(seen)


@given(
    st.text()
    | st.binary()
    | st.none()
    | st.from_regex(r"[A-Za-z0-9_-]{1,20}(\.[A-Za-z0-9_-]{1,20}){2}", fullmatch=True)
)
def test_inspection_raises_nothing_but_token_invalid(token: object) -> None:
    with suppress(TokenInvalid):
        inspect(token)

"""Assertions: only a fresh one of our provider, for us alone, under a key that it publishes, says who is acting."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.tokens.support import SECONDS, b64
from vaultstore.errors import KeyServiceUnavailable, TokenError, TokenExpired, TokenInvalid
from vaultstore.grants import Actor
from vaultstore.issuer.assertion import AssertionRules, AssertionVerifier
from vaultstore.issuer.provider import ProviderKeys

from .support import AUDIENCE, KEYS, PROVIDER, RULES, Office, assertion, document, public


def verify(token: object, role: str | None = None, rules: AssertionRules = RULES, keys: bytes | None = None) -> Actor:
    office = Office(rules=rules)
    if keys is not None:
        office.published = keys
    return office.assertions.verify(token, role)


@pytest.mark.parametrize("kid", KEYS)
def test_each_algorithm_gives_the_actor(kid: str) -> None:
    actor = verify(assertion(kid, address={"city": "上海"}))
    assert actor == Actor("u-17", "matchmaker", {"store": "sh-01", "city": "上海"})


def test_an_attribute_that_is_missing_is_left_out() -> None:
    assert dict(verify(assertion(store_id=None)).attributes) == {}


def test_of_several_roles_the_caller_names_one() -> None:
    several = assertion(role=["matchmaker", "store_manager"])
    assert verify(several, "store_manager").role == "store_manager"
    with pytest.raises(TokenInvalid, match="several roles"):
        verify(several)
    with pytest.raises(TokenInvalid, match="does not hold the role"):
        verify(several, "registrar")


def test_a_role_is_never_wider_than_the_assertion() -> None:
    assert verify(assertion(role=["matchmaker"])).role == "matchmaker"
    assert verify(assertion(), "matchmaker").role == "matchmaker"
    with pytest.raises(TokenInvalid, match="does not hold the role"):
        verify(assertion(), "registrar")
    with pytest.raises(TokenInvalid, match="does not hold the role"):
        verify(assertion(), "match")  # no part of a name is the name


def test_claims_may_lie_deeper_and_be_called_otherwise() -> None:
    rules = AssertionRules(PROVIDER, AUDIENCE, subject=("member_id",), role=("realm_access", "roles"))
    token = assertion(member_id="m-1", realm_access={"roles": ["member"]}, role=None)
    assert verify(token, rules=rules) == Actor("m-1", "member")
    with pytest.raises(TokenInvalid, match=r"realm_access\.roles"):
        verify(assertion(member_id="m-1", realm_access="roles"), rules=rules)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://id.example.evil"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "another-app"}, "another audience"),
        ({"aud": [AUDIENCE, "another-app"]}, "another audience, or for several"),
        ({"aud": []}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"sub": None}, "lacks a 'sub'"),
        ({"sub": 17}, "lacks a 'sub'|is missing or no text"),
        ({"sub": ""}, "is missing or no text"),
        ({"role": None}, "holds no role"),
        ({"role": []}, "holds no role"),
        ({"role": ""}, "holds no role"),
        ({"role": {"matchmaker": True}}, "holds no role"),
        ({"role": ["matchmaker", 1]}, "holds no role"),
        ({"store_id": 17}, "'store_id' is missing or no text"),
        ({"store_id": ["sh-01"]}, "'store_id' is missing or no text"),
        ({"iat": None}, "lacks 'iat' or 'exp'"),
        ({"exp": None}, "lacks 'iat' or 'exp'"),
        ({"iat": True}, "'iat' is no time"),
        ({"exp": "soon"}, "'exp' is no time"),
        ({"exp": 10**20}, "'exp' is no time"),
        ({"iat": SECONDS + 6}, "issued in the future"),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "is no assertion"),
    ],
)
def test_a_signed_assertion_that_says_something_else_is_refused(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenInvalid, match=reason):
        verify(assertion(**claims))


def test_an_audience_in_a_list_of_its_own_is_ours() -> None:
    assert verify(assertion(aud=[AUDIENCE])).id == "u-17"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": SECONDS},
        {"exp": SECONDS - 1},
        {"nbf": SECONDS + 60},
        {"iat": SECONDS - 3601, "exp": SECONDS + 300},
    ],
)
def test_an_assertion_out_of_its_time_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenExpired):
        verify(assertion(**claims))


def test_the_age_is_bounded_whatever_the_expiry() -> None:
    rules = AssertionRules(PROVIDER, AUDIENCE, max_age=timedelta(minutes=5))
    assert verify(assertion(iat=SECONDS - 299, exp=SECONDS + 86_400), rules=rules).id == "u-17"
    with pytest.raises(TokenExpired, match="sign in again"):
        verify(assertion(iat=SECONDS - 301, exp=SECONDS + 86_400), rules=rules)


def test_an_assertion_may_be_presented_again_while_it_lasts() -> None:
    office, token = Office(), assertion()
    assert office.assertions.verify(token) == office.assertions.verify(token)
    office.world.later(seconds=300)
    with pytest.raises(TokenExpired):
        office.assertions.verify(token)


# ------------------------------------------------------------------------------------------------ signatures


def forged(header: dict[str, Any], signature: bytes, **claims: Any) -> str:
    content = {"iss": PROVIDER, "aud": AUDIENCE, "sub": "u-17", "iat": SECONDS, "exp": SECONDS + 300, **claims}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(content).encode())}.{b64(signature)}"


def test_none_is_no_algorithm() -> None:
    for name in ("none", "None", "NONE"):
        with pytest.raises(TokenInvalid, match="not one of those allowed"):
            verify(forged({"alg": name, "kid": "ed"}, b"x", role="matchmaker"))


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_a_public_key_is_no_shared_secret(kid: str) -> None:
    key = KEYS[kid][1].public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    token = forged({"alg": "HS256", "kid": kid}, b"", role="matchmaker").rpartition(".")[0]
    signature = hmac.new(pem, token.encode(), hashlib.sha256).digest()
    with pytest.raises(TokenInvalid, match="not one of those allowed"):
        verify(f"{token}.{b64(signature)}")


def test_an_algorithm_that_is_not_configured_is_refused() -> None:
    rules = AssertionRules(PROVIDER, AUDIENCE, algorithms=("ES256",))
    assert verify(assertion("ec"), rules=rules).id == "u-17"
    with pytest.raises(TokenInvalid, match="not one of those allowed"):
        verify(assertion("rsa"), rules=rules)


def test_a_key_serves_only_its_own_algorithm() -> None:
    _, key = KEYS["rsa"]
    content = {"iss": PROVIDER, "aud": AUDIENCE, "sub": "u", "iat": SECONDS, "exp": SECONDS + 9, "role": "matchmaker"}
    token = jwt.encode(content, key, "PS256", headers={"kid": "rsa"})
    with pytest.raises(TokenInvalid, match="a key that the provider does not publish"):
        verify(token)


def test_another_key_of_the_same_name_does_not_verify() -> None:
    for kid, other in (
        ("ed", ed25519.Ed25519PrivateKey.generate()),
        ("ec", ec.generate_private_key(ec.SECP256R1())),
        ("rsa", rsa.generate_private_key(65537, 2048)),
    ):
        content = {"iss": PROVIDER, "aud": AUDIENCE, "sub": "u", "iat": SECONDS, "exp": SECONDS + 9, "role": "x"}
        with pytest.raises(TokenInvalid, match="does not verify"):
            verify(jwt.encode(content, other, KEYS[kid][0], headers={"kid": kid}))


def test_a_tampered_assertion_does_not_verify() -> None:
    head, body, signature = assertion().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    body = b64(json.dumps({**claims, "role": "registrar"}).encode())
    with pytest.raises(TokenInvalid, match="does not verify"):
        verify(f"{head}.{body}.{signature}")


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "at+jwt"},
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": "jwt"},
        {"crit": ["exp"]},
        {"b64": False},
        {"kid": "unknown"},
    ],
)
def test_a_header_that_asks_for_more_is_refused(header: dict[str, Any]) -> None:
    if "b64" in header or "crit" in header:
        head = {"alg": "EdDSA", "kid": "ed", **header}
        token = forged(head, b"x" * 64)
    else:
        token = assertion(header=header)
    with pytest.raises(TokenInvalid):
        verify(token)


def test_keys_and_urls_in_the_header_are_not_believed() -> None:
    own = ed25519.Ed25519PrivateKey.generate()
    public_jwk = jwt.get_algorithm_by_name("EdDSA").to_jwk(own.public_key(), as_dict=True)  # type: ignore[call-overload]
    content = {"iss": PROVIDER, "aud": AUDIENCE, "sub": "u", "iat": SECONDS, "exp": SECONDS + 9, "role": "matchmaker"}
    for more in ({"jwk": public_jwk}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/c"}):
        with pytest.raises(TokenInvalid, match="does not verify"):
            verify(jwt.encode(content, own, "EdDSA", headers={"kid": "ed", **more}))


def test_without_a_name_a_key_must_be_the_only_one() -> None:
    token = assertion("ec", header={"kid": None})
    assert verify(token, keys=document(public("ec"), public("rsa"))).id == "u-17"
    with pytest.raises(TokenInvalid, match="does not publish"):
        verify(token, keys=document(public("ec"), public("ec", kid="ec-2")))


@pytest.mark.parametrize(
    "changes",
    [{"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["sign"]}, {"kid": "other"}, {"x": "AA"}, {"crv": "P-384"}],
)
def test_a_key_for_something_else_verifies_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid, match="does not publish"):
        verify(assertion("ec"), keys=document(public("ec", **changes)))


def test_a_short_rsa_key_verifies_nothing() -> None:
    short = rsa.generate_private_key(65537, 1024)
    made = jwt.get_algorithm_by_name("RS256").to_jwk(short.public_key(), as_dict=True)  # type: ignore[call-overload]
    with pytest.raises(TokenInvalid, match="does not publish"):
        verify(assertion("rsa"), keys=document({**made, "kid": "rsa"}))


def test_secrets_in_the_providers_keys_are_not_used() -> None:
    for entry in ({"kty": "oct", "k": b64(bytes(32)), "kid": "ed"}, public("ed", d=b64(bytes(32)))):
        with pytest.raises(KeyServiceUnavailable, match="a private key"):
            verify(assertion(), keys=document(entry))


def test_an_oversized_assertion_is_not_read() -> None:
    with pytest.raises(TokenInvalid, match="longer than 16384 characters"):
        verify(assertion(note="x" * 20_000))


@given(st.text() | st.binary() | st.none() | st.from_regex(r"[\w-]{1,20}(\.[\w-]{1,20}){2}", fullmatch=True))
def test_anything_else_is_refused_with_our_error(token: object) -> None:
    with pytest.raises(TokenInvalid):
        verify(token)


def test_no_error_repeats_what_an_assertion_said() -> None:
    for claims in ({"iss": "secret-1"}, {"aud": "secret-1"}, {"role": ["secret-1", "b"]}, {"store_id": ["secret-1"]}):
        with pytest.raises(TokenError) as refused:
            verify(assertion(**claims))
        assert "secret-1" not in str(refused.value)


# ------------------------------------------------------------------------------------------------ the provider's keys


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_new_key_is_looked_for_once_in_ten_seconds() -> None:
    clock, asked, published = Clock(), [], [document(public("ed"))]

    def fetch() -> bytes:
        asked.append(clock.now)
        return published[0]

    keys = ProviderKeys("p", fetch, clock)
    assert keys.find("EdDSA", "ed") is not None
    published[0] = document(public("ed"), public("ec"))
    assert keys.find("ES256", "ec") is None  # asked a moment ago
    clock.now += 10
    assert keys.find("ES256", "ec") is not None
    for _ in range(50):
        keys.find("ES256", "made-up")
    assert len(asked) == 2


def test_keys_serve_on_while_the_provider_is_down_but_not_for_ever() -> None:
    clock, down = Clock(), [False]

    def fetch() -> bytes:
        if down[0]:
            raise KeyServiceUnavailable("no answer from the provider")
        return document(public("ed"))

    keys = ProviderKeys("p", fetch, clock)
    assert keys.find("EdDSA", "ed") is not None
    down[0] = True
    clock.now += 3600
    assert keys.find("EdDSA", "ed") is not None
    clock.now += 300
    with pytest.raises(KeyServiceUnavailable, match="no answer from the provider"):
        keys.find("EdDSA", "ed")


def test_a_key_that_was_withdrawn_stops_after_five_minutes() -> None:
    clock, published = Clock(), [document(public("ed"))]
    keys = ProviderKeys("p", lambda: published[0], clock)
    assert keys.find("EdDSA", "ed") is not None
    published[0] = document(public("ec"))
    clock.now += 299
    assert keys.find("EdDSA", "ed") is not None
    clock.now += 1
    assert keys.find("EdDSA", "ed") is None


def test_reprs_show_names_only() -> None:
    office = Office()
    assert (
        repr(AssertionVerifier(RULES, ProviderKeys("p", bytes), office.world.clock))
        == f"<AssertionVerifier of {PROVIDER}>"
    )
    assert repr(ProviderKeys("p", bytes)) == "<ProviderKeys p>"

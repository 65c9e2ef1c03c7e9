"""Verifying: every way a token can be wrong, and that nothing but TokenInvalid or TokenExpired comes of it."""

from __future__ import annotations

import hashlib
import hmac
import json
import traceback
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import KeyServiceRefused, KeyServiceUnavailable, TokenError, TokenExpired, TokenInvalid
from vaultstore.tokens import Verifier

from .support import ANNA, BO, SECONDS, World, b64, unb64


def refused(world: World, token: object, reason: str) -> None:
    with pytest.raises(TokenInvalid, match=reason):
        world.verifier.verify(token)


def test_the_forger_of_these_tests_makes_valid_tokens(world: World) -> None:
    assert world.verifier.verify(world.forge()).jti == str(ANNA)


# ------------------------------------------------------------------------------------------------ form


@pytest.mark.parametrize("token", [None, 1, b"a.b.c", bytearray(b"a.b.c"), ["a.b.c"], object()])
def test_what_is_no_string_is_no_token(world: World, token: object) -> None:
    refused(world, token, "a token is a string")


def test_an_oversized_token_is_refused_before_it_is_read(world: World) -> None:
    refused(world, world.token() + "A" * 8192, "longer than 8192")
    refused(world, "." * 10_000_000, "longer than 8192")


@pytest.mark.parametrize("count", [0, 1, 3, 4])
def test_a_token_has_exactly_three_parts(world: World, count: int) -> None:
    refused(world, ".".join(["e30"] * (count + 1) if count else []), "three parts")


@pytest.mark.parametrize("spoil", ["{}=", " {}", "{}\n", "{}+", "{}/", "é{}", "{}٣"])
def test_only_base64url_without_padding_is_read(world: World, spoil: str) -> None:
    header, payload, signature = world.token().split(".")
    for at in range(3):
        parts = [header, payload, signature]
        parts[at] = spoil.format(parts[at])
        refused(world, ".".join(parts), "not base64url")


def test_another_spelling_of_the_same_bytes_is_refused(world: World) -> None:
    head, _, signature = world.token().rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = signature[:-1] + alphabet[alphabet.index(signature[-1]) + 1]
    assert unb64(other) == unb64(signature)
    refused(world, f"{head}.{other}", "only spelling")


@pytest.mark.parametrize("part", ["..", "e30..", ".e30.e30"])
def test_an_empty_part_is_refused(world: World, part: str) -> None:
    refused(world, part, "not base64url")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"alg":"none","alg":"EdDSA"}',
        b'{"alg":NaN}',
        b"[" * 5000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"exp":' + b"9" * 5000 + b"}",
    ],
)
def test_a_header_that_is_no_plain_json_object_is_refused(world: World, raw: bytes) -> None:
    refused(world, world.forge(raw_header=raw), "the token")


@pytest.mark.parametrize(
    "payload",
    [
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"jti":',
        b'{"attrs":{"a":"1","a":"2"}}',
        b'{"exp":Infinity}',
        b"[" * 5000,
        b'{"exp":' + b"9" * 5000 + b"}",
    ],
)
def test_a_payload_that_is_no_plain_json_object_is_refused(world: World, payload: bytes) -> None:
    refused(world, world.forge(payload=payload), "the token's payload")


@pytest.mark.parametrize("claim", ["sub", "role", "exp", "purpose"])
def test_a_claim_given_twice_is_refused(world: World, claim: str) -> None:
    claims = world.claims()
    doubled = json.dumps(claims)[:-1] + f',"{claim}":{json.dumps(claims[claim])}}}'
    refused(world, world.forge(payload=doubled.encode()), "a member twice")


# ------------------------------------------------------------------------------------------------ header


@pytest.mark.parametrize(
    "alg",
    [
        *("none", "None", "NONE", "", None, "HS256", "HS512", "ES256", "RS256", "PS256"),
        *("Ed25519", "Ed448", "eddsa", "EDDSA", "EdDSA ", ["EdDSA"], {"EdDSA": 1}, 1, True),
    ],
)
def test_no_algorithm_but_eddsa(world: World, alg: object) -> None:
    refused(world, world.forge(header={"alg": alg}), "algorithm is not EdDSA")


def test_a_token_without_a_signature_is_refused(world: World) -> None:
    header = b64(json.dumps({"alg": "none", "typ": "at+jwt", "kid": "tokens:1"}).encode())
    refused(world, f"{header}.{b64(json.dumps(world.claims()).encode())}.", "not base64url")


@pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
def test_the_public_key_is_no_hmac_secret(world: World, alg: str) -> None:
    public = world.keys.public_keys("tokens")["tokens:1"]
    token = world.forge(header={"alg": alg}, sign=lambda data: hmac.new(public, data, hashlib.sha256).digest())
    refused(world, token, "algorithm|signature")


def test_signatures_of_other_algorithms_do_not_pass_as_eddsa(world: World) -> None:
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())

    def es256(data: bytes) -> bytes:
        r, s = decode_dss_signature(ec_key.sign(data, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    refused(world, world.forge(sign=es256), "signature")
    refused(world, world.forge(sign=lambda data: rsa_key.sign(data, PKCS1v15(), hashes.SHA256())), "signature")


@pytest.mark.parametrize("typ", ["JWT", "at+JWT", "AT+JWT", "application/at+jwt", "", None, ["at+jwt"], 1])
def test_no_type_but_ours(world: World, typ: object) -> None:
    refused(world, world.forge(header={"typ": typ}), "type is not at")


@pytest.mark.parametrize("name", ["crit", "jku", "jwk", "x5u", "x5c", "x5t", "b64", "zip", "cty", "enc"])
def test_no_header_may_say_how_to_verify(world: World, name: str) -> None:
    refused(world, world.forge(header={name: ["b64"]}), "more than alg, kid and typ")


def test_a_key_in_the_header_is_not_used(world: World) -> None:
    own = Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(own.public_key().public_bytes_raw())}
    refused(world, world.forge(header={"jwk": jwk}, sign=own.sign), "more than alg, kid and typ")


@pytest.mark.parametrize("kid", ["", None, 1, ["tokens:1"], {"tokens:1": 1}])
def test_a_token_names_its_key_by_a_string(world: World, kid: object) -> None:
    refused(world, world.forge(header={"kid": kid}), "names no key")


@pytest.mark.parametrize("kid", ["tokens:2", "audit:1", "../tokens:1", "tokens:1 ", "\0"])
def test_an_unknown_key_is_refused(world: World, kid: str) -> None:
    refused(world, world.forge(header={"kid": kid}), "signed by a key that is not known")


# ------------------------------------------------------------------------------------------------ signature


def test_a_strangers_signature_is_refused(world: World) -> None:
    refused(world, world.forge(sign=Ed25519PrivateKey.generate().sign), "signature")


@pytest.mark.parametrize("length", [1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(world: World, length: int) -> None:
    refused(world, world.forge(sign=lambda data: bytes(length)), "signature")


@pytest.mark.parametrize("part", [0, 1, 2])
def test_no_bit_of_a_token_can_change(world: World, part: int) -> None:
    token = world.token()
    parts = token.split(".")
    raw = unb64(parts[part])
    for bit in range(0, 8 * len(raw), 7):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        changed = [*parts[:part], b64(bytes(flipped)), *parts[part + 1 :]]
        with pytest.raises(TokenInvalid):
            world.verifier.verify(".".join(changed))


def test_the_signature_is_checked_before_any_claim_is_read(world: World) -> None:
    refused(world, world.forge(payload=b"not json", sign=lambda data: bytes(64)), "signature")


def test_parts_of_two_tokens_do_not_mix(world: World) -> None:
    one, two = world.token().split("."), world.token().split(".")
    refused(world, f"{one[0]}.{one[1]}.{two[2]}", "signature")


def test_a_login_token_is_no_client_token(world: World) -> None:
    refused(world, world.issuer.exchange(world.verifier.verify(world.token())), "type is not at")


# ------------------------------------------------------------------------------------------------ claims


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "iat", "nbf", "exp", "jti", "purpose", "role", "pol", "attrs"])
def test_no_claim_may_be_missing(world: World, name: str) -> None:
    refused(world, world.forge(without=name), f"lacks the claim '{name}'")


@pytest.mark.parametrize("aud", ["vault", "Vaultstore", "", None, ["vaultstore"], ["vault", "vaultstore"], {}, 1])
def test_no_audience_but_us(world: World, aud: object) -> None:
    refused(world, world.forge({"aud": aud}), "another audience")


@pytest.mark.parametrize("iss", ["vaultstore2", "VAULTSTORE", "https://issuer.example"])
def test_no_issuer_but_ours(world: World, iss: str) -> None:
    refused(world, world.forge({"iss": iss}), "another issuer")


@pytest.mark.parametrize("name", ["may_act", "scope", "cnf", "client_id", "Subjects"])
def test_a_claim_that_may_restrict_is_not_ignored(world: World, name: str) -> None:
    refused(world, world.forge({name: "x"}), "does not know")


@pytest.mark.parametrize("name", ["iss", "sub", "purpose", "role", "pol", "case"])
@pytest.mark.parametrize("value", [None, 1, 1.5, True, [], {}, "", "x" * 257, "a\0b", "a\nb", "\ud800", "a\u2028b"])
def test_text_claims_are_short_printable_text(world: World, name: str, value: object) -> None:
    refused(world, world.forge({name: value}), f"'{name}'")


@pytest.mark.parametrize("name", ["iat", "nbf", "exp"])
@pytest.mark.parametrize("value", [None, "1709294400", True, [], -1, 1e9, float(SECONDS), 10**12, 10**30])
def test_times_are_whole_seconds(world: World, name: str, value: object) -> None:
    refused(world, world.forge({name: value}), f"'{name}'")


@pytest.mark.parametrize("jti", [None, 1, "", "x", ANNA.hex, str(ANNA).upper(), f"{{{ANNA}}}", f"urn:uuid:{ANNA}"])
def test_a_token_id_is_a_canonical_uuid(world: World, jti: object) -> None:
    refused(world, world.forge({"jti": jti}), "'jti'")


@pytest.mark.parametrize(
    "subjects",
    [
        *(None, "", str(ANNA), {}, [], [None], [1], ["x"], [ANNA.hex], [str(ANNA).upper()], [[str(ANNA)]]),
        *([str(ANNA)] * 2, [str(ANNA), "x"], [f" {ANNA}"]),
    ],
)
def test_subjects_are_a_list_of_canonical_uuids(world: World, subjects: object) -> None:
    refused(world, world.forge({"subjects": subjects}), "'subjects'")


def test_subjects_are_bounded(world: World) -> None:
    many = [f"018df9a0-0000-7000-8000-{n:012x}" for n in range(101)]
    refused(world, world.forge({"subjects": many}), "1 to 100")
    assert len(world.verifier.verify(world.forge({"subjects": many[:100]})).subjects or ()) == 100


@pytest.mark.parametrize(
    "attrs",
    [
        *(None, "", [], {"": "x"}, {"a b": "x"}, {"店": "x"}, {"1a": "x"}, {"a" * 65: "x"}, {"a-b": "x"}, {"a\n": "x"}),
        *({"a": ""}, {"a": 1}, {"a": None}, {"a": ["x"]}, {"a": {}}, {"a": "x" * 257}, {"a": "\0"}),
        {f"a{n}": "x" for n in range(33)},
    ],
)
def test_attributes_are_identifiers_with_short_text(world: World, attrs: object) -> None:
    refused(world, world.forge({"attrs": attrs}), "'attrs'")


# ------------------------------------------------------------------------------------------------ time


def test_a_token_holds_until_its_last_moment_and_not_at_it(world: World) -> None:
    token = world.forge()
    world.later(seconds=899.5)
    world.verifier.verify(token)
    world.later(seconds=0.1)  # the clock started at .4
    with pytest.raises(TokenExpired, match="expired"):
        world.verifier.verify(token)


def test_expiry_has_no_leeway(world: World) -> None:
    with pytest.raises(TokenExpired):
        world.verifier.verify(world.forge({"iat": SECONDS - 10, "nbf": SECONDS - 10, "exp": SECONDS}))


def test_an_issuers_clock_may_be_five_seconds_ahead(world: World) -> None:
    world.verifier.verify(world.forge({"iat": SECONDS + 5, "nbf": SECONDS + 5}))
    refused(world, world.forge({"iat": SECONDS + 6, "nbf": SECONDS + 6}), "issued in the future")


def test_a_token_that_has_not_begun_is_refused_as_out_of_time(world: World) -> None:
    token = world.forge({"nbf": SECONDS + 60})
    with pytest.raises(TokenExpired, match="not begun"):
        world.verifier.verify(token)
    world.later(seconds=60)
    world.verifier.verify(token)


def test_a_token_runs_no_longer_than_its_purpose_allows(world: World) -> None:
    world.verifier.verify(world.forge({"exp": SECONDS + 900}))
    refused(world, world.forge({"exp": SECONDS + 901}), "longer than sales.outreach allows")


@pytest.mark.parametrize(
    "times",
    [
        {"nbf": SECONDS - 1},
        {"exp": SECONDS},
        {"exp": SECONDS - 1},
        {"nbf": SECONDS + 900},
        {"iat": 0, "nbf": 0, "exp": 0},
    ],
)
def test_times_that_contradict_each_other_are_refused(world: World, times: dict[str, int]) -> None:
    refused(world, world.forge(times), "contradict")


# ------------------------------------------------------------------------------------------------ policy


def test_an_unknown_purpose_is_refused(world: World) -> None:
    refused(world, world.forge({"purpose": "sales.export"}), "not in the policy")


def test_a_role_outside_the_purpose_is_refused(world: World) -> None:
    refused(world, world.forge({"role": "store_manager"}), "role is not one of those of sales.outreach")


def test_a_changed_purpose_needs_a_new_token(world: World) -> None:
    token = world.token()
    world.policy.digests["sales.outreach"] = "sha256:other"
    refused(world, token, "purpose sales.outreach has changed since the token was issued: a new token is needed")
    world.verifier.verify(world.token())


def test_another_purposes_digest_is_refused(world: World) -> None:
    refused(world, world.forge({"pol": "sha256:sales.pool"}), "has changed")


SELF = {"purpose": "member.self", "role": "member", "pol": "sha256:member.self", "sub": str(ANNA)}


@pytest.mark.parametrize(
    "change",
    [{}, {"subjects": [str(BO)]}, {"subjects": [str(ANNA), str(BO)]}, {"sub": "u-17", "subjects": [str(ANNA)]}],
)
def test_a_member_is_their_tokens_only_subject(world: World, change: Mapping[str, Any]) -> None:
    assert world.verifier.verify(world.forge({**SELF, "subjects": [str(ANNA)]})).subjects == (ANNA,)
    refused(world, world.forge({**SELF, **change}), "its actor as the only subject")


def test_named_subjects_and_a_case_are_demanded_of_the_token_too(world: World) -> None:
    care = {"purpose": "care.complaint", "role": "care_agent", "pol": "sha256:care.complaint"}
    refused(world, world.forge({**care, "case": "c-1"}), "names its subjects")
    refused(world, world.forge({**care, "subjects": [str(ANNA)]}), "names a case")
    assert world.verifier.verify(world.forge({**care, "subjects": [str(ANNA)], "case": "c-1"})).case == "c-1"


# ------------------------------------------------------------------------------------------------ public keys


def test_public_keys_are_read_once_and_kept(world: World) -> None:
    for _ in range(20):
        world.verifier.verify(world.token())
    assert world.keys.asked == 1


def test_an_unknown_key_makes_it_look_again_but_not_more_than_once_in_ten_seconds(world: World) -> None:
    world.verifier.verify(world.token())
    world.keys.rotate()
    world.later(seconds=11)
    world.verifier.verify(world.token())
    assert world.keys.asked == 2
    for _ in range(50):
        refused(world, world.forge(header={"kid": "tokens:99"}), "not known")
    assert world.keys.asked == 2
    world.later(seconds=11)
    refused(world, world.forge(header={"kid": "tokens:99"}), "not known")
    assert world.keys.asked == 3


def test_a_withdrawn_key_stops_verifying_within_five_minutes(world: World) -> None:
    token = world.token()
    world.verifier.verify(token)
    world.keys.versions[0] = Ed25519PrivateKey.generate()
    world.later(seconds=299)
    world.verifier.verify(token)
    world.later(seconds=2)
    refused(world, token, "signature")


def test_a_clock_set_back_does_not_keep_keys_for_longer(world: World) -> None:
    world.verifier.verify(world.token())
    world.later(seconds=-3600)
    world.verifier.verify(world.token())
    assert world.keys.asked == 2


def test_a_key_service_that_is_down_is_not_the_tokens_fault(world: World) -> None:
    def down() -> dict[str, bytes]:
        raise KeyServiceUnavailable("no answer")

    verifier = Verifier(down, world.policy, "vaultstore", world.clock)
    for _ in range(2):
        with pytest.raises(KeyServiceUnavailable):
            verifier.verify(world.token())


def test_a_public_key_that_is_none_is_named(world: World) -> None:
    verifier = Verifier(lambda: {"tokens:1": b"short"}, world.policy, "vaultstore", world.clock)
    with pytest.raises(KeyServiceRefused, match="tokens:1"):
        verifier.verify(world.token())


# ------------------------------------------------------------------------------------------------ anything at all

_WORLD = World()
_GOOD = _WORLD.forge(
    {"sub": "secret-actor-id", "attrs": {"store": "secret-store"}, "subjects": [str(BO)], "case": "secret-case"}
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def refused_quietly(token: object) -> None:
    """Whatever it is: a grant, or an error of ours that shows nothing of the token."""
    flaw: TokenError | None = None
    try:
        _WORLD.verifier.verify(token)
    except TokenError as error:
        flaw = error
    if flaw is None:
        return
    assert type(flaw) in (TokenInvalid, TokenExpired)
    assert flaw.__cause__ is None
    shown = "".join(traceback.format_exception(flaw))
    assert "secret" not in shown
    assert not isinstance(token, str) or not any(len(part) > 12 and part in shown for part in token.split("."))


@given(st.text() | st.binary() | st.from_regex(r"[A-Za-z0-9_-]{0,40}(\.[A-Za-z0-9_-]{0,40}){0,4}", fullmatch=True))
def test_random_input_is_refused_with_our_error(token: object) -> None:
    with pytest.raises(TokenInvalid):
        _WORLD.verifier.verify(token)


@given(at=st.integers(0, len(_GOOD) - 1), put=st.text(max_size=3), cut=st.integers(0, 5))
def test_an_edited_token_is_refused_with_our_error(at: int, put: str, cut: int) -> None:
    edited = _GOOD[:at] + put + _GOOD[at + cut :]
    refused_quietly(edited)
    if edited != _GOOD:
        with pytest.raises(TokenInvalid):
            _WORLD.verifier.verify(edited)


@given(
    claims=st.dictionaries(
        st.sampled_from([*_WORLD.claims(), "subjects", "case", "act", "ticket"]), json_values, max_size=4
    )
)
def test_signed_claims_of_any_type_are_refused_with_our_error(claims: dict[str, Any]) -> None:
    refused_quietly(_WORLD.forge({"sub": "secret-actor-id", **claims}))


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "zip"]), json_values, max_size=3)
)
def test_headers_of_any_type_are_refused_with_our_error(header: dict[str, Any]) -> None:
    refused_quietly(_WORLD.forge(header=header))


@given(payload=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_signed_payloads_of_any_bytes_are_refused_with_our_error(payload: bytes) -> None:
    with pytest.raises(TokenInvalid):
        _WORLD.verifier.verify(_WORLD.forge(payload=payload))

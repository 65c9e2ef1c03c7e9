"""Attacks with tokens: forged, confused, replayed, taken over; and what their errors carry."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.errors import carried
from tests.support.profiles import MATCHMAKER, Profile, embedded
from vaultstore import Actor
from vaultstore.envelope import wrap_context
from vaultstore.errors import KeyServiceRefused, TokenError, TokenInvalid, TokenRevoked, VaultstoreError
from vaultstore.grants import Grant
from vaultstore.members.models import Member
from vaultstore.tokens.compact import b64url, signing_input

SALES, CARE = "sales.outreach", "care.complaint"


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    """The member store on SQLite and a key file, which enforces the same logins as Vault."""
    with embedded(tmp_path) as made:
        yield made


def claims_of(token: str) -> dict[str, Any]:
    body = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return claims


def signed(profile: Profile, claims: dict[str, Any], typ: str = "at+jwt", key: str = "tokens", kid: str = "") -> str:
    """What a faulty issuer could sign: any claims under any type."""
    content = signing_input({"alg": "EdDSA", "kid": kid or f"{key}:1", "typ": typ}, claims)
    return f"{content.decode()}.{b64url(profile.keys.sign(key, content).value)}"


def login_token(profile: Profile, token: str) -> str:
    grant = profile.store.verify(token)
    return profile.store._issuer.exchange(grant)


# ---------------------------------------------------------------------------- one kind of token in another's place


def test_a_client_token_logs_nobody_in_whatever_type_it_claims(profile: Profile) -> None:
    token = profile.token(MATCHMAKER, SALES)
    claims = claims_of(token)
    for forged in (
        token,
        signed(profile, claims, typ="JWT"),
        signed(profile, claims | {"aud": "vault"}, typ="at+jwt"),
        signed(profile, claims | {"aud": ["vault", "vaultstore"]}, typ="JWT"),
        signed(profile, claims | {"aud": "vault"}, typ="JWT"),  # runs for longer than a login may
    ):
        with pytest.raises(KeyServiceRefused):
            profile.keys.login(forged)


def test_a_login_token_opens_no_session_whatever_type_it_claims(profile: Profile) -> None:
    login = login_token(profile, profile.token(MATCHMAKER, SALES))
    claims = claims_of(login)
    for forged in (login, signed(profile, claims), signed(profile, claims | {"aud": "vaultstore"})):
        with pytest.raises(TokenInvalid):
            profile.store.session(forged)


def test_a_login_token_for_one_purpose_is_not_turned_into_anothers(profile: Profile) -> None:
    login = login_token(profile, profile.token(MATCHMAKER, SALES))
    head, body, signature = login.split(".")
    claims = claims_of(login)
    other = {"purpose": CARE, "pol": profile.store.policy.digest(CARE)}
    swapped = b64url(json.dumps(claims | other).encode())
    for forged in (f"{head}.{swapped}.{signature}", f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}."):
        with pytest.raises(KeyServiceRefused):
            profile.keys.login(forged)
    with pytest.raises(KeyServiceRefused, match="changed"):
        profile.keys.login(signed(profile, claims | {"purpose": CARE}, typ="JWT"))


def test_a_login_of_sales_opens_no_wrap_that_it_gets_hold_of(profile: Profile) -> None:
    (member,) = profile.add_members(1)
    keyring = profile.store.engine.raw_connection()
    rows = keyring.cursor().execute("SELECT category, scope, wrapped FROM vs_keyring").fetchall()
    keyring.close()
    service = profile.keys.login(login_token(profile, profile.token(MATCHMAKER, SALES)))
    for category, scope, wrapped in rows:
        items = [(wrap_context(member.bytes, category, scope), wrapped)]
        if category == "sales_card":
            assert service.unwrap(category, items, reference="x") != [None]
            strangers = [(wrap_context(bytes(16), category, scope), wrapped)]
            assert service.unwrap(category, strangers, reference="x") == [None]
            continue
        with pytest.raises(KeyServiceRefused):
            service.unwrap(category, items, reference="x")
        assert service.unwrap("sales_card", items, reference="x") == [None]


# --------------------------------------------------------------------------------------------- ids, issuers, keys


def test_an_id_names_one_token(profile: Profile) -> None:
    token = profile.token(MATCHMAKER, SALES)
    profile.store.session(token).close()
    claims = claims_of(token)
    for change in ({"sub": "u-18"}, {"attrs": {"store": "sh-02"}}, {"exp": claims["exp"] - 1}):
        with pytest.raises(TokenInvalid, match="id"):
            profile.store.session(signed(profile, claims | change))
    profile.store.session(token).close()


def test_another_signing_key_signs_no_token(profile: Profile) -> None:
    token = profile.token(MATCHMAKER, SALES)
    for kid in ("tokens:2", "audit:1", "tokens:01", "tokens", "TOKENS:1", " tokens:1"):
        with pytest.raises(TokenInvalid):
            profile.store.session(signed(profile, claims_of(token), kid=kid))
    with pytest.raises(TokenInvalid):
        profile.store.session(signed(profile, claims_of(token) | {"iss": "vaultstore2"}))


def test_a_signing_key_that_was_withdrawn_from_the_file_stops_verifying(profile: Profile) -> None:
    token = profile.token(MATCHMAKER, SALES)
    path = profile.folder / "keys.json"
    document = json.loads(path.read_text())
    document["signing"]["tokens"] = {"2": base64.b64encode(bytes(range(32))).decode()}
    path.write_text(json.dumps(document))
    assert list(profile.keys.public_keys("tokens")) == ["tokens:2"]
    with pytest.raises(TokenInvalid):
        profile.store.session(token)


def test_threads_that_open_sessions_of_one_token_share_one_grant(profile: Profile) -> None:
    token = profile.token(MATCHMAKER, SALES)
    with ThreadPoolExecutor(8) as pool:
        opened = set(pool.map(lambda _: id(profile.store._open(token)), range(32)))
    assert len(opened) == 1


# ------------------------------------------------------------------------------------------------ after revocation


@pytest.mark.parametrize("by", ["jti", "actor"])
def test_what_was_open_under_a_revoked_token_is_given_up_at_once(profile: Profile, by: str) -> None:
    ids = profile.add_members(2)
    profile.claim(ids)
    token = profile.token(MATCHMAKER, SALES)
    with profile.store.session(token) as session:
        first = session.get_one(Member, ids[0])
        assert str(first.phone).startswith("*")
        opened = profile.store._open(token)
        assert len(opened.cache) == 1
        if by == "jti":
            profile.store.revoke(jti=opened.grant.jti)
        else:
            profile.store.revoke(actor=MATCHMAKER.id)
        assert len(opened.cache) == 0
        with pytest.raises(TokenRevoked):
            _ = session.get_one(Member, ids[1]).phone
    with profile.store.session(token) as again, pytest.raises(TokenRevoked):
        _ = again.get_one(Member, ids[1]).phone


def test_revoking_one_actor_or_the_past_leaves_others_open(profile: Profile) -> None:
    mine = profile.store._open(profile.token(MATCHMAKER, SALES))
    other = profile.store._open(profile.token(Actor("u-18", "matchmaker"), SALES))
    profile.store.revoke(actor="u-18")
    profile.store.revoke(actor="u-17", before=datetime.now(UTC) - timedelta(hours=1))
    profile.store.revoke(jti=str(uuid.uuid4()))
    assert set(profile.store._opened) == {mine}
    with pytest.raises(KeyServiceRefused, match="closed"):
        other.ask(lambda service: service.hmac("x", []))


def test_a_grant_made_up_in_python_is_still_judged_by_the_published_purpose(profile: Profile) -> None:
    profile.add_members(1)
    real = profile.store.verify(profile.token(MATCHMAKER, SALES))
    care = profile.store.policy.purpose(CARE)
    for digest in (real.digest, "", "sha256:" + "0" * 64):
        forged = Grant(real.jti, real.actor, care, digest, real.issued_at, real.expires_at)
        opened = profile.store.gate.open(forged, lambda: pytest.fail("no login"))
        with pytest.raises(TokenInvalid):
            profile.store.gate.search(opened, "Member", "phone", [b"+8613800000000"])
    forged = Grant(
        real.jti, real.actor, care, profile.store.policy.digest(CARE), real.issued_at, real.expires_at
    )  # the digest is no secret: the role still has to be one of the purpose's
    with pytest.raises(VaultstoreError):
        profile.store.gate.search(
            profile.store.gate.open(forged, lambda: pytest.fail("no login")), "Member", "phone", [b"+8613800000000"]
        )


# ------------------------------------------------------------------------------------------------------ what leaks


def test_no_refusal_of_a_token_carries_it_or_what_it_claims(profile: Profile) -> None:
    token = profile.token(Actor("u-17", "matchmaker", {"store": "sh-secret-01"}), SALES)
    claims = claims_of(token)
    head, body, signature = token.split(".")
    bad = [
        f"{head}.{body}.{signature[:-6]}AAAAAA",
        f"{head}.{body}",
        signed(profile, claims | {"exp": 1, "iat": 0, "nbf": 0}),
        signed(profile, claims | {"attrs": {"store": "sh-secret-01", "x": 1}}),
        signed(profile, claims | {"purpose": "no.such"}),
        signed(profile, claims | {"unknown": "sh-secret-01"}),
        signed(profile, claims, typ="JWT"),
        signed(profile, claims, kid="tokens:9"),
    ]
    for text in bad:
        with pytest.raises(TokenError) as caught:
            profile.store.session(text)
        with pytest.raises(VaultstoreError) as login:
            profile.keys.login(text)
        for error in (caught.value, login.value):
            told = carried(error)
            for part in (text, *text.split("."), "sh-secret-01"):
                assert part.encode() not in told

"""Issuing: what the policy lets an actor have, and what it says when it doesn't."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from vaultstore.errors import IssueDenied, KeyServiceRefused, TokenExpired
from vaultstore.grants import Actor
from vaultstore.keys.protocols import Signature
from vaultstore.tokens import Issuer

from .support import ANNA, BO, SECONDS, World, read

MATCHMAKER = Actor("u-17", "matchmaker", {"store": "上海一店"})
MEMBER = Actor(str(ANNA), "member")
CARE = Actor("u-3", "care_agent")


def test_a_token_carries_exactly_the_documented_claims(world: World) -> None:
    header, claims = read(world.issuer.issue(MATCHMAKER, "sales.outreach"))
    assert header == {"alg": "EdDSA", "kid": "tokens:1", "typ": "at+jwt"}
    jti = uuid.UUID(claims.pop("jti"))
    assert jti.version == 7
    assert claims == {
        "iss": "vaultstore",
        "aud": "vaultstore",
        "sub": "u-17",
        "iat": SECONDS,
        "nbf": SECONDS,
        "exp": SECONDS + 900,
        "purpose": "sales.outreach",
        "role": "matchmaker",
        "pol": "sha256:sales.outreach",
        "attrs": {"store": "上海一店"},
    }


def test_no_two_tokens_share_an_id(world: World) -> None:
    assert len({read(world.token())[1]["jti"] for _ in range(50)}) == 50


def test_what_is_issued_verifies_as_that_grant(world: World) -> None:
    token = world.issuer.issue(CARE, "care.complaint", subjects=[ANNA, BO, ANNA], case="c-1", ttl=timedelta(minutes=5))
    grant = world.verifier.verify(token)
    assert grant.actor == CARE
    assert grant.purpose is world.policy.purpose("care.complaint")
    assert (grant.subjects, grant.case, grant.digest) == ((ANNA, BO), "c-1", "sha256:care.complaint")
    assert grant.expires_at - grant.issued_at == timedelta(minutes=5)
    assert grant.issued_at == world.now.replace(microsecond=0)


def test_attributes_survive_and_cannot_be_changed(world: World) -> None:
    grant = world.verifier.verify(world.issuer.issue(MATCHMAKER, "sales.outreach"))
    assert dict(grant.actor.attributes) == {"store": "上海一店"}
    with pytest.raises(TypeError):
        grant.actor.attributes["store"] = "another"  # type: ignore[index]


def test_a_role_that_is_not_listed_is_told_what_is(world: World) -> None:
    with pytest.raises(IssueDenied) as denied:
        world.issuer.issue(MATCHMAKER, "care.complaint", subjects=[ANNA], case="c-1")
    assert str(denied.value) == (
        "role 'matchmaker' may not act for care.complaint (its roles: care_agent); "
        "open to 'matchmaker': sales.outreach, sales.pool"
    )


def test_a_role_that_nothing_is_open_to_is_told_so(world: World) -> None:
    with pytest.raises(IssueDenied, match="nothing is open to 'stranger'"):
        world.issuer.issue(Actor("x", "stranger"), "sales.pool")


def test_an_unknown_purpose_is_denied_with_what_is_open(world: World) -> None:
    with pytest.raises(IssueDenied, match=r"unknown purpose 'sales.outraech'; open to 'matchmaker': sales.outreach"):
        world.issuer.issue(MATCHMAKER, "sales.outraech")


def test_a_member_gets_themselves_as_the_only_subject(world: World) -> None:
    assert world.verifier.verify(world.issuer.issue(MEMBER, "member.self")).subjects == (ANNA,)
    assert world.verifier.verify(world.issuer.issue(MEMBER, "member.self", subjects=[ANNA])).subjects == (ANNA,)
    for others in ([BO], [ANNA, BO]):
        with pytest.raises(IssueDenied, match="its actor as the only subject"):
            world.issuer.issue(MEMBER, "member.self", subjects=others)


@pytest.mark.parametrize("actor_id", ["u-17", str(ANNA).upper(), ANNA.hex, "{" + str(ANNA) + "}"])
def test_an_actor_without_a_subject_of_their_own_gets_no_token_for_self(world: World, actor_id: str) -> None:
    with pytest.raises(IssueDenied, match="must be their subject, a UUID"):
        world.issuer.issue(Actor(actor_id, "member"), "member.self")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"case": "c-1"}, "must name its subjects"),
        ({"subjects": [ANNA]}, "must name a case"),
        ({"subjects": [], "case": "c-1"}, "an empty list of subjects opens nothing"),
        ({"subjects": [str(ANNA)], "case": "c-1"}, "subjects are UUIDs"),
        ({"subjects": [uuid.uuid4() for _ in range(101)], "case": "c-1"}, "at most 100 subjects, not 101"),
        ({"subjects": [ANNA], "case": ""}, "'case' is not 1 to 256 printable characters"),
        ({"subjects": [ANNA], "case": "a\nb"}, "'case' is not 1 to 256 printable characters"),
        ({"subjects": [ANNA], "case": "c", "ttl": timedelta(minutes=16)}, "1 to 900 seconds, not 960"),
        ({"subjects": [ANNA], "case": "c", "ttl": timedelta(0)}, "1 to 900 seconds, not 0"),
        ({"subjects": [ANNA], "case": "c", "ttl": timedelta(seconds=0.5)}, "1 to 900 seconds, not 0"),
        ({"subjects": [ANNA], "case": "c", "ttl": -timedelta(seconds=5)}, "1 to 900 seconds, not -5"),
    ],
)
def test_what_the_purpose_requires_is_demanded(world: World, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(IssueDenied, match=reason):
        world.issuer.issue(CARE, "care.complaint", **options)
    assert world.keys.signed == 0


def test_an_empty_list_of_subjects_never_widens_to_all(world: World) -> None:
    with pytest.raises(IssueDenied, match="opens nothing"):
        world.token(subjects=[])


@pytest.mark.parametrize(
    "actor",
    [
        Actor("", "matchmaker"),
        Actor("u" * 257, "matchmaker"),
        Actor("u\0", "matchmaker"),
        Actor("u\ud800", "matchmaker"),
        Actor("u", "matchmaker", {"st ore": "x"}),
        Actor("u", "matchmaker", {"店": "x"}),
        Actor("u", "matchmaker", {"store": ""}),
        Actor("u", "matchmaker", {"store": "x" * 257}),
        Actor("u", "matchmaker", {"store": 1}),  # type: ignore[dict-item]
        Actor("u", "matchmaker", {f"a{n}": "x" for n in range(33)}),
    ],
)
def test_an_actor_that_no_verifier_would_accept_gets_no_token(world: World, actor: Actor) -> None:
    with pytest.raises(IssueDenied, match="such a token would be refused"):
        world.issuer.issue(actor, "sales.outreach")
    assert world.keys.signed == 0


def test_a_hundred_subjects_fit_into_a_token(world: World) -> None:
    named = [uuid.uuid4() for _ in range(100)]
    assert world.verifier.verify(world.token(subjects=named)).subjects == tuple(named)


def test_a_token_that_grows_past_its_bound_is_denied(world: World) -> None:
    actor = Actor("u", "matchmaker", {f"a{n}": "店" * 256 for n in range(16)})
    with pytest.raises(IssueDenied, match="longer than 8192 characters"):
        world.issuer.issue(actor, "sales.outreach")


def test_a_token_follows_a_rotation_of_its_key(world: World) -> None:
    assert read(world.token())[0]["kid"] == "tokens:1"
    world.keys.rotate()
    token = world.token()
    assert read(token)[0]["kid"] == "tokens:2"
    assert world.verifier.verify(token).purpose.name == "sales.outreach"
    before = world.keys.signed
    world.token()
    assert world.keys.signed == before + 1


def test_a_key_service_that_never_settles_is_an_error_and_not_a_loop(world: World) -> None:
    class Restless:
        version = 0

        def sign(self, name: str, payload: bytes) -> Signature:
            self.version += 10
            return Signature(f"{name}:{self.version}", bytes(64))

        def public_keys(self, name: str) -> dict[str, bytes]:
            raise NotImplementedError

    issuer = Issuer(Restless(), world.policy, "vaultstore", world.clock)
    with pytest.raises(KeyServiceRefused):
        issuer.issue(MATCHMAKER, "sales.outreach")


def test_reprs_show_names_only(world: World) -> None:
    assert repr(world.issuer) == "<Issuer vaultstore>"
    assert repr(world.verifier) == "<Verifier of vaultstore>"


# ------------------------------------------------------------------------------------------------ login tokens


def test_a_login_token_is_another_kind_for_another_audience(world: World) -> None:
    grant = world.verifier.verify(world.token())
    header, claims = read(world.issuer.exchange(grant))
    assert header == {"alg": "EdDSA", "kid": "tokens:1", "typ": "JWT"}
    assert claims == {
        "iss": "vaultstore",
        "aud": "vault",
        "sub": "u-17",
        "iat": SECONDS - 5,
        "nbf": SECONDS - 5,
        "exp": SECONDS + 55,
        "jti": grant.jti,
        "purpose": "sales.outreach",
        "role": "matchmaker",
        "pol": "sha256:sales.outreach",
    }


def test_a_login_token_never_outlives_its_grant(world: World) -> None:
    grant = world.verifier.verify(world.token(ttl=timedelta(seconds=20)))
    assert read(world.issuer.exchange(grant))[1]["exp"] == int(grant.expires_at.timestamp())


def test_a_grant_that_is_over_gets_no_login_token(world: World) -> None:
    grant = world.verifier.verify(world.token())
    world.now = grant.expires_at
    with pytest.raises(TokenExpired):
        world.issuer.exchange(grant)

"""A sales process is taken over: limits hold, what it gets stands in the log, and what forged claims are good for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.security.deployment import Town, seller, town
from vaultstore import Actor
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration

CARD = "sales_card"
LIMIT = 100
"""Members a matchmaker sees in a day under sales.outreach."""


@pytest.fixture(scope="module", params=["default", "strict"])
def place(request: pytest.FixtureRequest, openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=request.param == "strict") as made:
        yield made


def test_a_limit_holds_for_a_token_however_it_is_asked(place: Town) -> None:
    many = place.members(LIMIT + 8)
    thief = seller(place)
    refs = [place.refs(m, CARD)[0] for m in many]
    taken = [*thief.take(refs[:60])]
    for ref in refs[60:]:
        taken += thief.take([ref])
    assert len(taken) == len(thief.handed) == LIMIT
    shown = {subject for actor, subject in place.disclosed(thief.login) if actor == thief.claims["actor"]}
    assert {uuid.UUID(bytes=subject) for _, subject in thief.handed} == shown
    # A second token of the same person has no limit of its own.
    again = place.thief(actor=Actor(thief.claims["actor"], "matchmaker", {"store": "sh-01"}))
    assert again.take(refs[LIMIT:]) == []


def test_everything_that_was_handed_out_stands_in_the_log_under_its_login(place: Town) -> None:
    ids = place.members(6)
    thief = seller(place)
    forged: list[dict[str, Any]] = [
        {},
        {"actor": "boss"},
        {"actor": ""},
        {"jti": "x"},
        {"attributes": {}},
        {"case": "c"},
    ]
    for one, lie in zip(ids, forged, strict=True):
        thief.take(place.refs(one, CARD), **lie)
    shown = {subject for _, subject in place.disclosed(thief.login)}
    assert {uuid.UUID(bytes=subject) for _, subject in thief.handed} <= shown
    assert len(thief.handed) == (1 if place.live.roles.strict else len(ids))


@pytest.mark.parametrize(
    "lie",
    [
        {"actor": "u-99"},
        {"jti": "another"},
        {"attributes": {"store": "sh-02"}},
        {"iat": "2001-01-01T00:00:00Z"},
        {"iat": "infinity"},
        {"exp": "9999-01-01T00:00:00Z"},
        {"exp": "infinity"},
        {"case": "c-1"},
        {"subjects": None},
    ],
    ids=str,
)
def test_forged_claims_pass_for_a_logins_own_purposes_in_default_mode_and_never_in_strict(
    place: Town, lie: dict[str, Any]
) -> None:
    [one] = place.members(1)
    actor = Actor(f"m-{uuid.uuid4().hex[:8]}", "matchmaker", {"store": "sh-01"})
    thief = place.thief(actor=actor, subjects=[uuid.uuid4()] if "subjects" in lie else None)
    answer = thief.admit([CARD], one, **lie)
    if place.live.roles.strict:
        assert answer["code"] == "ticket.invalid"
        assert thief.take(place.refs(one, CARD), **lie) == []
        assert one not in {subject for _, subject in place.disclosed(thief.login)}
    else:
        # What default mode lets through: the database believes a login about who acts under the login's own purposes.
        assert answer.get("code") is None
        assert len(thief.take(place.refs(one, CARD), **lie)) == 1
        assert (lie.get("actor", actor.id), one) in place.disclosed(thief.login)


def test_a_limit_by_actor_is_as_good_as_the_actors_name(place: Town) -> None:
    """Said out loud: in default mode, who makes up actors has a limit for each, and the log has the names and the
    login. In strict mode there are no actors but those of the issuer.
    """
    many = place.members(LIMIT + 3)
    thief = seller(place)
    refs = [place.refs(m, CARD)[0] for m in many]
    assert len(thief.take(refs)) == LIMIT
    more = [thief.take([ref], actor=f"made-up-{n}") for n, ref in enumerate(refs[LIMIT:])]
    if place.live.roles.strict:
        assert more == [[], [], []]
    else:
        assert [len(wraps) for wraps in more] == [1, 1, 1]
        assert {actor for actor, _ in place.disclosed(thief.login)} >= {f"made-up-{n}" for n in range(3)}


def test_a_revoked_token_stays_revoked_and_in_strict_mode_so_do_its_forgeries(place: Town) -> None:
    [one] = place.members(1)
    thief = seller(place)
    place.live.operator.revoke(jti=thief.claims["jti"])
    assert thief.admit([CARD], one)["code"] == "token.revoked"
    renamed = thief.admit([CARD], one, jti="another").get("code")
    assert renamed == ("ticket.invalid" if place.live.roles.strict else None)


def test_consent_that_was_withdrawn_and_erasure_stop_it_at_once(place: Town) -> None:
    one, two = place.members(2)
    thief = seller(place)
    entries = [thief.admit([CARD], member)["entry"] for member in (one, two)]
    refs = [place.refs(member, CARD) for member in (one, two)]
    place.live.operator.consents.withdraw(one, "matchmaking")
    place.live.operator.subjects.erase(two, reason="asked for it")
    assert [thief.wraps(entry, ref) for entry, ref in zip(entries, refs, strict=True)] == [[], []]
    assert thief.admit([CARD], one)["refused"] == [[0, "consent.missing"]]

"""The desk: which service gets which token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.unit.tokens.support import SECONDS, read
from vaultstore.errors import IssueDenied, SettingsError, TokenExpired, TokenInvalid, TokenRevoked
from vaultstore.grants import Actor, Grant
from vaultstore.issuer.config import ALL, Caller
from vaultstore.issuer.refusals import Refused

from .support import ANNA, Office, assertion


def test_a_token_names_the_actor_of_the_assertion_and_the_service_that_asked() -> None:
    office = Office()
    issued = office.desk.issue("crm", assertion(), "sales.pool")
    _, claims = read(issued.token)
    assert claims["sub"] == "u-17"
    assert claims["role"] == "matchmaker"
    assert claims["attrs"] == {"store": "sh-01"}
    assert claims["act"] == {"sub": "crm"}
    assert (issued.actor, issued.purpose, issued.jti) == ("u-17", "sales.pool", claims["jti"])
    assert issued.expires_in == claims["exp"] - SECONDS - 1  # the clock stands at .4 s
    assert issued.token not in repr(issued)


def test_everything_that_narrows_a_token_is_passed_on() -> None:
    office = Office()
    several = assertion(role=["matchmaker", "registrar"])
    issued = office.desk.issue(
        "crm",
        several,
        "sales.outreach",
        subjects=[ANNA],
        case="c-1",
        ttl=timedelta(seconds=30),
        role="matchmaker",
    )
    grant = office.verifier.verify(issued.token)
    assert (grant.subjects, grant.case) == ((ANNA,), "c-1")
    assert grant.expires_at - grant.issued_at == timedelta(seconds=30)


def test_the_policy_has_the_last_word_on_roles() -> None:
    with pytest.raises(IssueDenied, match=r"role 'registrar' may not act for sales\.pool"):
        Office().desk.issue("crm", assertion(role="registrar"), "sales.pool")


def test_a_role_in_the_policy_but_not_in_the_assertion_is_refused() -> None:
    with pytest.raises(TokenInvalid, match="does not hold the role"):
        Office().desk.issue("crm", assertion(role=["registrar", "clerk"]), "sales.pool", role="matchmaker")


@pytest.mark.parametrize("purpose", ["relay.telephony", "sales.export", "", "sales.pool "])
def test_a_service_asks_only_for_purposes_that_it_serves(purpose: str) -> None:
    office = Office()
    with pytest.raises(Refused, match="does not ask tokens for that purpose") as refused:
        office.desk.issue("crm", assertion(), purpose)
    assert refused.value.reason == "service.not_served"
    assert office.fetched == 0  # nobody's keys are asked for it


def test_a_front_desk_asks_for_others_and_exchanges_nothing() -> None:
    callers = {"desk": Caller("desk", frozenset({"uid:1"}), frozenset({"sales.pool"}))}
    office = Office(callers)
    issued = office.desk.issue("desk", assertion(), "sales.pool")
    with pytest.raises(Refused, match=r"does not serve sales\.pool"):
        office.desk.exchange("desk", issued.token)
    with pytest.raises(Refused):
        office.desk.issue("desk", assertion(), "sales.outreach", subjects=[ANNA])


def test_all_stands_for_every_purpose_of_the_policy_and_no_other() -> None:
    office = Office({"desk": Caller("desk", frozenset({"uid:1"}), frozenset({ALL}))})
    office.desk.issue("desk", assertion(role="telephony"), "relay.telephony")
    with pytest.raises(Refused):
        office.desk.issue("desk", assertion(), ALL)


def test_a_service_that_issues_nothing_may_still_exchange() -> None:
    office = Office({"crm": Caller("crm", frozenset({"uid:1"}), frozenset())})
    with pytest.raises(Refused):
        office.desk.issue("crm", assertion(), "sales.pool")
    token = office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")
    assert office.desk.exchange("crm", token).purpose == "sales.pool"


def test_an_exchange_gives_the_login_token_of_that_grant() -> None:
    office = Office()
    token = office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")
    login = office.desk.exchange("crm", token)
    header, claims = read(login.token)
    assert (header["typ"], claims["aud"], claims["purpose"]) == ("JWT", "vault", "sales.pool")
    assert claims["jti"] == read(token)[1]["jti"]
    assert login.expires_in <= 60


def test_a_service_exchanges_no_token_of_a_purpose_that_it_does_not_serve() -> None:
    office = Office()
    token = office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")
    with pytest.raises(Refused, match=r"service relay does not serve sales\.pool"):
        office.desk.exchange("relay", token)
    with pytest.raises(Refused):
        office.desk.exchange("nobody", token)


def test_a_login_token_or_an_assertion_is_not_exchanged() -> None:
    office = Office()
    token = office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")
    for other in (office.desk.exchange("crm", token).token, assertion(), "", "x.y.z"):
        with pytest.raises(TokenInvalid):
            office.desk.exchange("crm", other)


def test_a_client_token_is_no_assertion() -> None:
    office = Office()
    token = office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")
    with pytest.raises(TokenInvalid):
        office.desk.issue("crm", token, "sales.outreach", subjects=[ANNA])


def test_a_token_that_is_over_or_revoked_is_not_exchanged() -> None:
    revoked: set[str] = set()

    def check(grant: Grant) -> None:
        if grant.jti in revoked:
            raise TokenRevoked("the token was revoked")

    office = Office(check=check)
    token = office.issuer.issue(Actor("u-17", "matchmaker"), "sales.pool")
    office.desk.exchange("crm", token)
    revoked.add(read(token)[1]["jti"])
    with pytest.raises(TokenRevoked):
        office.desk.exchange("crm", token)
    revoked.clear()
    office.world.later(minutes=15)
    with pytest.raises(TokenExpired):
        office.desk.exchange("crm", token)


@pytest.mark.parametrize(
    ("caller", "reason"),
    [
        (Caller("crn", frozenset({"uid:1"})), "the policy has no service 'crn'"),
        (Caller("crn", frozenset({"uid:1"}), frozenset()), "the policy has no service 'crn'"),
        (Caller("crm", frozenset({"uid:1"}), frozenset({"sales.poll"})), r"crm issues sales\.poll: not in the policy"),
    ],
)
def test_a_misspelt_service_or_purpose_is_found_at_the_start(caller: Caller, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Office({caller.name: caller})


def test_its_repr_shows_names_only() -> None:
    desk: Any = Office().desk
    assert repr(desk) == "<Desk of crm, relay>"

"""The desks under their own logins, all planes applied: what each does, and what it can't."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.integration.security.deployment import Town, town
from tests.support.profiles import MATCHMAKER
from vaultstore import Actor, Store
from vaultstore.errors import AccessDenied, BudgetExhausted
from vaultstore.members.carriers import RecordingCarrier
from vaultstore.members.claims import Claims
from vaultstore.members.models import Lead, Member, SuppressedMember
from vaultstore.members.pools import Pools
from vaultstore.members.relay import ContactRules, Relay
from vaultstore.members.relay_worker import RelayWorker
from vaultstore.members.suppression import Suppressions
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("openbao")]

RULES = ContactRules(quiet_from=time(0), quiet_until=time(0))
SELLER = Actor(MATCHMAKER.id, role="matchmaker", attributes={"store": "sh-01", "city": "上海", "rank": "X"})


@pytest.fixture(scope="module", params=[False, True], ids=["default", "strict"])
def place(request: pytest.FixtureRequest, openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=request.param) as made:
        yield made


def issue(place: Town, actor: Actor, purpose: str, **more: object) -> str:
    return place.live.operator.issue(actor, purpose, **more)  # type: ignore[arg-type]


def service(place: Town, name: str) -> Store:
    return place.live.services[name]


def claims(place: Town) -> Claims:
    token = issue(place, Actor("lead-desk", role="lead_desk"), "sales.desk")
    return Claims(service(place, "lead-desk"), lambda: token)


def test_the_lead_desk_claims_for_who_shows_a_token(place: Town) -> None:
    ids, seller = place.members(22), replace(SELLER, id=f"m-{uuid.uuid4().hex[:8]}")
    desk, token = claims(place), issue(place, seller, "sales.pool")
    assert desk.claim(token, ids[0]).actor == seller.id
    assert [lead.member for lead in desk.held(issue(place, seller, "sales.outreach"))] == [ids[0]]
    page = Pools(service(place, "lead-desk"), desk.free).page(token)
    assert ids[0] not in {card.member for card in page.cards}
    for one in ids[1:20]:
        desk.claim(token, one)
    with pytest.raises(BudgetExhausted):
        desk.claim(issue(place, seller, "sales.pool"), ids[20])
    # The page of sales has no right to write leads, whatever token it holds.
    with pytest.raises(AccessDenied), service(place, "crm").begin(issue(place, seller, "sales.pool")) as session:
        session.add(Lead(member_id=ids[21], actor_id=seller.id, store="sh-01", expires_at=datetime.now(UTC)))
    with pytest.raises(AccessDenied), service(place, "crm").session(desk._desk()) as session:
        session.scalars(select(Lead)).all()


def test_the_relay_takes_down_sends_and_holds_to_the_no(place: Town) -> None:
    caller, refuser = place.members(2, lead=True)
    desk_token = issue(place, Actor("relay-desk", role="relay_desk"), "relay.desk")
    front, back = service(place, "relay-desk"), service(place, "relay")
    relay, carrier = Relay(front, lambda: desk_token, rules=RULES), RecordingCarrier()
    worker = RelayWorker(
        back, carrier, desk=lambda: desk_token, rules=RULES,
        number=lambda one: issue(place, Actor("relay-1", role="telephony"), "relay.telephony", subjects=[one]),
    )  # fmt: skip
    outreach = issue(place, SELLER, "sales.outreach")
    called, refused = (relay.request(outreach, one, "call").id for one in (caller, refuser))

    front_desk = Suppressions(service(place, "crm"), lambda one: "none")
    back_desk = Suppressions(
        service(place, "suppression-desk"),
        lambda one: issue(place, Actor("no", role="suppression_desk"), "suppression.desk", subjects=[one]),
    )
    back_desk.write_down(refuser, front_desk.speaks_for(outreach, refuser))
    assert {w.id: w.state for w in worker.run()} == {called: "sent", refused: "refused"}
    assert [contact.key for contact in carrier.placed.values()] == [str(called)]

    with front.session(outreach) as session, pytest.raises(AccessDenied):
        _ = session.get_one(Member, caller).id_number
    number = issue(place, Actor("relay-1", role="telephony"), "relay.telephony", subjects=[caller])
    for other in (front, service(place, "crm")):
        with pytest.raises(AccessDenied), other.session(number) as session:
            _ = session.get_one(Member, caller).phone


def test_no_login_but_the_desks_writes_who_is_out(place: Town) -> None:
    [one] = place.members(1, lead=True)
    for name, actor, purpose in (
        ("crm", SELLER, "sales.outreach"),
        ("relay-desk", Actor("relay-desk", role="relay_desk"), "relay.desk"),
        ("lead-desk", Actor("lead-desk", role="lead_desk"), "sales.desk"),
    ):
        refused = pytest.raises((AccessDenied, sa.exc.DBAPIError))
        with refused, service(place, name).begin(issue(place, actor, purpose)) as session:
            session.add(SuppressedMember(member_id=one))
    assert place.inside("SELECT FROM suppressed_members WHERE member_id = %s", one) == []


def test_a_seller_speaks_for_their_own_leads_only(place: Town) -> None:
    [held, other] = [*place.members(1, lead=True), *place.members(1)]
    desk = Suppressions(service(place, "crm"), lambda one: "none")
    outreach = issue(place, SELLER, "sales.outreach")
    assert desk.speaks_for(outreach, held) == "needs no service"
    for member, token in ((other, outreach), (held, issue(place, SELLER, "sales.pool")), (uuid.uuid4(), outreach)):
        with pytest.raises(AccessDenied):
            desk.speaks_for(token, member)

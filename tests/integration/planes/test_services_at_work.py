"""Reports and the rotation of an index's key under the logins of services, and what other logins make of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, ProgrammingError

from tests.support.applied import BOSS, POLICY, Applied, Person, applied
from vaultstore import Actor, Store
from vaultstore.errors import AccessDenied, ApprovalMissing, NotDisclosed, SubjectErased, TokenInvalid
from vaultstore.evidence.check_report import check_report
from vaultstore.evidence.report_source import FunctionSource, ask_report
from vaultstore.gate.claims import Claims
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

MORE = """
services:
  office:  {description: takes people in, purposes: [enter, all]}
  app:     {description: what members use, purposes: [own]}
  desk:    {description: answers requests, purposes: [privacy.request], keeps: [cases]}
  shop:    {description: sells, purposes: [sell, town, deals, visits]}
  keepers: {description: keeps keys, purposes: [keys]}
  ops:     {description: jobs, purposes: [index], keeps: [approvals, jobs]}
  audit:   {description: looks on, purposes: [review]}
purposes:
  own:
    {description: see oneself, label: essential.service, basis: contract, roles: [member],
     read: {Person: {categories: [contact]}}, requires: {subjects: self}}
  privacy.request:
    {description: answer requests, label: essential.legal_obligation, basis: legal_obligation, roles: [officer],
     read: {Person: {categories: [contact]}}, requires: {case: true, subjects: named}}
  keys:
    {description: keep keys, label: essential.service.security, basis: legal_obligation, roles: [keeper],
     read: {}, keeps_keys: [rotate, retire]}
  index:
    {description: digests anew, label: essential.service.security, basis: legal_obligation, roles: [operator],
     read: {Person: {categories: [contact]}}, write: {Person: [contact]}, batch: 2,
     requires: {approvals: 2, sees_restricted: true, sees_canaries: true}}
  review:
    {description: look on, label: essential.legal_obligation, basis: legal_obligation, roles: [auditor],
     read: {}, approves: [index]}
"""
_head, _rest = POLICY.split("services:\n")
BOTH = _head + MORE.rstrip("\n") + "\n" + _rest.split("purposes:\n", 1)[1]
OFFICER, KEEPER, OPERATOR = Actor("o-1", role="officer"), Actor("k-1", role="keeper"), Actor("op-1", role="operator")
EMAIL = "people.email"


@pytest.fixture(params=[False, True], ids=["open", "strict"])
def place(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[Applied]:
    with applied(postgres, BOTH, strict=request.param) as made:
        yield made


@pytest.fixture
def issuer(place: Applied) -> Store:
    return place.open("issuer" if place.roles.strict else None)


@pytest.fixture
def office(place: Applied) -> Store:
    return place.open("office")


@pytest.fixture
def people(issuer: Store, office: Store) -> list[uuid.UUID]:
    people = [Person(city="Shanghai", phone=f"1381234{i:04d}", email=f"p{i}@example.org") for i in range(5)]
    with office.begin(issuer.issue(BOSS, "enter")) as session:
        session.add_all(people)
        session.flush()
        ids = [person.id for person in people]
    with office.session(issuer.issue(BOSS, "all")) as session:
        assert len([p.phone for p in session.scalars(select(Person))]) == 5
    return ids


def own(issuer: Store, person: uuid.UUID) -> str:
    return issuer.issue(Actor(str(person), role="member"), "own")


def at_desk(issuer: Store, place: Applied, person: uuid.UUID, others: tuple[uuid.UUID, ...] = ()) -> str:
    case = place.open("desk").cases.open("request", assigned_to=OFFICER.id, subjects=[person, *others])
    return issuer.issue(OFFICER, "privacy.request", subjects=[person], case=case)


# ------------------------------------------------------------------------------------------------------ reports


@pytest.mark.parametrize("who", ["app", "desk"])
def test_a_service_makes_the_report_that_an_operator_makes(
    place: Applied, issuer: Store, people: list[uuid.UUID], who: str
) -> None:
    mine, *others = people
    place.operator.parts.log().checkpoint(place.keys, place.operator.parts.now)
    token = own(issuer, mine) if who == "app" else at_desk(issuer, place, mine)
    report = place.open(who).report(mine, token)
    again = place.operator.report(mine, operator="root")
    keys = place.operator.parts.origin, place.keys.public_keys("audit")
    from vaultstore.audit.log import note_keys

    checked = check_report(report.data, note_keys(place.keys, keys[0]))
    later = check_report(again.data, note_keys(place.keys, keys[0]), report.data)
    assert [line.outcome for line in checked.lines] == ["sealed", "disclosed", "reported"]
    assert len(later.lines) == len(checked.lines) + 1
    text = report.data.decode()
    assert not any(other.hex in text or str(other) in text for other in others)


def test_nothing_of_others_leaves_the_database(place: Applied, issuer: Store, people: list[uuid.UUID]) -> None:
    mine, *others = people
    store = place.open("app")
    claims = Claims.of(store.verify(own(issuer, mine)))
    answer = ask_report(store.parts.gate_engine, claims, mine)
    found = list(FunctionSource(store.parts.gate_engine, claims, answer.entry).entries())
    assert len(found) == 3
    with place.operator.parts.gate_engine.connect() as connection:
        whole: dict[str, bytes] = dict(connection.execute(sa.text("SELECT leaf, lines FROM vs_entries")).all())
    for entry in found:
        assert mine.bytes in entry.lines
        assert not any(other.bytes in entry.lines for other in others)
        salts = [bytes(whole[entry.leaf])[at + 16 : at + 48] for at in range(0, len(entry.lines), 57)]
        assert sum(salt in entry.lines for salt in salts) == 1


def test_nobody_has_the_report_of_another(place: Applied, issuer: Store, people: list[uuid.UUID]) -> None:
    mine, other, *_ = people
    app, desk = place.open("app"), place.open("desk")
    with pytest.raises(NotDisclosed, match="does not name"):
        app.report(other, own(issuer, mine))
    with pytest.raises(NotDisclosed, match="does not name"):
        desk.report(other, at_desk(issuer, place, mine, (other,)))
    closed = at_desk(issuer, place, mine)
    desk.cases.close(desk.verify(closed).case or "")
    with pytest.raises(ApprovalMissing):
        desk.report(mine, closed)
    office = place.open("office")
    with pytest.raises(AccessDenied) as caught:
        office.report(mine, issuer.issue(BOSS, "all"))
    assert caught.value.reason in ("not.granted", "login.not_served")
    with pytest.raises(AccessDenied) as caught:  # the member's token, at a service that is not the members'
        office.report(mine, own(issuer, mine))
    assert caught.value.reason == "login.not_served"


def test_a_report_is_handed_out_for_a_committed_entry_of_this_login_and_grant(
    place: Applied, issuer: Store, people: list[uuid.UUID]
) -> None:
    mine, other, *_ = people
    app, desk = place.open("app"), place.open("desk")
    claims = Claims.of(app.verify(own(issuer, mine)))
    call = sa.text("SELECT vs_report(CAST(CAST(:claims AS jsonb) AS jsonb), :subject)")
    lines = sa.text("SELECT vs_report_lines(CAST(CAST(:claims AS jsonb) AS jsonb), :entry, -1)")
    nodes = sa.text("SELECT vs_report_nodes(CAST(CAST(:claims AS jsonb) AS jsonb), :entry, ARRAY[0]::bigint[])")

    def told(engine: sa.Engine, claimed: Claims, entry: str) -> list[Any]:
        given = {"claims": claimed.json, "entry": entry}
        with engine.connect() as connection:
            return [found for q in (lines, nodes) if (found := connection.execute(q, given).scalar()) is not None]

    with app.parts.gate_engine.connect() as connection:
        answer = connection.execute(call, {"claims": claims.json, "subject": mine}).scalar_one()
        early = connection.execute(lines, {"claims": claims.json, "entry": answer["entry"]}).scalar()
        connection.rollback()  # who rolls back leaves no entry, and got nothing for it
    assert early is None
    assert told(app.parts.gate_engine, claims, answer["entry"]) == []
    entry = ask_report(app.parts.gate_engine, claims, mine).entry
    assert len(told(app.parts.gate_engine, claims, entry)) == 2
    theirs = Claims.of(app.verify(own(issuer, other)))
    assert told(app.parts.gate_engine, theirs, entry) == []
    officer = Claims.of(desk.verify(at_desk(issuer, place, mine)))
    assert told(desk.parts.gate_engine, officer, entry) == []
    refused = ask_report(app.parts.gate_engine, claims, other)
    assert refused.code == "subject.not_named"
    assert told(app.parts.gate_engine, claims, refused.entry) == []
    disclosed = place.operator.parts.gate_engine.connect()
    seen = disclosed.execute(sa.text("SELECT id FROM vs_entries WHERE kind = 'disclose'")).scalars().all()
    disclosed.close()
    assert all(told(app.parts.gate_engine, claims, each) == [] for each in seen)


def test_a_forged_claim_gets_nothing_where_tickets_are_demanded(
    place: Applied, issuer: Store, people: list[uuid.UUID]
) -> None:
    mine, other, *_ = people
    app = place.open("app")
    claims = Claims.of(app.verify(own(issuer, mine)))
    forged = replace(claims, actor=str(other), subjects=frozenset([other.bytes]))
    answer = ask_report(app.parts.gate_engine, forged, other)
    assert answer.code == ("ticket.invalid" if place.roles.strict else None)
    if place.roles.strict:
        assert FunctionSource(app.parts.gate_engine, forged, answer.entry).claims is forged
        with app.parts.gate_engine.connect() as connection:
            query = sa.text("SELECT vs_report_lines(CAST(:c AS jsonb), :e, -1)")
            assert connection.execute(query, {"c": forged.json, "e": answer.entry}).scalar() is None
    edited = json.loads(claims.json) | {"pol": "sha256:" + "0" * 64}
    with app.parts.gate_engine.connect() as connection:
        query = sa.text("SELECT vs_report(CAST(:c AS jsonb), :s) ->> 'code'")
        code = connection.execute(query, {"c": json.dumps(edited), "s": mine}).scalar_one()
    assert code in ("policy.changed", "ticket.invalid")


@pytest.mark.parametrize("service", ["office", "shop", "keepers", "ops", "audit", "issuer"])
def test_logins_that_serve_no_reports_may_not_call_for_one(
    place: Applied, people: list[uuid.UUID], service: str
) -> None:
    engine = place.engine(service)
    for call in (
        "vs_report('{}', gen_random_uuid())",
        "vs_report_lines('{}', 'x', 0)",
        "vs_report_nodes('{}', 'x', '{}')",
        "vs_entries",
    ):
        query = sa.text(f"SELECT {call}" if "(" in call else f"SELECT leaf FROM {call}")
        with engine.connect() as connection, pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(query)


def test_an_erased_member_has_no_report_from_a_service_either(
    place: Applied, issuer: Store, people: list[uuid.UUID]
) -> None:
    token = own(issuer, people[0])
    place.operator.subjects.erase(people[0], reason="asked")
    with pytest.raises(SubjectErased):
        place.open("app").report(people[0], token)


# ------------------------------------------------------------------------------------------ an index's new key


def backfill_token(place: Applied, issuer: Store) -> str:
    request = place.open("ops").request_access(OPERATOR, "index")
    for name in ("au-1", "au-2"):
        place.open("audit").approve(request, issuer.issue(Actor(name, role="auditor"), "review"))
    return issuer.issue(OPERATOR, "index")


def test_services_rotate_an_index_each_with_its_own_step(
    place: Applied, issuer: Store, office: Store, people: list[uuid.UUID]
) -> None:
    keepers, ops = place.open("keepers"), place.open("ops")
    keys = issuer.issue(KEEPER, "keys")
    place.operator.subjects.restrict(people[1], reason="asked")
    assert keepers.indexes.rotate(EMAIL, keys) == 2
    enter = issuer.issue(BOSS, "enter")
    # The writer may not read the index, and its purpose sees no such row: the database looks for it.
    for email in ("p0@example.org", "p1@example.org"):
        with pytest.raises(IntegrityError, match=r"people_email_bidx"), office.begin(enter) as session:
            session.add(Person(city="Beijing", phone="1", email=email))
    with office.begin(enter) as session:
        session.add(Person(city="Beijing", phone="2", email="new@example.org"))
    with pytest.raises(AccessDenied) as caught:
        keepers.indexes.finish(EMAIL, keys)
    assert caught.value.reason == "index.unsettled"
    summary = ops.indexes.backfill(EMAIL, backfill_token(place, issuer))
    assert (summary.done, summary.failed) == (6, 0)
    assert keepers.indexes.finish(EMAIL, keys) == 2
    with office.session(issuer.issue(BOSS, "all")) as session:
        query = select(Person.city).where(Person.email == "p0@example.org")
        assert session.scalars(query).all() == ["Shanghai"]
    for email in ("p0@example.org", "new@example.org"):
        with pytest.raises(IntegrityError), office.begin(enter) as session:
            session.add(Person(city="Beijing", phone="1", email=email))


@pytest.mark.parametrize("service", ["office", "shop", "ops", "keepers", "app", "issuer"])
def test_a_login_takes_the_steps_of_its_own_purposes_alone(place: Applied, service: str) -> None:
    functions = {
        "vs_index_rotate(jsonb, text, text[], int)": {"keepers"},
        "vs_index_finish(jsonb, text)": {"keepers"},
        "vs_index_state(jsonb)": {"keepers"},
        "vs_reindex(jsonb, text, text, bytea, int)": {"ops"},
        "vs_index_settle(jsonb, text, text, boolean)": {"ops"},
        "vs_index_taken(jsonb, text, text, bytea[], bytea)": {"office", "shop", "ops"},
    }
    with place.engine(service).connect() as connection:
        query = sa.text("SELECT has_function_privilege(session_user, :function, 'EXECUTE')")
        may = {f for f in functions if connection.execute(query, {"function": f}).scalar_one()}
        assert may == {f for f, services in functions.items() if service in services}
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(sa.text("SELECT current FROM vs_index_versions"))


def test_the_owners_view_of_the_index_is_no_way_to_read_rows(place: Applied, people: list[uuid.UUID]) -> None:
    with place.engine("office").connect() as connection:
        connection.execute(sa.text("SELECT set_config('vaultstore.looking', 'on', true)"))
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(sa.text("SELECT id FROM people"))


def test_digests_that_were_not_announced_are_not_looked_for(
    place: Applied, issuer: Store, office: Store, people: list[uuid.UUID]
) -> None:
    place.open("keepers").indexes.rotate(EMAIL, issuer.issue(KEEPER, "keys"))
    token = issuer.issue(BOSS, "enter")
    claims = Claims.of(office.verify(token))
    admission = office.parts.ledger.admit_seal(
        claims, "Person", ["contact"], ["contact"], [EMAIL], [uuid.uuid4().bytes], 1
    )
    guesses = [(bytes(32), uuid.uuid4().bytes)] * 2
    with office.parts.gate_engine.connect() as connection:
        told = office.parts.ledger.taken(connection, claims, admission.entry, EMAIL, guesses)
        assert told.code == "not.granted"
        told = office.parts.ledger.taken(connection, claims, admission.entry, "people.phone", guesses[:1])
        assert told.place is None
        told = office.parts.ledger.taken(connection, claims, str(uuid.uuid4()), EMAIL, guesses[:1])
        assert told.code == "not.granted"


def test_a_token_of_another_service_rotates_nothing(place: Applied, issuer: Store) -> None:
    ops = place.open("ops")
    with pytest.raises((AccessDenied, TokenInvalid)):
        ops.indexes.rotate(EMAIL, issuer.issue(KEEPER, "keys"))

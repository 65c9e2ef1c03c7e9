"""Restricted members under row-level security: for whoever skips our Python, too, there is no row of theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import aliased, joinedload, selectinload

from tests.support.applied import BOSS, POLICY, SELLER, Applied, Note, Person, Visit, applied
from vaultstore.errors import AccessDenied, SubjectRestricted
from vaultstore.orm import ModelRegistry
from vaultstore.planes.postgres import PostgresPlane
from vaultstore.planes.postgres_target import compile_postgres
from vaultstore.records.plane import CLAIMS
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration

WITH_DESK = (
    POLICY.replace("purposes: [enter, all, deals]}", "purposes: [enter, all, deals], keeps: [states]}").replace(
        "  shop: ", "  desk: {description: answers members, purposes: [desk]}\n  shop: "
    )
    + """
  desk:
    {description: answer members, label: essential.service, basis: contract, roles: [clerk],
     read: {Person: {categories: [contact]}, Note: {categories: [talk]}}, requires: {sees_restricted: true}}
"""
)


class Place:
    """Six people with a note and a visit each; the first two, one a client of s-1's, rest."""

    def __init__(self, made: Applied) -> None:
        self.made = made
        self.office = made.open("office")
        filling: Any = SimpleNamespace(issue=made.open("issuer").issue, begin=self.office.begin)
        self.people = made.fill(filling, 6)
        self.resting = self.people[:2]
        for person in self.resting:
            self.office.subjects.restrict(person, reason="asked", operator="boss")

    def session(self, service: str, purpose: str, actor: Any = None) -> Any:
        store = self.made.open(service)
        who = actor or (SELLER if purpose in ("sell", "town", "visits") else BOSS)
        return store.session(self.made.open("issuer").issue(who, purpose))

    @contextmanager
    def raw(self, service: str, purpose: str, actor: str = "boss") -> Iterator[sa.Connection]:
        """A transaction of the service's login under the purpose's role, with claims that it made up or was given."""
        now = datetime.now(UTC)
        claims: dict[str, Any] = {
            "jti": "t", "actor": actor, "role": "clerk", "attributes": {"city": "Shanghai"}, "purpose": purpose,
            "pol": self.made.operator.policy.digest(purpose), "iat": now.isoformat(),
            "exp": (now + timedelta(minutes=5)).isoformat(), "case": None, "subjects": None,
        }  # fmt: skip
        if self.made.roles.strict:
            with self.made.engine("issuer").begin() as issuing:
                query = sa.text("SELECT vs_ticket(CAST(:c AS jsonb), ARRAY[:l])")
                named = {"c": json.dumps(claims), "l": self.made.roles.login(service)}
                claims["ticket"] = issuing.execute(query, named).scalar_one()
        with self.made.engine(service).connect() as connection:
            query = sa.text("SELECT set_config(:n, :c, true), set_config('role', :r, true)")
            connection.execute(query, {"n": CLAIMS, "c": json.dumps(claims), "r": self.made.roles.role(purpose)})
            yield connection
            connection.rollback()


@pytest.fixture(scope="module", params=[False, True], ids=["believing", "strict"])
def shared(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[Place]:
    with applied(postgres, WITH_DESK, strict=request.param) as made:
        yield Place(made)


@pytest.fixture
def place(shared: Place) -> Iterator[Place]:
    yield shared
    shared.made.let_go()


def test_a_session_finds_no_row_of_whoever_rests(place: Place) -> None:
    with place.session("office", "all") as session:
        assert session.get(Person, place.resting[0]) is None
        assert session.scalar(select(func.count()).select_from(Person)) == 4
        assert len(session.scalars(select(aliased(Person))).all()) == 4
        assert len(session.scalars(select(Note)).all()) == 8
        assert len(session.scalars(select(Visit)).all()) == 4
        assert sum(len(p.notes) for p in session.scalars(select(Person).options(selectinload(Person.notes)))) == 8
        joined = session.scalars(select(Person).options(joinedload(Person.notes))).unique()
        assert sum(len(p.notes) for p in joined) == 8
        assert session.execute(update(Person).values(city="XX")).rowcount == 4
        assert session.execute(delete(Note).where(Note.person_id == place.resting[0])).rowcount == 0


def test_neither_do_core_and_text_statements(place: Place) -> None:
    people = Person.__table__
    with place.session("office", "all") as session:
        assert len(session.execute(select(people.c.id)).all()) == 4
        assert session.scalar(text("SELECT count(*) FROM people")) == 4
        assert session.scalar(text("SELECT count(*) FROM visits")) == 4
        asked = select(Person).from_statement(text("SELECT id, city FROM people"))
        assert len(session.scalars(asked).all()) == 4


def test_a_purpose_that_sees_restricted_members_sees_and_opens_them(place: Place) -> None:
    with place.session("desk", "desk") as session:
        assert {p.id for p in session.scalars(select(Person)) if p.phone} == {*place.people}


@pytest.mark.parametrize(
    ("service", "purpose", "seen"), [("office", "all", 4), ("shop", "sell", 2), ("desk", "desk", 6)]
)
def test_raw_sql_of_a_purposes_role_sees_what_the_session_sees(
    place: Place, service: str, purpose: str, seen: int
) -> None:
    with place.raw(service, purpose, "s-1" if service == "shop" else "boss") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM people").scalar_one() == seen
        named = {"ids": place.resting}
        query = sa.text("SELECT count(*) FROM people WHERE id = ANY (:ids)")
        assert connection.execute(query, named).scalar_one() == (2 if purpose == "desk" else 0)


def test_raw_writes_reach_nobody_who_rests(place: Place) -> None:
    with place.raw("office", "all") as connection:
        person = {"id": place.resting[0]}
        for statement in ("UPDATE people SET city = 'XX' WHERE id = :id", "DELETE FROM notes WHERE person_id = :id"):
            assert connection.execute(sa.text(statement), person).rowcount == 0
        assert connection.exec_driver_sql("UPDATE people SET city = 'XX'").rowcount == 4
    for statement in (
        "INSERT INTO people (id, city) VALUES (:id, 'XX')",
        "INSERT INTO notes (id, person_id, kind) VALUES (gen_random_uuid(), :id, 'note')",
    ):
        refused = pytest.raises(sa.exc.DBAPIError, match=r"row-level security|null value")
        with place.raw("office", "all") as connection, refused:
            connection.execute(sa.text(statement), person)


def test_the_view_answers_about_a_member_that_is_known_and_lists_none(place: Place) -> None:
    view = f"{place.made.roles.prefix}scope_hidden"
    with place.raw("office", "all") as connection:
        told = [bytes(row[0]) for row in connection.exec_driver_sql(f"SELECT value FROM {view}")]
    assert sorted(told) == sorted(hashlib.sha256(person.bytes).digest() for person in place.resting)
    with place.raw("desk", "desk") as connection, pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        connection.exec_driver_sql(f"SELECT value FROM {view}")
    with place.raw("office", "all") as connection, pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        connection.exec_driver_sql("SELECT subject FROM vs_subjects")


def test_whoever_rests_is_not_reached_through_the_view_of_a_row_scope(place: Place) -> None:
    """s-1's deals name the first person, who rests: the view of the scope has the id, and no row comes of it."""
    with place.raw("shop", "sell", "s-1") as connection:
        query = "SELECT c.relname FROM pg_class c WHERE c.relkind = 'v' AND c.relname LIKE '%scope\\_applied%'"
        views = connection.exec_driver_sql(query, execution_options={"no_parameters": True}).scalars().all()
        readable = [
            v for v in views if connection.scalar(sa.text("SELECT has_table_privilege(:v, 'SELECT')"), {"v": v})
        ]
        known = {row[0] for view in readable for row in connection.exec_driver_sql(f"SELECT value FROM {view}")}
        assert place.resting[0] in known
        wanted = sa.text("SELECT count(*) FROM people WHERE id = ANY (:ids)")
        assert connection.execute(wanted, {"ids": [place.resting[0]]}).scalar_one() == 0
        assert connection.execute(wanted, {"ids": [*known]}).scalar_one() == len(known) - 1


def test_the_plane_is_what_it_should_be_and_its_probes_try_the_rows_of_those_who_rest(place: Place) -> None:
    made = place.made
    store = made.operator
    models = ModelRegistry(made.models)
    plane = PostgresPlane(store.engine, compile_postgres(store.policy, models, made.roles), models)
    assert plane.differences() == []
    probes = list(plane.probes())
    mine = {(p.cell.purpose, p.cell.where): p for p in probes if p.cell.where.startswith("restricted rows")}
    assert mine["all", "restricted rows of people"].expected is False
    assert mine["desk", "restricted rows of people"].expected is True
    assert [p for p in mine.values() if p.expected != p.found] == []
    assert [p for p in probes if p.expected != p.found and p.cell.operation == "SELECT"] == []


def test_a_probe_finds_a_policy_that_lets_them_be_seen(postgres: PostgresServer) -> None:
    with applied(postgres, WITH_DESK) as made:
        Place(made)
        store, models = made.operator, ModelRegistry(made.models)
        plane = PostgresPlane(store.engine, compile_postgres(store.policy, models, made.roles), models)
        with store.engine.begin() as connection:
            connection.exec_driver_sql('ALTER POLICY "all/select" ON people USING (true)')
        assert any("people" in difference.thing for difference in plane.differences())
        [wrong] = [p for p in plane.probes() if p.expected != p.found and p.cell.operation == "SELECT"]
        assert (wrong.cell.purpose, wrong.cell.where) == ("all", "restricted rows of people")
        assert plane.apply()
        assert plane.differences() == []


# Who changes states, under the plane.


def test_a_service_that_keeps_states_restricts_and_lifts_and_all_of_it_is_audited(place: Place) -> None:
    office, whom = place.made.open("office"), place.people[5]
    before = _entries(place)
    office.subjects.restrict(whom, reason="silent for a year", operator="job")
    office.subjects.lift(whom, reason="came back", operator="boss")
    assert [change.state for change in office.subjects.history(whom)] == ["active", "restricted", "active"]
    assert [change.reason for change in office.subjects.history(whom)] == [None, "silent for a year", "came back"]
    assert [e["kind"] for e in _entries(place)[len(before) :]] == ["restrict", "lift"]
    assert all(e["role"] == "operator" for e in _entries(place)[len(before) :])


def test_a_service_that_does_not_keep_them_can_not(place: Place) -> None:
    for service in ("shop", "desk"):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            place.made.open(service).subjects.restrict(place.people[5], reason="why not")


def test_a_made_up_token_restricts_nobody(place: Place) -> None:
    claims = {"jti": "x", "actor": "a", "role": "clerk", "attributes": {}, "purpose": "privacy.request", "pol": "x"}
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    claims |= {"iat": datetime.now(UTC).isoformat(), "exp": later, "case": None, "subjects": None}
    with place.made.engine("office").begin() as connection:
        query = sa.text("SELECT vs_restrict(CAST(:c AS jsonb), NULL, :s, false, 'x')")
        answer = connection.execute(query, {"c": json.dumps(claims), "s": place.people[5].bytes}).scalar_one()
    assert answer["code"] in ("login.not_served", "ticket.invalid")
    assert place.made.operator.subjects.state(place.people[5]) == "active"
    with pytest.raises(AccessDenied, match="does not use"):
        token = place.made.open("issuer").issue(BOSS, "all")
        place.made.open("office").subjects.restrict(place.people[5], reason="x", token=token)
    assert place.made.operator.subjects.state(place.people[5]) == "active"


def test_who_is_refused_as_restricted_when_the_row_was_loaded_before(place: Place) -> None:
    with place.session("office", "all") as session:
        person = session.get_one(Person, place.people[4])
        place.office.subjects.restrict(place.people[4], reason="asked")
        try:
            with pytest.raises(SubjectRestricted):
                _ = person.phone
        finally:
            place.office.subjects.lift(place.people[4], reason="a test is over")


def _entries(place: Place) -> list[dict[str, Any]]:
    with place.made.engine(None).connect() as connection:
        query = "SELECT leaf FROM vs_entries WHERE kind IN ('restrict', 'lift') ORDER BY seq"
        return [json.loads(leaf) for leaf in connection.exec_driver_sql(query).scalars()]

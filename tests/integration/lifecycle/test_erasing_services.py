"""Erasure under the PostgreSQL plane: a service erases with its own login and a token, and others try to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import ColumnElement, ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.support.applied import Applied, applied
from tests.support.erasing import OFFICER
from tests.support.generated_sql import claims_of
from tests.support.profiles import REGISTRAR
from vaultstore import (
    Actor,
    Encrypted,
    EncryptedModel,
    OnErasure,
    blind_index,
    encrypted_column,
    masks,
    row_scope,
    uuid7,
)
from vaultstore.audit.log import note_keys
from vaultstore.audit.verify import verify_log
from vaultstore.errors import AccessDenied, ApprovalMissing, TokenInvalid, UnsupportedOperation
from vaultstore.lifecycle.certificate_check import check_certificate
from vaultstore.orm.erasing import plan_of
from vaultstore.testing import PostgresServer

pytestmark = pytest.mark.integration


class Base(EncryptedModel, DeclarativeBase): ...


class Person(Base):
    __tablename__ = "people"
    __subject__ = "id"
    __erasure__ = OnErasure(clear={"nick": ""})

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    nick: Mapped[str]
    phone: Encrypted[str] = encrypted_column(
        category="contact", index=blind_index(), projections={"card": masks.keep(last=4)}
    )


class Letter(Base):
    __tablename__ = "letters"
    __subject__ = "sender_id"
    __key_scope__ = "thread_id"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid7)
    sender_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))
    thread_id: Mapped[uuid.UUID]
    body: Encrypted[str] = encrypted_column(category="talk")


class Deal(Base):
    __tablename__ = "deals"
    __subject__ = "person_id"
    __erasure__ = OnErasure(delete=True)

    id: Mapped[int] = mapped_column(primary_key=True)
    person_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("people.id"))


@row_scope("erasing_own_rows")
def own_rows(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    column: ColumnElement[Any] = model.id
    return column == uuid.UUID(actor.id)


POLICY = """
version: 1
categories:
  contact: {description: phone, sensitive: true}
  talk: {description: letters, sensitive: true}
  card: {description: what sellers see, projection: true}
services:
  intake: {purposes: [registration]}
  app: {purposes: [member.self]}
  desk: {purposes: [privacy.erasure], keeps: [cases, states]}
  crm: {purposes: [sales.pool], keeps: [cases]}
  safety: {purposes: [safety.inquiry], keeps: [cases]}
purposes:
  registration:
    {description: sign up, label: essential.service, basis: contract, roles: [registrar],
     write: {Person: [contact], Letter: [talk], Deal: []}}
  member.self:
    {description: own data, label: essential.service, basis: contract, roles: [member],
     read: {Person: {categories: [contact], rows: erasing_own_rows}}, requires: {subjects: self}}
  privacy.erasure:
    {description: erase, label: essential.legal_obligation, basis: legal_obligation, roles: [privacy_officer],
     read: {}, requires: {case: true, subjects: named, sees_restricted: true}}
  sales.pool:
    {description: sell, label: sales, basis: contract, roles: [matchmaker],
     read: {Person: {categories: [card]}}, write: {Deal: []}}
  safety.inquiry:
    {description: look for scams, label: essential.service, basis: legal_obligation, roles: [analyst],
     read: {Letter: {categories: [talk]}}, requires: {case: true}}
"""

ANALYST = Actor("analyst-1", role="analyst")


@pytest.fixture(scope="module", params=[False, True], ids=["default", "strict"])
def place(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[Applied]:
    with applied(postgres, POLICY, models=Base, strict=request.param) as made:
        yield made


def joined(place: Applied, count: int = 1) -> list[uuid.UUID]:
    """New people, each with a deal."""
    people = [Person(id=uuid.uuid4(), nick=f"n{n}", phone=f"138{n:08d}") for n in range(count)]
    ids = [each.id for each in people]
    with place.open("intake").begin(place.operator.issue(REGISTRAR, "registration")) as session:
        session.add_all(people)
        session.flush()
        session.add_all(Deal(person_id=i) for i in ids)
    return ids


def desk_token(place: Applied, subject: uuid.UUID) -> str:
    """The officer's, on a case of their own, which the desk opened under its own login."""
    case = place.open("desk").cases.open("erasure", assigned_to=OFFICER.id, subjects=[subject])
    return place.operator.issue(OFFICER, "privacy.erasure", subjects=[subject], case=case)


def count(place: Applied, query: str, *values: Any) -> Any:
    """A value, as the superuser sees it."""
    with place.operator.engine.connect() as connection:
        return connection.exec_driver_sql(query, values).scalar_one()


def verified(place: Applied) -> list[str]:
    """What `audit verify` finds."""
    parts = place.operator.parts
    parts.log().checkpoint(parts.keys, datetime.now(UTC))
    found = verify_log(parts.gate_engine, parts.origin, note_keys(parts.keys, parts.origin)).findings
    return [finding.what for finding in found]


def test_the_privacy_desk_erases_under_its_own_login(place: Applied) -> None:
    anna, ben = joined(place, 2)
    desk = place.open("desk")
    erased = desk.subjects.erase(anna, reason="asked for it", token=desk_token(place, anna))
    assert erased.new
    assert erased.keys == 2
    assert count(place, "SELECT count(*) FROM vs_keyring WHERE subject = %s", anna) == 0
    assert count(place, "SELECT count(*) FROM vs_keyring WHERE subject = %s", ben) == 2
    assert count(place, "SELECT nick || coalesce(phone_bidx::text, '') FROM people WHERE id = %s", anna) == ""
    assert count(place, "SELECT count(*) FROM deals WHERE person_id = %s", anna) == 0
    assert count(place, "SELECT count(*) FROM deals WHERE person_id = %s", ben) == 1
    assert count(place, "SELECT nick FROM people WHERE id = %s", ben) != ""
    assert verified(place) == []
    parts = place.operator.parts
    certificate = place.operator.subjects.certificate(anna)
    assert check_certificate(certificate.data, note_keys(parts.keys, parts.origin)).acts[0].keys == 2


def test_members_erase_themselves_under_the_apps_login(place: Applied) -> None:
    anna, ben = joined(place, 2)
    app = place.open("app")
    token = place.operator.issue(Actor(str(anna), role="member"), "member.self", subjects=[anna])
    with pytest.raises(AccessDenied, match="not one that the token names"):
        app.subjects.erase(ben, reason="a grudge", token=token)
    assert app.subjects.erase(anna, reason="I leave", token=token).new
    assert not app.subjects.erase(anna, reason="I leave", token=token).new
    assert count(place, "SELECT count(*) FROM vs_entries WHERE actor = %s", str(anna)) == 0
    assert verified(place) == []


@pytest.mark.parametrize("service", ["desk", "app", "crm", "intake"])
def test_nobody_erases_without_a_token_but_the_operator(place: Applied, service: str) -> None:
    (anna,) = joined(place)
    with pytest.raises(UnsupportedOperation, match="may not erase: give it a token"):
        place.open(service).subjects.erase(anna, reason="to harm")
    assert place.operator.subjects.erase(anna, reason="the operator may").new


def test_a_service_without_such_a_purpose_can_not_even_ask(place: Applied) -> None:
    (anna,) = joined(place)
    token = desk_token(place, anna)
    for service in ("crm", "intake", "safety"):
        with pytest.raises(AccessDenied) as refused:
            place.open(service).subjects.erase(anna, reason="stolen", token=token)
        assert refused.value.reason == "not.granted"
    # The app may call the function, for its own members' tokens; a stolen token of the desk is not one of those.
    with pytest.raises((AccessDenied, TokenInvalid)):
        place.open("app").subjects.erase(anna, reason="stolen", token=token)
    assert count(place, "SELECT state FROM vs_subjects WHERE subject = %s", anna) == "active"


def login(place: Applied, service: str) -> psycopg.Connection[Any]:
    """A raw connection of a service's login; each statement commits."""
    name = place.roles.login(service)
    url = place.url
    return psycopg.connect(dbname=url.database, host=str(url.query["host"]), user=name, autocommit=True)


FORGED: dict[str, dict[str, Any]] = {
    "another purpose's role": {"purpose": "sales.pool"},
    "another subject": {"subjects": [uuid.UUID(int=9).hex]},
    "no subjects": {"subjects": None},
    "another case": {"case": "c-none"},
    "another actor": {"actor": "officer-2"},
    "a stale policy": {"pol": "sha256:" + "0" * 64},
    "an expired token": {"exp": "2020-01-01T00:00:00.000000Z"},
    "another role": {"role": "matchmaker"},
}


@pytest.mark.parametrize("name", FORGED)
def test_the_function_believes_no_claims_that_are_not_live(place: Applied, name: str) -> None:
    (anna,) = joined(place)
    claims = claims_of(desk_token(place, anna)) | FORGED[name]
    digest = plan_of(place.operator.models).digest
    with login(place, "desk") as connection:
        query = "SELECT vs_erase(%s::jsonb, %s::uuid, 'to harm', '{}'::jsonb, %s::text)"
        row = connection.execute(query, (json.dumps(claims), anna, digest)).fetchone()
    assert row is not None
    assert "code" in row[0]
    assert count(place, "SELECT state FROM vs_subjects WHERE subject = %s", anna) == "active"


def test_the_steps_and_the_tables_behind_it_are_out_of_reach(place: Applied) -> None:
    (anna,) = joined(place)
    case = place.open("desk").cases.open("erasure", assigned_to="x", subjects=[anna])
    for service in ("desk", "app", "crm", "safety"):
        with login(place, service) as connection:
            for statement in (
                f"SELECT vsx_erase_as_operator('me', '{anna}', 'r', '{{}}', NULL)",
                f"SELECT vsx_erase('{{}}', '{anna}', 'r', '{{}}', NULL)",
                f"SELECT vsx_erase_rows('{anna}', '{{}}')",
                f"SELECT vsx_erase_log('{anna}')",
                "SELECT body FROM vs_erasures",
                "SELECT rules FROM vs_erasure_rules",
                "UPDATE vs_erasure_rules SET rules = '{}'",
                f"INSERT INTO vs_held (subject, scope, case_id) VALUES ('{anna}', '\\x00', '{case}')",
                f"DELETE FROM vs_keyring WHERE subject = '{anna}'",
                f"UPDATE vs_cases SET closed_at = now() WHERE id = '{case}'",
                f"DELETE FROM vs_case_scopes WHERE case_id = '{case}'",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_who_keeps_states_restricts_and_neither_erases_nor_brings_back(place: Applied) -> None:
    anna, ben = joined(place, 2)
    place.operator.subjects.erase(ben, reason="asked")
    with login(place, "desk") as connection:
        for who, state in ((anna, "erased"), (ben, "active"), (ben, "restricted")):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("UPDATE vs_subjects SET state = %s WHERE subject = %s", (state, who))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(
                "INSERT INTO vs_subjects (subject, state, created_at, changed_at) VALUES (%s, 'erased', now(), now())",
                (uuid.uuid4(),),
            )
    assert count(place, "SELECT state FROM vs_subjects WHERE subject = %s", ben) == "erased"


def test_the_setting_that_the_owners_policy_reads_opens_nothing_to_others(place: Applied) -> None:
    (anna,) = joined(place)
    with login(place, "crm") as connection:
        connection.execute("SELECT set_config('vaultstore.erasing', %s, false)", (str(anna),))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT nick FROM people")
        connection.execute(f'SET ROLE "{place.roles.role("sales.pool")}"')
        for statement in ("UPDATE people SET nick = ''", "DELETE FROM people", "SELECT phone_bidx FROM people"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_rules_of_other_models_erase_nothing(place: Applied) -> None:
    (anna,) = joined(place)
    with place.operator.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vs_erasure_rules SET digest = 'sha256:other'")
    try:
        with pytest.raises(UnsupportedOperation, match="rules of erasure: publish them"):
            place.open("desk").subjects.erase(anna, reason="asked", token=desk_token(place, anna))
    finally:
        place.operator.publish()
    assert count(place, "SELECT state FROM vs_subjects WHERE subject = %s", anna) == "active"


def test_a_case_of_another_service_holds_and_lets_go_under_its_own_login(place: Applied) -> None:
    (anna,) = joined(place)
    safety, scope, other = place.open("safety"), uuid.uuid4(), uuid.uuid4()
    with place.open("intake").begin(place.operator.issue(REGISTRAR, "registration")) as session:
        session.add_all(Letter(sender_id=anna, thread_id=thread, body="hi") for thread in (scope, other))
    case = safety.cases.open("inquiry", assigned_to=ANALYST.id, subjects=[anna], scopes={anna: [scope]})
    place.open("desk").subjects.erase(anna, reason="asked", token=desk_token(place, anna))
    token = place.operator.issue(ANALYST, "safety.inquiry", case=case)
    with safety.session(token) as session:
        query = sa.select(Letter).where(Letter.thread_id == scope)
        assert session.scalars(query).one().body == "hi"
    with safety.session(token) as session:
        gone = session.scalars(sa.select(Letter).where(Letter.thread_id == other)).one()
        with pytest.raises(AccessDenied):
            _ = gone.body
    assert verified(place) == []
    assert safety.cases.close(case) == [anna]
    with pytest.raises(ApprovalMissing):
        safety.cases.close(case)
    assert count(place, "SELECT count(*) FROM vs_keyring WHERE subject = %s", anna) == 0
    assert verified(place) == []


def test_no_case_is_closed_that_is_not_open_nor_by_who_keeps_none(place: Applied) -> None:
    with pytest.raises(ApprovalMissing):
        place.open("crm").cases.close("c-none")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        place.open("app").cases.close("c-none")

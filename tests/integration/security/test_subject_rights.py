"""Copies, new keys and masks made anew, by the services that do them, on databases that give each no more than that."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.security.deployment import Town, seller, town
from tests.support.profiles import REGISTRAR
from vaultstore import Actor
from vaultstore.errors import AccessDenied
from vaultstore.testing import OpenBaoServer, PostgresServer

pytestmark = pytest.mark.integration

OFFICER, OPERATOR = Actor("po-1", role="privacy_officer"), Actor("op-1", role="operator")
AUDITORS = (Actor("au-1", role="auditor"), Actor("au-2", role="auditor"))


@pytest.fixture(scope="module")
def place(openbao: OpenBaoServer, postgres: PostgresServer) -> Iterator[Town]:
    with town(openbao, postgres, strict=True) as made:
        yield made


def allowed(place: Town, actor: Actor, purpose: str, **about: Any) -> str:
    """A token for something that two auditors said yes to; the request is filed by the service itself."""
    request = place.live.store(purpose).request_access(actor, purpose, **about)
    for auditor in AUDITORS:
        place.live.store("audit.review").approve(request, place.live.operator.issue(auditor, "audit.review"))
    return place.live.operator.issue(actor, purpose, **about)


def key_ids(place: Town, who: uuid.UUID) -> set[int]:
    return {row[0] for row in place.inside("SELECT key_id FROM vs_keyring WHERE subject = %s", who)}


def test_the_privacy_desk_and_the_members_app_make_copies(place: Town) -> None:
    mine, other = place.members(2, lead=True)
    place.chat(mine, other)
    desk = place.live.store("privacy.request")
    case = desk.cases.open("privacy", assigned_to=OFFICER.id, subjects=[mine])
    token = place.live.operator.issue(OFFICER, "privacy.request", subjects=[mine], case=case)
    copy = desk.portability.export(mine, token).read()
    assert {model: len(rows) for model, rows in copy.rows.items() if rows} == {"Member": 1, "ChatMessage": 1, "Lead": 1}
    assert copy.rows["Member"][0]["name"] == "欧阳晨秀"
    copy_of_desk = copy
    assert [one["kind"] for one in copy.consents] == ["matchmaking"]
    app = place.live.store("member.self")
    own = place.live.operator.issue(Actor(str(mine), role="member"), "member.self", subjects=[mine])
    copy = app.portability.export(mine, own).read()
    withheld = {item["records"]: item["reason"] for item in copy.withheld if "records" in item}
    assert withheld["cases"] == "the service that made this copy does not keep them"
    assert copy.rows["Member"][0]["phone"].startswith("138")
    with pytest.raises(AccessDenied):
        app.portability.export(other, own)
    file = desk.portability.export(mine, token).data
    for table, key in (("leads", "member_id"), ("chat_messages", "sender_id"), ("members", "id")):
        place.inside(f"DELETE FROM {table} WHERE {key} = %s", mine)
    place.inside("DELETE FROM vs_keyring WHERE subject = %s", mine)
    registrar = place.live.operator.issue(REGISTRAR, "registration")
    service = place.live.store("registration")
    done = service.portability.import_(file, registrar, leave_out=True, unsealed=True)
    assert {model: count for model, count in done.rows.items() if count} == {"Member": 1}
    again = desk.portability.export(mine, token).read()
    assert again.rows["Member"] == copy_of_desk.rows["Member"]


def test_the_incident_desk_replaces_keys_and_nobody_else_does(place: Town) -> None:
    mine, other = place.members(2)
    place.chat(mine, other)
    desk = place.live.store("privacy.rekey")
    case = desk.cases.open("incident", assigned_to=OFFICER.id, subjects=[mine])
    token = allowed(place, OFFICER, "privacy.rekey", subjects=[mine], case=case)
    old = key_ids(place, mine)
    done = desk.subject_keys.rotate(mine, token)
    assert done.left == {}
    assert done.destroyed == len(old)
    assert not old & key_ids(place, mine)
    app = place.live.store("member.self")
    own = place.live.operator.issue(Actor(str(mine), role="member"), "member.self", subjects=[mine])
    rows = app.portability.export(mine, own).read().rows
    assert rows["ChatMessage"][0]["body"] == "meet me at nine"
    thief = seller(place)
    refs = place.refs(mine, "contact")
    entry = place.inside("SELECT id FROM vs_entries WHERE kind = 'seal' ORDER BY seq DESC LIMIT 1")[0][0]
    claims = json.dumps(thief.claims)
    for query, values in (
        ("SELECT vs_rekey_scopes(%s::jsonb, %s)::text", (claims, mine.bytes)),
        (
            "SELECT vs_rekeyed(%s::jsonb, %s, %s, ''::bytea, %s::text[], %s::bigint[], %s::text[])::text",
            (claims, entry, mine.bytes, ["contact"], [7], [place.wrapped(refs[0])]),
        ),
    ):
        assert thief.call(query, *values) == {"error": "42501"}
        with thief.role() as cursor, pytest.raises(Exception, match="permission denied for function"):
            cursor.execute(query, values)
    assert place.refs(mine, "contact") == refs


def test_who_took_over_the_incident_desk_reaches_nobody_but_the_named(place: Town) -> None:
    mine, other = place.members(2)
    desk = place.live.store("privacy.rekey")
    case = desk.cases.open("incident", assigned_to=OFFICER.id, subjects=[mine])
    token = allowed(place, OFFICER, "privacy.rekey", subjects=[mine], case=case)
    thief = place.thief("privacy.rekey", OFFICER, subjects=[mine], case=case)
    assert thief.token != token
    before = key_ids(place, other)
    query = "SELECT vs_rekey_scopes(%s::jsonb, %s)::text"
    with thief.role() as cursor:
        told = json.loads(cursor.execute(query, (json.dumps(thief.claims), other.bytes)).fetchone()[0])
        assert told == {"code": "subject.not_named"}
        named = {**thief.claims, "subjects": [other.hex]}
        told = json.loads(cursor.execute(query, (json.dumps(named), other.bytes)).fetchone()[0])
        assert told == {"code": "ticket.invalid"}
        with pytest.raises(Exception, match="permission denied for table vs_keyring"):
            cursor.execute("DELETE FROM vs_keyring WHERE subject = %s", (mine,))
    assert key_ids(place, other) == before


def test_operations_make_masks_anew(place: Town) -> None:
    place.members(3)
    place.inside("UPDATE vs_projections SET fingerprint = 'old()' WHERE projection = 'match_card'")
    token = allowed(place, OPERATOR, "maintenance.projection")
    jobs = place.live.store("maintenance.projection")
    summary = jobs.projections.rebuild("Member", "profile", token)
    assert summary.failed == 0
    assert summary.done == summary.rows > 0
    assert {s.state for s in place.live.operator.projections.status() if s.category == "profile"} == {"current"}
    with pytest.raises(AccessDenied):
        place.live.store("matching").projections.rebuild("Member", "profile", token)

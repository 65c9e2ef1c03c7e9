"""Subjects, consents, cases, approvals and revocations, on both databases."""

from __future__ import annotations

import os
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.errors import (
    AccessDenied,
    ApprovalMissing,
    SubjectErased,
    TokenExpired,
    TokenRevoked,
    UnsupportedOperation,
)

# ------------------------------------------------------------------------------------------------------- subjects


def test_a_subject_is_named_by_its_uuid_or_its_bytes(world: World) -> None:
    subject = uuid.uuid4()
    assert world.subjects.state(subject) is None
    world.subjects.register(subject, subject.bytes)
    assert world.subjects.state(subject.bytes) == "active"
    assert world.rows("vs_subjects") == 1


def test_states_change_and_say_why(world: World) -> None:
    subject = os.urandom(16)
    world.subjects.restrict(subject, reason="silent for a year")
    assert world.subjects.state(subject) == "restricted"
    with world.gate_engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT reason FROM vs_subjects").scalar_one() == "silent for a year"
    world.subjects.restrict(subject, reason="again")
    world.subjects.lift(subject, reason="came back")
    assert world.subjects.state(subject) == "active"


def test_erasure_destroys_every_key_of_that_subject_alone_and_is_final(world: World) -> None:
    one, other = world.members(2, "contact", "identity", "card")
    assert world.subjects.erase(one, reason="asked").keys == 3
    assert not world.subjects.erase(one, reason="asked twice").new
    assert world.rows("vs_keyring") == 3
    assert world.disclose(world.open("care"), [other], "contact").keys
    for act in (world.subjects.restrict, world.subjects.lift):
        with pytest.raises(SubjectErased):
            act(one, reason="no way back")
    with pytest.raises(SubjectErased):
        world.consents.grant(one, "matchmaking", notice_version="1")
    world.subjects.register(one)
    assert world.subjects.state(one) == "erased"


def test_a_subject_nobody_knows_is_erased_all_the_same(world: World) -> None:
    subject = os.urandom(16)
    assert world.subjects.erase(subject, reason="asked").keys == 0
    assert world.subjects.state(subject) == "erased"


def test_an_erasure_that_was_cut_short_is_finished_by_the_next(world: World) -> None:
    member = world.member("contact")
    with world.gate_engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vs_subjects SET state = 'erased'")
    assert world.disclose(world.open("care"), [member], "contact").keys == {}
    assert world.subjects.erase(member, reason="again").keys == 1
    assert world.rows("vs_keyring") == 0


def test_destroyed_keys_are_in_neither_the_file_nor_its_log(sqlite: World) -> None:
    member = sqlite.member("contact")
    with sqlite.members_engine.connect() as connection:
        wrapped: str = connection.exec_driver_sql("SELECT wrapped FROM vs_keyring").scalar_one()
    folder = Path(sqlite.members_engine.url.database or "").parent

    def written() -> bytes:
        return b"".join(file.read_bytes() for file in folder.glob("members.db*"))

    assert wrapped.encode() in written()
    sqlite.subjects.erase(member, reason="asked")
    assert wrapped.encode() not in written()


# ------------------------------------------------------------------------------------------------------- consents


def test_the_history_keeps_every_consent_with_its_notice_and_its_end(world: World) -> None:
    subject = os.urandom(16)
    world.consents.grant(subject, "matchmaking", notice_version="1", evidence="form 7")
    world.consents.withdraw(subject, "matchmaking")
    world.consents.grant(subject, "matchmaking", notice_version="2")
    world.consents.grant(subject, "newsletter", notice_version="1")
    history = world.consents.history(subject)
    assert [(c.kind, c.notice_version, c.evidence, c.withdrawn_at is None) for c in history] == [
        ("matchmaking", "1", "form 7", False),
        ("matchmaking", "2", None, True),
        ("newsletter", "1", None, True),
    ]
    assert all(isinstance(c.granted_at, datetime) and c.granted_at.tzinfo for c in history)
    assert world.consents.history(os.urandom(16)) == []


def test_withdrawing_ends_every_consent_of_that_kind_and_no_other(world: World) -> None:
    subject = os.urandom(16)
    for version in ("1", "2"):
        world.consents.grant(subject, "matchmaking", notice_version=version)
    world.consents.grant(subject, "newsletter", notice_version="1")
    assert world.consents.withdraw(subject, "matchmaking") == 2
    assert world.consents.withdraw(subject, "matchmaking") == 0
    assert [c.kind for c in world.consents.history(subject) if c.withdrawn_at is None] == ["newsletter"]


# ---------------------------------------------------------------------------------------------------------- cases


def test_a_case_opens_with_its_subjects_and_closes_once(world: World) -> None:
    subjects = sorted(os.urandom(16) for _ in range(3))
    case_id = world.cases.open("complaint", assigned_to="ann", subjects=[*subjects, subjects[0]], note="48 h plan")
    case = world.cases.get(case_id)
    assert case is not None
    assert (case.kind, case.assigned_to, case.note, case.subjects) == ("complaint", "ann", "48 h plan", tuple(subjects))
    assert case.closed_at is None
    world.cases.close(case_id)
    closed = world.cases.get(case_id)
    assert closed is not None
    assert closed.closed_at is not None
    for again in (case_id, "nothing"):
        with pytest.raises(ApprovalMissing):
            world.cases.close(again)
    assert world.cases.get("nothing") is None


def test_a_case_may_bring_an_id_of_its_own(world: World) -> None:
    assert world.cases.open("fraud", assigned_to="sam", subjects=[], case_id="CRM-7") == "CRM-7"
    with pytest.raises(sa.exc.IntegrityError):
        world.cases.open("fraud", assigned_to="sam", subjects=[], case_id="CRM-7")


# ------------------------------------------------------------------------------------------------------ approvals


def test_an_approval_is_audited_with_the_request_it_is_for(world: World) -> None:
    request = world.approvals.request_access(world.grant("probe", "sam").actor, "probe")
    world.approvals.approve(request, world.grant("lead", "lea", "lead"))
    entry = world.last()
    assert (entry.content["kind"], entry.content["outcome"], entry.content["field"]) == ("approve", "approved", request)


def test_nobody_approves_alone_without_right_or_too_late(world: World) -> None:
    request = world.approvals.request_access(world.grant("probe", "sam"), "probe", ttl=timedelta(hours=1))
    care = world.approvals.request_access(world.grant("care", "sam"), "care")
    lead = world.grant("lead", "lea", "lead")
    refused = [
        (request, world.grant("lead", "sam", "safety"), ApprovalMissing, "request.own"),
        (request, world.grant("care", "lea"), AccessDenied, "not.granted"),
        (care, lead, AccessDenied, "not.granted"),
        ("nothing", lead, ApprovalMissing, "request.missing"),
    ]
    for what, grant, error, code in refused:
        with pytest.raises(error) as caught:
            world.approvals.approve(what, grant)
        assert caught.value.reason == code
        assert world.last().content["outcome"] == f"refused:{code}"
    world.revocations.revoke(jti="stolen")
    with pytest.raises(TokenRevoked):
        world.approvals.approve(request, world.grant("lead", "lea", "lead", jti="stolen"))
    world.later(timedelta(hours=2))
    with pytest.raises(ApprovalMissing):
        world.approvals.approve(request, world.grant("lead", "lea", "lead"))
    assert world.rows("vs_approvals") == 0


def test_a_second_approval_by_the_same_person_changes_nothing(world: World) -> None:
    request = world.approvals.request_access(world.grant("probe", "sam"), "probe")
    for _ in range(2):
        world.approvals.approve(request, world.grant("lead", "lea", "lead"))
    assert world.rows("vs_approvals") == 1


# ---------------------------------------------------------------------------------------------------- revocations


def test_checking_a_grant_audits_refusals_only(world: World) -> None:
    world.gate.check(world.grant("care"))
    assert world.entries() == []
    with pytest.raises(TokenExpired):
        world.gate.check(world.grant("care", issued=world.clock() - timedelta(days=1)))
    assert world.last().content["outcome"] == "refused:token.expired"


def test_revoking_takes_a_token_or_an_actor(world: World) -> None:
    now = world.clock()
    for wrong in (
        {},
        {"jti": "a", "actor": "b"},
        {"jti": "a", "before": now},
        {"actor": "a", "before": datetime.now()},
    ):
        with pytest.raises(UnsupportedOperation):
            world.revocations.revoke(**wrong)  # type: ignore[arg-type]
    assert world.rows("vs_revocations") == 0


def test_the_moment_of_a_revocation_is_revoked_too(world: World) -> None:
    moment = world.clock() - timedelta(minutes=1)
    world.revocations.revoke(actor="ann", before=moment)
    with pytest.raises(TokenRevoked):
        world.gate.check(world.grant("care", issued=moment))
    world.gate.check(world.grant("care", issued=moment + timedelta(microseconds=1)))
    world.gate.check(world.grant("care", "bob", issued=moment))

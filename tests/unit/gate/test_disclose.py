"""disclose: each step, each refusal, the same on both databases."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.unit.gate.world import World
from vaultstore.errors import (
    AccessDenied,
    ApprovalMissing,
    ConsentMissing,
    KeyServiceUnavailable,
    NotDisclosed,
    SubjectErased,
    SubjectRestricted,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    VaultstoreError,
)
from vaultstore.gate import OpenGrant
from vaultstore.records.keyring import vs_keyring


def test_granted_keys_open_what_they_sealed(world: World) -> None:
    opened = world.open("register")
    need = ("contact", os.urandom(16), b"")
    sealed = world.seal(opened, [need])
    key_id, key = sealed.keys[need]
    ciphertext = key.encrypt(bytes(12), b"value", None)
    other = world.open("care")
    answer = world.gate.disclose(other, "Member", ["contact"], [(*need, key_id)])
    assert answer.refused == {}
    assert answer.keys[*need, key_id].decrypt(bytes(12), ciphertext, None) == b"value"


def test_all_categories_of_a_batch_cost_one_entry_and_one_unwrap_each(world: World) -> None:
    members = world.members(50, "identity", "contact")
    answer = world.disclose(world.open("care"), members, "identity", "contact")
    assert len(answer.keys) == 100
    assert world.keys.verbs() == [("unwrap", "identity", 50), ("unwrap", "contact", 50)]
    (entry,) = world.entries("disclose")
    assert entry.content["id"] == answer.entry
    assert [line.subject for line in entry.lines] == members


def test_unwrap_requests_carry_the_entry_as_their_reference(world: World) -> None:
    member = world.member("contact")
    answer = world.disclose(world.open("care"), [member], "contact")
    assert [request[3] for request in world.keys.requests] == [answer.entry]


def test_nothing_asked_is_nothing_told(world: World) -> None:
    answer = world.gate.disclose(world.open("care"), "Member", ["contact"], [])
    assert (answer.entry, answer.keys, answer.refused) == (None, {}, {})
    assert world.entries() == []


def test_warm_keys_cost_no_unwrap_but_every_step_before(world: World) -> None:
    members, opened = world.members(3, "contact"), world.open("care")
    world.disclose(opened, members, "contact")
    world.keys.verbs()
    assert len(world.disclose(opened, members, "contact").keys) == 3
    assert world.keys.verbs() == []
    assert len(world.entries("disclose")) == 2
    world.subjects.restrict(members[1], reason="silent")
    assert set(world.disclose(opened, members, "contact").refused) == {members[1]}


def test_warm_keys_end_with_their_time(world: World) -> None:
    member, opened = world.member("contact"), world.open("care")
    world.disclose(opened, [member], "contact")
    world.clock.offset += timedelta(seconds=299)
    world.disclose(opened, [member], "contact")
    world.clock.offset += timedelta(seconds=1)
    world.disclose(opened, [member], "contact")
    assert world.keys.verbs() == [("unwrap", "contact", 1)] * 2


def test_a_reference_without_a_keyring_row_is_neither_opened_nor_refused(world: World) -> None:
    member = world.member("contact")
    _, _, _, key_id = world.refs[member, "contact"]
    missing = ("contact", member, b"", key_id ^ 1)
    answer = world.gate.disclose(world.open("care"), "Member", ["contact"], [missing])
    assert (answer.keys, answer.refused) == ({}, {})


def test_a_wrap_that_was_swapped_does_not_open(world: World) -> None:
    one, other = world.members(2, "contact")
    with world.members_engine.begin() as connection:
        wrapped = connection.scalar(vs_keyring.select().with_only_columns(vs_keyring.c.wrapped).limit(1))
        connection.execute(vs_keyring.update().values(wrapped=wrapped))
    answer = world.disclose(world.open("care"), [one, other], "contact")
    assert len(answer.keys) == 1
    assert answer.refused == {}


def test_scopes_have_keys_of_their_own(world: World) -> None:
    subject = os.urandom(16)
    first, second = world.message(subject), world.message(subject)
    opened = world.open("register")
    with pytest.raises(NotDisclosed):  # register writes messages and reads none
        world.gate.disclose(opened, "Message", ["conversation"], [first])
    case = world.cases.open("fraud", assigned_to="sam", subjects=[subject])
    grant = world.grant("probe", "sam", "safety", subjects=[subject], case=case)
    request = world.approvals.request_access(grant, "probe", case=case, subjects=[subject])
    for approver in ("lea", "lou"):
        world.approvals.approve(request, world.grant("lead", approver, "lead"))
    probe = world.gate.open(grant, world.keys.login)
    answer = world.gate.disclose(probe, "Message", ["conversation"], [first])
    assert set(answer.keys) == {first} != {second}


# ------------------------------------------------------------------------------------------------ whole requests


def _expired(world: World) -> OpenGrant:
    return world.open("care", issued=world.clock() - timedelta(hours=1))


def _revoked(world: World) -> OpenGrant:
    opened = world.open("care", jti="stolen")
    world.revocations.revoke(jti="stolen")
    return opened


def _actor_revoked(world: World) -> OpenGrant:
    opened = world.open("care", "bob", issued=world.clock() - timedelta(seconds=5))
    world.revocations.revoke(actor="bob")
    return opened


def _changed(world: World) -> OpenGrant:
    return world.open("care", digest="sha256:" + "0" * 64)


def _unknown(world: World) -> OpenGrant:
    return world.open("nothing", digest="sha256:" + "0" * 64)


def _role(world: World) -> OpenGrant:
    return world.open("care", role="guest")


def _category(world: World) -> OpenGrant:
    return world.open("cards")


def _unnamed(world: World) -> OpenGrant:
    return world.open("self")


def _no_case(world: World) -> OpenGrant:
    return world.open("complaint")


def _closed_case(world: World) -> OpenGrant:
    case = world.cases.open("complaint", assigned_to="ann", subjects=[bytes(16)])
    world.cases.close(case)
    return world.open("complaint", case=case)


def _others_case(world: World) -> OpenGrant:
    case = world.cases.open("complaint", assigned_to="bob", subjects=[bytes(16)])
    return world.open("complaint", case=case)


@pytest.mark.parametrize(
    ("make", "category", "error", "code"),
    [
        (_expired, "contact", TokenExpired, "token.expired"),
        (_revoked, "contact", TokenRevoked, "token.revoked"),
        (_actor_revoked, "contact", TokenRevoked, "token.revoked"),
        (_changed, "contact", TokenInvalid, "policy.changed"),
        (_unknown, "contact", TokenInvalid, "policy.changed"),
        (_role, "contact", NotDisclosed, "not.granted"),
        (_category, "contact", NotDisclosed, "not.granted"),
        (_unnamed, "identity", NotDisclosed, "subject.not_named"),
        (_no_case, "contact", ApprovalMissing, "case.missing"),
        (_closed_case, "contact", ApprovalMissing, "case.missing"),
        (_others_case, "contact", ApprovalMissing, "case.missing"),
    ],
)
def test_a_request_refused_as_a_whole_raises_and_is_audited_without_lines(
    world: World, make: Callable[[World], OpenGrant], category: str, error: type[VaultstoreError], code: str
) -> None:
    member = world.member("contact", "identity")
    opened = make(world)
    with pytest.raises(error) as caught:
        world.disclose(opened, [member], category)
    if isinstance(caught.value, AccessDenied):
        assert caught.value.reason == code
    entry = world.last()
    assert entry.content["outcome"] == f"refused:{code}"
    assert entry.content["counts"] == {"subjects": 1}
    assert (entry.content["model"], entry.content["categories"]) == ("Member", [category])
    assert entry.lines == []
    assert world.keys.verbs() == []


def test_one_category_that_is_not_granted_refuses_the_request(world: World) -> None:
    member = world.member("contact", "profile")
    with pytest.raises(NotDisclosed, match="contact, profile of Member"):
        world.disclose(world.open("care"), [member], "contact", "profile")


def test_a_reference_outside_the_categories_named_is_judged_all_the_same(world: World) -> None:
    member = world.member("profile")
    with pytest.raises(NotDisclosed):
        world.gate.disclose(world.open("care"), "Member", ["contact"], [world.refs[member, "profile"]])


def test_a_model_that_is_not_listed_is_not_granted(world: World) -> None:
    with pytest.raises(NotDisclosed):
        world.gate.disclose(world.open("care"), "Message", ["contact"], [("contact", bytes(16), b"", 1)])


def test_tokens_issued_after_an_actors_revocation_work(world: World) -> None:
    member = world.member("contact")
    world.revocations.revoke(actor="ann", before=world.clock() - timedelta(seconds=10))
    old = world.open("care", issued=world.clock() - timedelta(seconds=11))
    with pytest.raises(TokenRevoked):
        world.disclose(old, [member], "contact")
    assert world.disclose(world.open("care"), [member], "contact").keys


def test_an_edit_of_another_purpose_leaves_tokens_alone(world: World) -> None:
    member, opened = world.member("contact"), world.open("care")
    del world.policy.purposes["cards"]
    world.ledger.publish(world.policy)
    assert world.disclose(opened, [member], "contact").keys
    with pytest.raises(TokenInvalid, match="is not the published one"):
        world.disclose(world.open("cards", digest="sha256:" + "0" * 64), [member], "card")


# --------------------------------------------------------------------------------------------- subject by subject


def test_each_subject_is_judged_alone_and_the_entry_tells_of_each(world: World) -> None:
    fine, restricted, erased, unnamed = world.members(4, "contact")
    unknown = os.urandom(16)
    world.refs[unknown, "contact"] = ("contact", unknown, b"", 1)
    world.subjects.restrict(restricted, reason="silent")
    world.subjects.erase(erased, reason="asked")
    opened = world.open("care", subjects=[fine, restricted, erased, unknown])
    answer = world.disclose(opened, [fine, restricted, erased, unnamed, unknown], "contact")
    assert [ref[1] for ref in answer.keys] == [fine]
    told = {subject: (type(error), error.reason, error.subject) for subject, error in answer.refused.items()}
    assert told == {
        restricted: (SubjectRestricted, "subject.restricted", uuid.UUID(bytes=restricted)),
        erased: (SubjectErased, "subject.erased", uuid.UUID(bytes=erased)),
        unnamed: (NotDisclosed, "subject.not_named", uuid.UUID(bytes=unnamed)),
        unknown: (NotDisclosed, "subject.unknown", uuid.UUID(bytes=unknown)),
    }
    entry = world.last()
    assert entry.content["outcome"] == "partial"
    assert entry.content["counts"] == {"subjects": 5, "disclosed": 1}
    assert [(line.subject, line.number, line.outcome) for line in entry.lines] == [
        (fine, 2, "disclosed"),
        (restricted, 3, "subject.restricted"),  # its restriction was the second
        (bytes(16), 0, "subject.erased"),
        (unnamed, 2, "subject.not_named"),
        (unknown, 0, "subject.unknown"),
    ]


def test_a_request_whose_every_subject_is_refused_asks_no_key_service(world: World) -> None:
    member = world.member("contact")
    world.subjects.restrict(member, reason="silent")
    answer = world.disclose(world.open("care"), [member], "contact")
    assert answer.keys == {}
    assert world.keys.verbs() == []
    assert world.last().content["outcome"] == "refused:subject.restricted"


def test_several_reasons_make_a_plain_refused(world: World) -> None:
    one, other = world.members(2, "contact")
    world.subjects.restrict(one, reason="silent")
    world.subjects.erase(other, reason="asked")
    world.disclose(world.open("care"), [one, other], "contact")
    assert world.last().content["outcome"] == "refused"


def test_a_purpose_that_sees_restricted_subjects_reads_them(world: World) -> None:
    member = world.member("identity")
    world.subjects.restrict(member, reason="silent")
    assert world.disclose(world.open("privacy"), [member], "identity").keys
    world.subjects.erase(member, reason="asked")
    assert world.disclose(world.open("privacy"), [member], "identity").refused


def test_a_lifted_restriction_is_over(world: World) -> None:
    member = world.member("contact")
    world.subjects.restrict(member, reason="silent")
    world.subjects.lift(member, reason="came back")
    assert world.disclose(world.open("care"), [member], "contact").keys


def test_consent_is_asked_of_each_subject_and_can_be_withdrawn(world: World) -> None:
    agreed, other, withdrew = world.members(3, "card", by="import")
    for subject in (agreed, withdrew):
        world.consents.grant(subject, "matchmaking", notice_version="2")
    world.consents.grant(other, "newsletter", notice_version="1")
    assert world.consents.withdraw(withdrew, "matchmaking") == 1
    answer = world.disclose(world.open("cards"), [agreed, other, withdrew], "card")
    assert [ref[1] for ref in answer.keys] == [agreed]
    assert {type(error) for error in answer.refused.values()} == {ConsentMissing}
    assert world.last().outcomes() == {agreed: "disclosed", other: "consent.missing", withdrew: "consent.missing"}
    world.consents.grant(withdrew, "matchmaking", notice_version="3")
    assert world.disclose(world.open("cards"), [withdrew], "card").keys


def test_a_case_lets_its_assignee_at_the_subjects_it_names(world: World) -> None:
    named, other = world.members(2, "contact")
    case = world.cases.open("complaint", assigned_to="ann", subjects=[named])
    answer = world.disclose(world.open("complaint", case=case), [named, other], "contact")
    assert [ref[1] for ref in answer.keys] == [named]
    assert {s: e.reason for s, e in answer.refused.items()} == {other: "case.missing"}
    assert world.last().content["case"] == case


@pytest.mark.parametrize("approvers", [[], ["lea"], ["lea", "lea"], ["lea", "lou"]])
def test_approvals_are_by_as_many_other_people_as_the_policy_says(world: World, approvers: list[str]) -> None:
    subject = os.urandom(16)
    ref = world.message(subject)
    case = world.cases.open("fraud", assigned_to="sam", subjects=[subject])
    grant = world.grant("probe", "sam", "safety", subjects=[subject], case=case)
    request = world.approvals.request_access(grant, "probe", case=case, subjects=[subject])
    for approver in approvers:
        world.approvals.approve(request, world.grant("lead", approver, "lead"))
    opened = world.gate.open(grant, world.keys.login)
    if len(set(approvers)) == 2:
        assert world.gate.disclose(opened, "Message", ["conversation"], [ref]).keys
    else:
        with pytest.raises(ApprovalMissing) as caught:
            world.gate.disclose(opened, "Message", ["conversation"], [ref])
        assert caught.value.reason == "approval.missing"


@pytest.mark.parametrize("differs", ["case", "subjects", "more subjects", "purpose", "actor", "time"])
def test_approvals_are_for_exactly_this(world: World, differs: str) -> None:
    subject, other = os.urandom(16), os.urandom(16)
    ref = world.message(subject)
    case = world.cases.open("fraud", assigned_to="sam", subjects=[subject])
    another = world.cases.open("fraud", assigned_to="sam", subjects=[subject])
    asked = {"subjects": [other], "more subjects": [subject, other]}.get(differs, [subject])
    request = world.approvals.request_access(
        world.grant("probe", "sid" if differs == "actor" else "sam", "safety"),
        "probe",
        case=another if differs == "case" else case,
        subjects=asked,
        ttl=timedelta(hours=1),
    )
    for approver in ("lea", "lou"):
        world.approvals.approve(request, world.grant("lead", approver, "lead"))
    if differs == "time":
        world.later(timedelta(hours=1, seconds=1))
    if differs == "purpose":
        with world.gate_engine.begin() as connection:
            connection.exec_driver_sql("UPDATE vs_requests SET purpose = 'care'")
    grant = world.grant("probe", "sam", "safety", subjects=[subject], case=case)
    with pytest.raises(ApprovalMissing):
        world.gate.disclose(world.gate.open(grant, world.keys.login), "Message", ["conversation"], [ref])
    assert world.last().content["outcome"] == "refused:approval.missing"


def test_approvals_of_two_requests_do_not_add_up(world: World) -> None:
    subject = os.urandom(16)
    ref = world.message(subject)
    case = world.cases.open("fraud", assigned_to="sam", subjects=[subject])
    grant = world.grant("probe", "sam", "safety", subjects=[subject], case=case)
    for approver in ("lea", "lou"):
        request = world.approvals.request_access(grant, "probe", case=case, subjects=[subject])
        world.approvals.approve(request, world.grant("lead", approver, "lead"))
    with pytest.raises(ApprovalMissing):
        world.gate.disclose(world.gate.open(grant, world.keys.login), "Message", ["conversation"], [ref])


# ---------------------------------------------------------------------------------------------------- and after it


def test_a_key_service_that_fails_leaves_the_entry_and_discloses_nothing(world: World) -> None:
    member, opened = world.member("contact"), world.open("care")
    world.keys.failure = KeyServiceUnavailable("sealed")
    with pytest.raises(KeyServiceUnavailable):
        world.disclose(opened, [member], "contact")
    assert world.last().content["outcome"] == "disclosed"  # it says what was admitted
    world.keys.failure = None
    assert world.disclose(opened, [member], "contact").keys


def test_line_numbers_run_on_for_each_subject(world: World) -> None:
    one, other = world.members(2, "contact")
    opened = world.open("care")
    for subjects in ([one], [one, other], [other]):
        world.disclose(opened, subjects, "contact")
    numbers = [[(line.subject, line.number) for line in entry.lines] for entry in world.entries("disclose")]
    assert numbers == [[(one, 2)], [(one, 3), (other, 2)], [(other, 3)]]

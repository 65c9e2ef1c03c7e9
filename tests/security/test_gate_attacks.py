"""Attacks on the gate through its Python: what each tries, and that it gets nothing."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Literal

import pytest
import sqlalchemy as sa

from tests.support.errors import carried
from tests.unit.gate.world import CountingKeys, World
from vaultstore.errors import (
    ApprovalMissing,
    AuditError,
    BudgetExhausted,
    ConsentMissing,
    KeyServiceRefused,
    KeyServiceUnavailable,
    NotDisclosed,
    TokenError,
    TokenRevoked,
    UnsupportedOperation,
    VaultstoreError,
    WriteDenied,
)
from vaultstore.gate import PostgresLedger
from vaultstore.keys import LoginEnded
from vaultstore.lifecycle import Subjects

# --------------------------------------------------------------------------------------------------- limits


def test_a_duplicate_subject_is_charged_once_and_audited_once(world: World) -> None:
    one, two = world.members(2, "profile")
    answer = world.disclose(world.open("few"), [one, two, one, one], "profile")
    assert {ref[1] for ref in answer.keys} == {one, two}
    assert world.used("few") == [2]
    assert [line.subject for line in world.last().lines] == [one, two]


def test_no_way_of_splitting_and_ordering_requests_gets_past_a_limit(world: World) -> None:
    members = world.members(8, "profile")
    for seed in range(6):
        chosen = random.Random(seed)
        actor = f"actor-{seed}"
        seen: set[bytes] = set()
        for _ in range(5):
            asked = chosen.choices(members, k=chosen.randint(1, 8))
            answer = world.disclose(world.open("few", actor), asked, "profile")
            seen |= {ref[1] for ref in answer.keys}
        assert len(seen) <= 3


def test_another_role_of_the_same_person_has_no_limit_of_its_own(world: World) -> None:
    members = world.members(4, "profile")
    world.disclose(world.open("few", "ann"), members[:3], "profile")
    answer = world.disclose(world.open("few", "ann", attributes={"store": "other"}), members[3:], "profile")
    assert not answer.keys
    with pytest.raises(VaultstoreError):
        world.disclose(world.open("few", "ann", "lead"), members[3:], "profile")


def test_warm_keys_do_not_get_past_a_limit(world: World) -> None:
    members = world.members(4, "profile")
    opened = world.open("few", ttl=timedelta(hours=2))
    world.disclose(opened, members[:3], "profile")
    world.disclose(world.open("few"), members[1:3], "profile")
    refused = world.disclose(opened, members[3:], "profile").refused
    assert [error.reason for error in refused.values()] == ["budget.exhausted"]


# -------------------------------------------------------------------------------------------------- digests


def test_a_write_of_no_row_is_no_way_to_digests(world: World) -> None:
    with pytest.raises(UnsupportedOperation), world.members_engine.connect() as connection:
        world.gate.seal(world.open("import"), "Member", ["contact"], [], {"members.phone": [b"1"]}, connection)
    assert world.keys.verbs() == []


def test_a_writes_entry_tells_how_many_digests_were_asked_for(world: World) -> None:
    needs = [("contact", os.urandom(16), b"")]
    world.seal(world.open("import"), needs, values={"members.phone": [b"%d" % n for n in range(250)]})
    assert world.last().content["counts"] == {"subjects": 1, "sealed": 1, "digests": 250}


def test_a_refused_write_makes_no_digest_and_still_tells_of_them(world: World) -> None:
    member = world.member("contact")
    world.subjects.restrict(member, reason="silent")
    world.keys.verbs()
    with pytest.raises(VaultstoreError):
        world.seal(world.open("import"), [("contact", member, b"")], values={"members.phone": [b"1"]})
    assert world.last().content["counts"]["digests"] == 1
    assert world.keys.verbs() == []


@pytest.mark.parametrize("index", ["members.name", "tokens", "members.phone' OR '1", ""])
def test_only_indexes_of_fields_that_are_written_are_computed(world: World, index: str) -> None:
    with pytest.raises(WriteDenied):
        world.seal(world.open("signup"), [("contact", os.urandom(16), b"")], values={index: [b"1"]})
    assert world.keys.verbs() == []


# -------------------------------------------------------------------------- subjects, scopes, categories, key ids


@pytest.mark.parametrize("cut", [0, 8, 15, 17])
def test_a_subject_of_another_length_reaches_nobody(world: World, cut: int) -> None:
    one, two = world.members(2, "contact")
    both = one + two
    pieces = [both[:cut], both[cut:]]
    refs = [("contact", piece, b"", world.refs[one, "contact"][3]) for piece in pieces]
    before = len(world.entries())
    with pytest.raises(UnsupportedOperation):
        world.gate.disclose(world.open("care"), "Member", ["contact"], refs)
    with pytest.raises(UnsupportedOperation):
        world.seal(world.open("care"), [ref[:3] for ref in refs])
    with pytest.raises(UnsupportedOperation):
        world.gate.found(world.open("lookup"), "any", 2, pieces)
    assert len(world.entries()) == before


def test_a_reference_with_anything_changed_opens_nothing(world: World) -> None:
    one, other = world.members(2, "contact", "identity")
    scoped = world.message(one)
    category, _, _, key_id = world.refs[one, "contact"]
    wrong = [
        ("identity", one, b"", key_id),
        (category, other, b"", key_id),
        (category, one, os.urandom(16), key_id),
        (category, one, scoped[2], scoped[3]),
        (category, one, b"", scoped[3]),
        (category, one, b"", -key_id),
        (category, one, b"", 0),
    ]
    for ref in wrong:
        assert not world.gate.disclose(world.open("register"), "Member", [ref[0]], [ref]).keys


def test_the_admission_of_one_conversation_opens_no_other(world: World) -> None:
    sender = os.urandom(16)
    ours, theirs, unscoped = world.message(sender), world.message(sender), world.message(sender, b"")
    claims = world.open("chats").claims
    for beyond in ([theirs], [unscoped], [ours, theirs], [theirs[:2] + ours[2:3] + theirs[3:], unscoped]):
        admission = world.ledger.admit(claims, "Message", ["conversation"], [sender], [ours[1:3]])
        assert (admission.code, admission.refused) == (None, {})
        handout = world.ledger.hand_out(claims, admission.entry, beyond)
        assert (list(handout.wraps), handout.refused) == ([], {sender: "not.admitted"})
        told = world.last()
        assert told.content["kind"] == "withhold"
        assert told.content["id"].startswith(admission.entry)
        assert told.content["outcome"] == "refused:not.admitted"
        assert told.outcomes() == {sender: "not.admitted"}
    (wrap,) = world.ledger.hand_out(claims, admission.entry, [ours]).wraps
    assert wrap.ref == ours
    assert world.keys.verbs() == []


def test_an_admission_without_scopes_opens_no_conversation(world: World) -> None:
    sender = os.urandom(16)
    scoped, unscoped = world.message(sender), world.message(sender, b"")
    claims = world.open("chats").claims
    entry = world.ledger.admit(claims, "Message", ["conversation"], [sender]).entry
    handout = world.ledger.hand_out(claims, entry, [scoped])
    assert (list(handout.wraps), handout.refused) == ([], {sender: "not.admitted"})
    assert [wrap.ref for wrap in world.ledger.hand_out(claims, entry, [unscoped]).wraps] == [unscoped]


def test_a_sender_admitted_in_one_conversation_lends_it_to_no_other_sender(world: World) -> None:
    one, other, scope = os.urandom(16), os.urandom(16), os.urandom(16)
    mine, shared, theirs = world.message(one), world.message(one, scope), world.message(other, scope)
    claims = world.open("chats").claims
    pairs = [mine[1:3], theirs[1:3]]
    entry = world.ledger.admit(claims, "Message", ["conversation"], [one, other], pairs).entry
    handout = world.ledger.hand_out(claims, entry, [shared, theirs])
    assert [wrap.ref for wrap in handout.wraps] == [theirs]
    assert handout.refused == {one: "not.admitted"}


def test_a_scope_of_another_length_reaches_nobody(world: World) -> None:
    sender = os.urandom(16)
    ref = world.message(sender)
    before = len(world.entries())
    for scope in (b"x", ref[2][:15], ref[2] + b"x", ref[2] * 2):
        with pytest.raises(UnsupportedOperation):
            wrong = ("conversation", sender, scope, ref[3])
            world.gate.disclose(world.open("chats"), "Message", ["conversation"], [ref, wrong])
    assert len(world.entries()) == before


def test_open_keys_of_one_grant_are_not_anothers(world: World) -> None:
    member = world.member("contact")
    world.disclose(world.open("care"), [member], "contact")
    world.keys.verbs()
    world.disclose(world.open("care"), [member], "contact")
    assert world.keys.verbs() == [("unwrap", "contact", 1)]


def test_a_category_that_is_only_written_is_not_read_from_the_keys_just_made(world: World) -> None:
    subject, opened = os.urandom(16), world.open("import")
    (ref,) = world.seal(opened, [("contact", subject, b"")]).minted
    with pytest.raises(NotDisclosed):
        world.gate.disclose(opened, "Member", ["contact"], [ref])


# ------------------------------------------------------------------------------------------ keys that are still open


@pytest.mark.parametrize("end", ["revoked", "expired", "changed"])
def test_keys_of_a_grant_that_is_over_are_forgotten_when_it_is_next_used(world: World, end: str) -> None:
    member = world.member("contact")
    opened = world.open("care", jti="mine")
    if end == "expired":
        opened = world.open("care", issued=world.clock() - timedelta(minutes=15) + timedelta(seconds=2))
    world.disclose(opened, [member], "contact")
    assert len(opened.cache) == 1
    if end == "revoked":
        world.revocations.revoke(jti="mine")
    elif end == "changed":
        del world.policy.purposes["care"]
        world.ledger.publish(world.policy)
    else:
        threading.Event().wait(2.1)
    world.keys.verbs()
    with pytest.raises(TokenError):
        world.disclose(opened, [member], "contact")
    assert len(opened.cache) == 0
    assert world.keys.verbs() == []


def test_keys_that_arrive_after_the_grant_was_closed_are_not_kept(sqlite: World) -> None:
    class Closing(CountingKeys):
        def unwrap(self, category: str, items: Sequence[tuple[bytes, str]], *, reference: str) -> list[bytes | None]:
            opened.close()
            return super().unwrap(category, items, reference=reference)

    member = sqlite.member("contact")
    keys = Closing()
    keys._secret = sqlite.keys._secret
    opened = sqlite.gate.open(sqlite.grant("care"), keys.login)
    sqlite.disclose(opened, [member], "contact")
    assert len(opened.cache) == 0
    with pytest.raises(KeyServiceRefused, match="closed"):
        sqlite.disclose(opened, [member], "contact")


def test_threads_of_one_grant_share_one_login_and_make_an_ended_one_anew_once(sqlite: World) -> None:
    class Ending(CountingKeys):
        def hmac(self, index: str, values: Sequence[bytes], *, version: int) -> list[bytes]:
            meeting.wait()
            if self.logins == 1:
                meeting.wait()
                raise LoginEnded("over")
            return super().hmac(index, values, version=version)

    meeting = threading.Barrier(8)
    keys = Ending()
    services: list[Ending] = []

    def login() -> Ending:
        service = Ending()
        service.logins = len(services) + 1
        services.append(service)
        return service

    opened = sqlite.gate.open(sqlite.grant("import"), login)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: opened.ask(lambda s: s.hmac("members.phone", [b"1"], version=1)), range(8)))
    assert len(answers) == 8
    assert len(services) == 2
    assert keys.requests == []


# -------------------------------------------------------------------------------------------- consent and approvals


def test_a_consent_dated_ahead_does_not_hold_yet(world: World) -> None:
    member = world.member("card", by="register")
    now = world.clock()
    world.consents.take_over("matchmaking", {member: now + timedelta(days=1)}, notice_version="1")
    (error,) = world.disclose(world.open("cards"), [member], "card").refused.values()
    assert isinstance(error, ConsentMissing)
    with pytest.raises(UnsupportedOperation):
        world.consents.take_over("matchmaking", {member: datetime.now()}, notice_version="1")


def test_of_consents_given_taken_back_and_given_again_the_last_word_counts(world: World) -> None:
    member = world.member("card", by="register")

    def may() -> bool:
        return bool(world.disclose(world.open("cards"), [member], "card").keys)

    for version in "12":
        world.consents.grant(member, "matchmaking", notice_version=version)
    assert may()
    assert world.consents.withdraw(member, "matchmaking") == 2
    assert not may()
    world.consents.take_over("matchmaking", {member: world.clock()}, notice_version="0")
    assert not may()
    world.consents.grant(member, "matchmaking", notice_version="3")
    assert may()
    world.consents.withdraw(member, "matchmaking")
    assert not may()


def test_consent_to_one_thing_is_no_consent_to_another(world: World) -> None:
    member = world.member("card", by="register")
    for kind in ("Matchmaking", "matchmaking ", "match%", "telephony"):
        world.consents.grant(member, kind, notice_version="1")
    assert not world.disclose(world.open("cards"), [member], "card").keys


def test_one_person_in_two_roles_approves_once(world: World) -> None:
    member = world.member("contact")
    case = world.cases.open("fraud", assigned_to="sam", subjects=[member])
    probe = world.grant("probe", "sam", "safety", subjects=[member], case=case)
    request = world.approvals.request_access(probe, "probe", case=case, subjects=[member])
    for role in ("lead", "safety", "lead"):
        world.approvals.approve(request, world.grant("lead", "lea", role))
    with pytest.raises(ApprovalMissing):
        world.gate.search(world.gate.open(probe, world.keys.login), "Member", "phone", [b"1"])
    world.approvals.approve(request, world.grant("lead", "lou", "lead"))
    assert world.gate.search(world.gate.open(probe, world.keys.login), "Member", "phone", [b"1"]).digests


def test_a_case_of_somebody_else_or_about_somebody_else_opens_nothing(world: World) -> None:
    one, other = world.members(2, "contact")
    mine = world.cases.open("complaint", assigned_to="ann", subjects=[one])
    theirs = world.cases.open("complaint", assigned_to="bob", subjects=[other])
    assert not world.disclose(world.open("complaint", case=mine), [other], "contact").keys
    for case in (theirs, mine.upper() + " ", "%", ""):
        with pytest.raises(ApprovalMissing):
            world.disclose(world.open("complaint", case=case), [one, other], "contact")


# ------------------------------------------------------------------------------------------------------ revocation


def test_an_issuer_whose_clock_is_ahead_issues_no_token_that_outlives_its_revocation(world: World) -> None:
    member = world.member("contact")
    ahead = world.open("care", "bob", issued=world.clock() + timedelta(seconds=4))
    world.revocations.revoke(actor="bob")
    with pytest.raises(TokenRevoked):
        world.disclose(ahead, [member], "contact")


@pytest.mark.integration
@pytest.mark.parametrize("level", ["REPEATABLE READ", "AUTOCOMMIT"])
def test_an_erasure_sees_the_key_that_it_waited_for_whatever_the_engine_says(
    pg: World, level: Literal["REPEATABLE READ", "AUTOCOMMIT"]
) -> None:
    erasing = Subjects(PostgresLedger(pg.gate_engine.execution_options(isolation_level=level)))
    subject, opened = os.urandom(16), pg.open("import")
    with ThreadPoolExecutor(1) as pool, pg.members_engine.connect() as connection:
        pg.gate.seal(opened, "Member", ["contact"], [("contact", subject, b"")], {}, connection)
        erased = pool.submit(erasing.erase, subject, reason="asked")
        with pytest.raises(TimeoutError):
            erased.result(0.3)
        connection.commit()
        assert erased.result(10).keys == 1
    assert pg.rows("vs_keyring") == 0


@pytest.mark.integration
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_admissions_are_committed_and_charged_whatever_the_engine_says(
    pg: World, level: Literal["READ COMMITTED", "REPEATABLE READ"]
) -> None:
    pg.ledger = PostgresLedger(pg.gate_engine.execution_options(isolation_level=level))
    pg.__post_init__()
    pg.gate.search(pg.open("lookup"), "Member", "phone", [b"1"] * 4)
    assert pg.last().content["counts"] == {"needles": 4}
    with pytest.raises(BudgetExhausted):
        pg.gate.search(pg.open("lookup"), "Member", "phone", [b"1"])


# ------------------------------------------------------------------------------------------------------ what leaks


def test_a_database_that_fails_is_an_error_without_its_parameters(world: World) -> None:
    attribute = os.urandom(8).hex()
    member, opened = world.member("contact"), world.open("care", attributes={"store": attribute})
    with world.gate_engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE vs_entries"))
    with pytest.raises(AuditError) as caught:
        world.disclose(opened, [member], "contact")
    assert attribute.encode() not in carried(caught.value)
    assert member.hex().encode() not in carried(caught.value)
    assert world.keys.verbs() == []


def test_no_refusal_carries_a_wrap_a_key_or_a_needle(world: World) -> None:
    member, needle = world.member("contact"), os.urandom(8).hex().encode()
    world.keys.failure = KeyServiceUnavailable("the key service could not take it")
    tries: list[Callable[[], object]] = [
        lambda: world.disclose(world.open("care"), [member], "contact"),
        lambda: world.gate.search(world.open("lookup"), "Member", "phone", [needle]),
        lambda: world.seal(world.open("import"), [("contact", member, b"")], values={"members.phone": [needle]}),
        lambda: world.gate.search(world.open("care"), "Member", "phone", [needle]),
    ]
    with world.members_engine.connect() as connection:
        wrapped = connection.execute(sa.text("SELECT wrapped FROM vs_keyring")).scalar_one()
    for attempt in tries:
        with pytest.raises(VaultstoreError) as caught:
            attempt()
        told = carried(caught.value)
        assert needle not in told
        assert wrapped.encode() not in told

"""What an open case holds of an erased subject: for that case, for exactly those scopes, until it closes."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.audit import parse_lines
from vaultstore.errors import AccessDenied, ApprovalMissing, SubjectErased, UnsupportedOperation
from vaultstore.gate import KeyRef
from vaultstore.gate.claims import Claims
from vaultstore.records import entries, subject_lines


@dataclass
class Held:
    """A subject who was erased while ann's case held one conversation of theirs."""

    world: World
    subject: bytes
    case: str
    held: KeyRef
    other: KeyRef
    """The key of another conversation, which was destroyed."""

    def ask(self, refs: list[KeyRef], purpose: str = "inquiry", case: str | None = "", actor: str = "ann") -> object:
        """The first key, or the refusal of the subject."""
        opened = self.world.open(purpose, actor, case=self.case if case == "" else case)
        answer = self.world.gate.disclose(opened, "Message", ["conversation"], refs)
        opened.close()
        return answer.refused.get(self.subject) or next(iter(answer.keys.values()), None)


@pytest.fixture
def held(world: World) -> Held:
    subject, scope = os.urandom(16), os.urandom(16)
    kept, other = world.message(subject, scope), world.message(subject)
    case = world.cases.open(
        "inquiry", assigned_to="ann", subjects=[subject], scopes={subject: [uuid.UUID(bytes=scope)]}
    )
    assert not isinstance(Held(world, subject, case, kept, other).ask([kept, other]), AccessDenied)
    erased = world.subjects.erase(subject, reason="asked")
    assert [(h["case"], h["scope"], h["keys"]) for h in erased.held] == [(case, str(uuid.UUID(bytes=scope)), 1)]
    assert erased.keys == 1
    return Held(world, subject, case, kept, other)


def test_the_case_still_reads_what_it_holds_and_the_log_says_so(held: Held) -> None:
    assert not isinstance(held.ask([held.held]), AccessDenied)
    assert held.world.last().outcomes() == {held.subject: "disclosed"}
    assert held.world.rows("vs_keyring") == 1


OTHERS: dict[str, tuple[Callable[[Held], object], type[Exception]]] = {
    "another conversation": (lambda h: h.ask([h.other]), SubjectErased),
    "it and another conversation": (lambda h: h.ask([h.held, h.other]), SubjectErased),
    "a key without a scope": (lambda h: h.ask([("conversation", h.subject, b"", 1)]), SubjectErased),
    "it and a key without a scope": (lambda h: h.ask([h.held, ("conversation", h.subject, b"", 1)]), SubjectErased),
    "a purpose without a case": (lambda h: h.ask([h.held], "chats"), SubjectErased),
    "a token without the case": (lambda h: h.ask([h.held], case=None), ApprovalMissing),
    "another actor": (lambda h: h.ask([h.held], actor="bob"), ApprovalMissing),
}


@pytest.mark.parametrize("name", OTHERS)
def test_nobody_else_and_nothing_else(held: Held, name: str) -> None:
    attempt, refusal = OTHERS[name]
    try:
        answer = attempt(held)
    except AccessDenied as refused:
        answer = refused
    assert isinstance(answer, refusal)


def test_a_case_of_the_same_actor_that_did_not_name_the_scope_gets_nothing(held: Held) -> None:
    other = held.world.cases.open("inquiry", assigned_to="ann", subjects=[held.subject])
    assert isinstance(held.ask([held.held], case=other), SubjectErased)


def test_a_case_that_names_the_scope_after_the_erasure_gets_nothing(held: Held) -> None:
    late = held.world.cases.open(
        "inquiry", assigned_to="ann", subjects=[held.subject], scopes={held.subject: [uuid.UUID(bytes=held.held[2])]}
    )
    assert isinstance(held.ask([held.held], case=late), SubjectErased)
    held.world.subjects.erase(held.subject, reason="again")
    assert isinstance(held.ask([held.held], case=late), SubjectErased)
    held.world.cases.close(late)
    assert not isinstance(held.ask([held.held]), AccessDenied)


def test_nobody_writes_about_them_in_the_held_conversation_either(held: Held) -> None:
    opened = held.world.open("inquiry", case=held.case)
    with pytest.raises(SubjectErased):
        held.world.seal(opened, [held.held[:3]], model="Message", sources=["conversation"])
    opened.close()


def test_a_hand_out_gives_the_admitted_scope_and_none_that_was_not_asked_for(held: Held) -> None:
    world, claims = held.world, Claims.of(held.world.grant("inquiry", case=held.case))
    entry = world.ledger.admit(
        claims, "Message", ["conversation"], [held.subject], [(held.subject, held.held[2])]
    ).entry
    for ref in (held.other, ("conversation", held.subject, b"", 1), ("contact", held.subject, held.held[2], 1)):
        assert not world.ledger.hand_out(claims, entry, [ref]).wraps
    assert [wrap.ref for wrap in world.ledger.hand_out(claims, entry, [held.held]).wraps] == [held.held]
    other = Claims.of(world.grant("inquiry", case=held.case))
    assert not world.ledger.hand_out(other, entry, [held.held]).wraps
    world.cases.close(held.case)
    assert not world.ledger.hand_out(claims, entry, [held.held]).wraps


def test_the_closing_of_the_case_lets_go_of_everything(held: Held) -> None:
    world = held.world
    held.ask([held.held])
    entry = world.last().content["id"]
    assert world.cases.close(held.case) == [uuid.UUID(bytes=held.subject)]
    assert world.rows("vs_keyring") == 0
    assert world.rows("vs_held") == 0
    assert world.last().content["kind"] == "erase"
    assert world.last().content["outcome"] == "released"
    with pytest.raises(ApprovalMissing):
        held.ask([held.held])
    with world.gate_engine.connect() as connection:
        stored = entries.by_id(connection, [entry])[entry]
        assert subject_lines.waiting_of(connection, held.subject) == []
    assert [line.line for line in parse_lines(stored.lines, stored.outcomes)] == [None]
    assert stored.scopes == b""
    again = world.subjects.erase(held.subject, reason="again")
    assert [body["act"] for body in again.bodies] == ["erased", "released"]
    assert (again.keys, again.held, again.new) == (2, [], False)


def test_what_two_cases_hold_stays_until_the_second_closes(world: World) -> None:
    subject, scope = os.urandom(16), os.urandom(16)
    ref = world.message(subject, scope)
    kept = {subject: [uuid.UUID(bytes=scope)]}
    one, two = (world.cases.open("inquiry", assigned_to=who, subjects=[subject], scopes=kept) for who in ("ann", "bob"))
    world.subjects.erase(subject, reason="asked")
    held = Held(world, subject, one, ref, ref)
    world.cases.close(one)
    assert world.rows("vs_keyring") == 1
    assert not isinstance(held.ask([ref], case=two, actor="bob"), AccessDenied)
    with pytest.raises(ApprovalMissing):
        held.ask([ref])
    world.cases.close(two)
    assert world.rows("vs_keyring") == 0


def test_a_case_that_was_closed_past_us_holds_nothing(held: Held) -> None:
    with held.world.gate_engine.begin() as connection:
        connection.execute(sa.text("UPDATE vs_cases SET closed_at = opened_at"))
    with pytest.raises(ApprovalMissing):
        held.ask([held.held])
    assert held.world.subjects.erase(held.subject, reason="again").new
    assert held.world.rows("vs_keyring") == 0


def test_a_case_keeps_scopes_of_registered_subjects_that_it_names(world: World) -> None:
    member, stranger = world.member("contact"), os.urandom(16)
    for subjects in ([member], [member, stranger]):
        with pytest.raises(UnsupportedOperation):
            world.cases.open("inquiry", assigned_to="ann", subjects=subjects, scopes={stranger: [uuid.uuid4()]})
    assert world.rows("vs_cases") == 0
    scope = uuid.uuid4()
    case = world.cases.open("inquiry", assigned_to="ann", subjects=[member], scopes={member: [scope, scope]})
    found = world.cases.get(case)
    assert found is not None
    assert found.scopes == {member: [scope.bytes]}

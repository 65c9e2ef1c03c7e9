"""Which scopes an admission names: kept beside its entry, and what the hand-out goes by."""

from __future__ import annotations

import os
import random

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.gate.world import World
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.scopes import pack_pairs, pairs_of, unpack_pairs

IDS = [bytes(16), bytes(15) + b"\x01", b"\x01" + bytes(15), b"\x00\x01" + bytes(14), b"\xff" * 16]
PAIRS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from([b"", *IDS])), unique=True)


@given(PAIRS)
def test_pairs_come_back_as_they_were_packed(pairs: list[tuple[bytes, bytes]]) -> None:
    packed = pack_pairs(pairs)
    assert len(packed) == 33 * len(pairs)
    assert unpack_pairs(packed) == set(pairs)


@given(PAIRS)
def test_pairs_are_named_where_any_key_has_a_scope(pairs: list[tuple[bytes, bytes]]) -> None:
    refs: list[KeyRef] = [(category, *pair, 1) for category in ("card", "conversation") for pair in pairs]
    assert list(pairs_of(refs)) == (pairs if any(scope for _, scope in pairs) else [])


def test_a_request_without_scopes_keeps_none(world: World) -> None:
    member = world.member("contact")
    assert world.disclose(world.open("care"), [member], "contact").keys
    assert world.last().scopes is None


def test_the_entry_keeps_the_pairs_that_were_admitted_in_the_order_asked(world: World) -> None:
    one, restricted = os.urandom(16), os.urandom(16)
    refs = [world.message(one), world.message(restricted), world.message(one, b""), world.message(one)]
    world.subjects.restrict(restricted, reason="silent")
    answer = world.gate.disclose(world.open("chats"), "Message", ["conversation"], [*refs, refs[0]])
    assert set(answer.keys) == {refs[0], refs[2], refs[3]}
    assert world.last().scopes == pack_pairs(ref[1:3] for ref in refs if ref[1] == one)


def test_an_entry_that_admits_nobody_keeps_no_pair(world: World) -> None:
    gone = os.urandom(16)
    ref = world.message(gone)
    world.subjects.erase(gone, reason="asked")
    claims = world.open("chats").claims
    admission = world.ledger.admit(claims, "Message", ["conversation"], [gone], [ref[1:3]])
    assert admission.refused == {gone: "subject.erased"}
    assert world.last().scopes == b""
    assert not world.ledger.hand_out(claims, admission.entry, [ref]).wraps


def test_warm_keys_are_admitted_by_scope_too(world: World) -> None:
    sender, opened = os.urandom(16), world.open("chats")
    first, second = world.message(sender), world.message(sender)
    for ref in (first, second, first):
        assert set(world.gate.disclose(opened, "Message", ["conversation"], [ref]).keys) == {ref}
        assert world.last().scopes == pack_pairs([ref[1:3]])
    assert world.keys.verbs() == [("unwrap", "conversation", 1)] * 2


def test_the_nil_uuid_is_a_scope_and_not_the_lack_of_one(world: World) -> None:
    sender, claims = os.urandom(16), world.open("chats").claims
    nil, unscoped = world.message(sender, bytes(16)), world.message(sender, b"")
    for asked, other in ((nil, unscoped), (unscoped, nil)):
        further = (sender, os.urandom(16))  # so that pairs are kept in both cases
        pairs = [asked[1:3], further]
        entry = world.ledger.admit(claims, "Message", ["conversation"], [sender], pairs).entry
        assert [wrap.ref for wrap in world.ledger.hand_out(claims, entry, [asked]).wraps] == [asked]
        assert not world.ledger.hand_out(claims, entry, [other]).wraps


def test_exactly_what_was_named_is_handed_out(world: World) -> None:
    senders = [os.urandom(16) for _ in range(3)]
    refs = [world.message(sender, scope) for sender in senders for scope in (b"", *IDS[:2])]
    claims = world.open("chats").claims
    for seed in range(12):
        chosen = random.Random(seed)
        admitted, asked = chosen.sample(refs, 4), chosen.sample(refs, chosen.randint(1, 3))
        subjects = list(dict.fromkeys(ref[1] for ref in admitted))
        entry = world.ledger.admit(claims, "Message", ["conversation"], subjects, pairs_of(admitted)).entry
        handout = world.ledger.hand_out(claims, entry, asked)
        beyond = {ref[1] for ref in asked if ref not in admitted}
        assert {wrap.ref for wrap in handout.wraps} == {ref for ref in asked if ref[1] not in beyond}
        assert handout.refused == {s: "not.admitted" for s in beyond if s in subjects}


def test_an_entry_of_another_grant_or_another_kind_hands_out_nothing(world: World) -> None:
    member = world.member("contact")
    ref, opened = world.refs[member, "contact"], world.open("care")
    entry = world.disclose(opened, [member], "contact").entry or ""
    sealing = world.ledger.admit_seal(opened.claims, "Member", ["contact"], ["contact"], [], [member]).entry
    for claims, named in ((world.open("care").claims, entry), (opened.claims, sealing), (opened.claims, "none")):
        assert not world.ledger.hand_out(claims, named, [ref]).wraps
    assert world.ledger.hand_out(opened.claims, entry, [ref]).wraps

"""seal: who may write, which keys are used again, and when a new one exists."""

from __future__ import annotations

import os

import pytest

from tests.unit.gate.world import World
from vaultstore.errors import (
    ApprovalMissing,
    ConsentMissing,
    KeyServiceUnavailable,
    NotDisclosed,
    SubjectErased,
    SubjectRestricted,
    WriteDenied,
)
from vaultstore.gate import KeyNeed


def need(category: str = "contact", subject: bytes | None = None, scope: bytes = b"") -> KeyNeed:
    return (category, subject or os.urandom(16), scope)


def test_a_batch_costs_one_wrap_a_category_and_one_hmac_an_index(world: World) -> None:
    subjects = [os.urandom(16) for _ in range(20)]
    needs = [need(category, subject) for subject in subjects for category in ("identity", "card", "contact")]
    values = {"members.phone": [b"1", b"2", b"1"], "members.email": [b"3"]}
    sealed = world.seal(world.open("register"), needs, sources=["identity", "contact"], values=values)
    assert sorted(world.keys.verbs()) == [
        ("hmac", "members.email", 1),
        ("hmac", "members.phone", 3),
        ("wrap", "card", 20),
        ("wrap", "contact", 20),
        ("wrap", "identity", 20),
    ]
    assert set(sealed.keys) == set(needs)
    assert len(sealed.minted) == 60
    digests = sealed.digests["members.phone"]
    assert digests[0] == digests[2] != digests[1]
    assert world.rows("vs_keyring") == 60
    (entry,) = world.entries("seal")
    assert entry.content["outcome"] == "sealed"
    assert entry.content["categories"] == ["card", "contact", "identity"]
    assert entry.content["counts"] == {"subjects": 20, "sealed": 20, "digests": 4}
    assert [(line.subject, line.number) for line in entry.lines] == [(s, 1) for s in subjects]


def test_equal_needs_share_a_key(world: World) -> None:
    wanted = need()
    sealed = world.seal(world.open("register"), [wanted, wanted])
    assert len(sealed.minted) == 1


def test_key_ids_are_never_zero_and_keys_never_equal(world: World) -> None:
    sealed = world.seal(world.open("register"), [need() for _ in range(50)])
    assert all(0 < key_id < 2**32 for key_id, _ in sealed.keys.values())
    assert len({key.encrypt(bytes(12), b"", None) for _, key in sealed.keys.values()}) == 50


def test_a_new_subject_is_registered_before_its_first_key(world: World) -> None:
    wanted = need()
    assert world.subjects.state(wanted[1]) is None
    world.seal(world.open("register"), [wanted], commit=False)
    # The row's transaction is undone; a subject that has no row is harmless, one that could not be read back is not.
    assert world.subjects.state(wanted[1]) == "active"
    assert world.rows("vs_keyring") == 0


def test_a_new_key_opens_before_its_row_is_committed(world: World) -> None:
    opened, wanted = world.open("register"), need()
    with world.members_engine.connect() as connection:
        sealed = world.gate.seal(opened, "Member", ["contact"], [wanted], {}, connection)
        answer = world.gate.disclose(opened, "Member", ["contact"], sealed.minted)
        assert list(answer.keys.values()) == [sealed.keys[wanted][1]]
        connection.rollback()
    opened.rolled_back(sealed.minted)
    assert world.gate.disclose(opened, "Member", ["contact"], sealed.minted).keys == {}


def test_a_key_is_used_again_only_once_it_is_committed(world: World) -> None:
    opened, wanted = world.open("register"), need()
    with world.members_engine.connect() as connection:
        first = world.gate.seal(opened, "Member", ["contact"], [wanted], {}, connection)
        second = world.gate.seal(opened, "Member", ["contact"], [wanted], {}, connection)
        assert first.keys[wanted][0] != second.keys[wanted][0]
        connection.commit()
        opened.committed([*first.minted, *second.minted])
    third = world.seal(opened, [wanted])
    assert third.minted == []
    assert third.keys[wanted] == second.keys[wanted]


def test_a_rolled_back_key_is_forgotten(world: World) -> None:
    opened, wanted = world.open("register"), need()
    lost = world.seal(opened, [wanted], commit=False)
    kept = world.seal(opened, [wanted])
    assert lost.keys[wanted][0] != kept.keys[wanted][0]
    assert len(kept.minted) == 1


def test_a_key_that_this_purpose_minted_seals_again_once_this_grant_has_it_open(world: World) -> None:
    wanted = need()
    ref = world.seal(world.open("register"), [wanted]).minted[0]
    opened = world.open("register")
    assert world.seal(opened, [wanted]).minted  # never unwraps in order to write
    opened = world.open("register")
    world.gate.disclose(opened, "Member", ["contact"], [ref])
    again = world.seal(opened, [wanted])
    assert again.minted == []
    assert again.keys[wanted][0] == ref[3]


def test_another_purposes_key_is_not_sealed_under(world: World) -> None:
    wanted = need()
    ref = world.seal(world.open("import"), [wanted]).minted[0]
    opened = world.open("care")  # reads and writes contact
    assert world.gate.disclose(opened, "Member", ["contact"], [ref]).keys
    assert len(world.seal(opened, [wanted]).minted) == 1


def test_a_key_that_left_the_keyring_is_not_used_again(world: World) -> None:
    opened, wanted, other = world.open("register"), need(), need()
    first = world.seal(opened, [wanted, other])
    ref = next(ref for ref in first.minted if ref[:3] == wanted)
    with world.members_engine.begin() as connection:  # as compaction would
        connection.exec_driver_sql(f"DELETE FROM vs_keyring WHERE key_id = {ref[3]}")
    again = world.seal(opened, [wanted, other])
    assert [ref[:3] for ref in again.minted] == [wanted]
    assert again.keys[other] == first.keys[other]
    assert again.keys[wanted][0] != ref[3]


def test_minted_keys_are_recorded_with_their_purpose(world: World) -> None:
    world.seal(world.open("import"), [need()])
    with world.members_engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT minted_by FROM vs_keyring").scalars().all() == ["import"]


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "sources", "category", "index"),
    [
        ("cards", ["card"], "card", None),  # reads it, writes nothing
        ("care", ["identity"], "identity", None),
        ("care", ["contact"], "identity", None),  # a key of a category beside the one written
        ("care", ["contact"], "card", None),  # a projection of another source
        ("care", [], "contact", None),
        ("privacy", ["identity"], "identity", "members.phone"),  # an index of a field that is not written
        ("care", ["contact"], "contact", "messages.body"),
    ],
)
def test_what_is_not_granted_is_refused_before_any_key_is_made(
    world: World, name: str, sources: list[str], category: str, index: str | None
) -> None:
    wanted = need(category)
    with pytest.raises(WriteDenied) as caught:
        world.seal(world.open(name), [wanted], sources=sources, values={index: [b"x"]} if index else {})
    assert caught.value.reason == "not.granted"
    assert world.keys.verbs() == []
    assert world.last().content["outcome"] == "refused:not.granted"
    assert world.last().content["kind"] == "seal"
    assert world.subjects.state(wanted[1]) is None


def test_one_refused_subject_refuses_the_whole_write(world: World) -> None:
    fine, restricted, new = world.member("contact"), world.member("contact"), os.urandom(16)
    world.subjects.restrict(restricted, reason="silent")
    before = world.rows("vs_keyring")
    with pytest.raises(SubjectRestricted):
        world.seal(world.open("register"), [need(subject=s) for s in (fine, restricted, new)])
    assert world.rows("vs_keyring") == before
    assert world.subjects.state(new) is None
    entry = world.last()
    assert entry.content["outcome"] == "refused:subject.restricted"
    assert entry.content["counts"] == {"subjects": 3, "sealed": 0}
    assert entry.outcomes() == {restricted: "subject.restricted"}


def test_nobody_writes_about_an_erased_subject_ever_again(world: World) -> None:
    member = world.member("contact")
    assert world.subjects.erase(member, reason="asked").keys == 1
    with pytest.raises(SubjectErased):
        world.seal(world.open("register"), [need(subject=member)])
    assert world.last().outcomes() == {bytes(16): "subject.erased"}
    assert world.rows("vs_keyring") == 0


def test_seeing_restricted_subjects_is_not_writing_about_them(world: World) -> None:
    member = world.member("identity")
    world.subjects.restrict(member, reason="silent")
    with pytest.raises(SubjectRestricted):
        world.seal(world.open("privacy"), [need("identity", member)], sources=["identity"])


def test_a_writer_touches_only_the_subjects_its_token_names(world: World) -> None:
    mine, other = os.urandom(16), os.urandom(16)
    opened = world.open("self", subjects=[mine])
    assert world.seal(opened, [need("identity", mine)], sources=["identity"]).minted
    with pytest.raises(WriteDenied) as caught:
        world.seal(opened, [need("identity", other)], sources=["identity"])
    assert caught.value.reason == "subject.not_named"
    assert world.subjects.state(other) is None


def test_a_purpose_that_requires_consent_requires_it_for_writing_too(world: World) -> None:
    subject = os.urandom(16)
    with pytest.raises(ConsentMissing):
        world.seal(world.open("letters"), [need(subject=subject)])
    assert world.subjects.state(subject) is None
    world.consents.grant(subject, "matchmaking", notice_version="1")
    assert world.seal(world.open("letters"), [need(subject=subject)]).minted


def test_a_purpose_that_requires_a_case_requires_it_for_writing_too(world: World) -> None:
    subject = os.urandom(16)
    opened = world.open("probe", "sam", "safety", subjects=[subject])
    with pytest.raises(ApprovalMissing):
        world.seal(opened, [need("conversation", subject, bytes(16))], model="Message", sources=["conversation"])


def test_a_key_service_that_fails_leaves_no_key_row(world: World) -> None:
    opened, wanted = world.open("register"), need()
    world.keys.failure = KeyServiceUnavailable("sealed")
    with pytest.raises(KeyServiceUnavailable):
        world.seal(opened, [wanted])
    assert world.rows("vs_keyring") == 0
    world.keys.failure = None
    assert world.seal(opened, [wanted]).minted


def test_only_what_the_purpose_reads_is_read_back(world: World) -> None:
    wanted = need("contact")
    opened = world.open("import")
    ref = world.seal(opened, [wanted]).minted[0]
    with pytest.raises(NotDisclosed):  # writing is not reading, not even one's own
        world.gate.disclose(opened, "Member", ["contact"], [ref])

"""Rows that are nobody's: the gate opens them to purposes that list them, and to no other. On both ledgers."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa

from tests.unit.gate.world import World
from vaultstore.records import canaries
from vaultstore.records.canaries import Canary


def plant(world: World, subject: uuid.UUID | bytes) -> bytes:
    """Make a canary of a member."""
    key = subject.bytes if isinstance(subject, uuid.UUID) else subject
    with world.gate_engine.begin() as connection:
        canaries.add(connection, [Canary(key, "u-17", "sh-01", datetime(2021, 11, 2, tzinfo=UTC))])
    return key


def test_a_purpose_that_lists_canaries_reads_them_as_members(world: World) -> None:
    member = world.member("identity")
    plant(world, member)
    answer = world.disclose(world.open("decoys"), [member], "identity")
    assert answer.keys
    assert not answer.refused


def test_any_other_purpose_is_refused_the_canary_and_given_the_member_beside_it(world: World) -> None:
    nobody, member = world.members(2, "contact")
    key = plant(world, nobody)
    answer = world.disclose(world.open("care"), [nobody, member], "contact")
    assert {ref[1] for ref in answer.keys} == {member if isinstance(member, bytes) else member.bytes}
    assert answer.refused[key].reason == "subject.canary"
    assert "canary" not in str(answer.refused[key])
    assert world.last().content["outcome"] == "partial"


def test_keys_that_are_open_already_are_not_given_out_once_it_is_a_canary(world: World) -> None:
    member = world.member("contact")
    opened = world.open("care")
    assert world.disclose(opened, [member], "contact").keys
    plant(world, member)
    assert world.disclose(opened, [member], "contact").keys == {}


def test_a_restricted_canary_is_refused_as_restricted(world: World) -> None:
    member = world.member("contact")
    key = plant(world, member)
    world.subjects.restrict(member, reason="silent")
    assert world.disclose(world.open("care"), [member], "contact").refused[key].reason == "subject.restricted"


def test_a_canary_is_written_like_any_member(world: World) -> None:
    subject = uuid.uuid4().bytes
    plant(world, subject)
    assert world.seal(world.open("import"), [("contact", subject, b"")]).minted


def test_canaries_are_found_among_subjects(world: World) -> None:
    nobody, member = (one if isinstance(one, bytes) else one.bytes for one in world.members(2, "contact"))
    plant(world, nobody)
    with world.gate_engine.connect() as connection:
        assert [one.subject for one in canaries.find(connection, [member, nobody])] == [nobody]
        assert canaries.is_canary(connection, nobody)
        assert not canaries.is_canary(connection, member)
        row = connection.execute(sa.select(canaries.vs_canaries.c.actor)).scalar_one()
        assert row == "u-17"

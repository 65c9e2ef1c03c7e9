"""search: needles are charged and audited before their digests are made, and hits after."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

import pytest

from tests.unit.gate.world import World
from vaultstore.errors import (
    ApprovalMissing,
    BudgetExhausted,
    KeyServiceUnavailable,
    SearchDenied,
    TokenRevoked,
    UnsupportedOperation,
)


def test_a_search_gives_the_digests_that_were_stored(world: World) -> None:
    stored = world.seal(
        world.open("register"), [("contact", os.urandom(16), b"")], values={"members.phone": [b"138", b"139"]}
    ).digests["members.phone"]
    found = world.gate.search(world.open("lookup"), "Member", "phone", [b"139", b"138"])
    assert list(found.digests) == list(reversed(stored))
    entry = world.last()
    assert found.entry == entry.content["id"]
    assert (entry.content["kind"], entry.content["outcome"], entry.content["field"]) == ("search", "searched", "phone")
    assert entry.content["counts"] == {"needles": 2}
    assert entry.lines == []


def test_needles_are_committed_before_their_digests_are_made(world: World) -> None:
    seen: list[int] = []
    real = world.keys.hmac

    def hmac(index: str, values: Sequence[bytes], *, version: int) -> list[bytes]:
        seen.append(len(world.entries("search")))
        return real(index, values, version=version)

    world.keys.hmac = hmac  # type: ignore[method-assign]
    world.gate.search(world.open("lookup"), "Member", "phone", [b"1"])
    assert seen == [1]


def test_a_key_service_that_fails_has_charged_all_the_same(world: World) -> None:
    world.keys.failure = KeyServiceUnavailable("slow")
    with pytest.raises(KeyServiceUnavailable):
        world.gate.search(world.open("lookup"), "Member", "phone", [b"1"])
    assert world.used("lookup", "search") == [1]


@pytest.mark.parametrize(("name", "field"), [("lookup", "email"), ("care", "phone"), ("register", "phone")])
def test_a_field_that_is_not_listed_is_not_searched(world: World, name: str, field: str) -> None:
    with pytest.raises(SearchDenied) as caught:
        world.gate.search(world.open(name), "Member", field, [b"1"])
    assert caught.value.reason == "not.granted"
    assert world.keys.verbs() == []
    assert world.last().content["outcome"] == "refused:not.granted"


def test_a_field_without_an_index_is_not_searchable_at_all(world: World) -> None:
    with pytest.raises(UnsupportedOperation, match=r"Member\.name has no blind index"):
        world.gate.search(world.open("lookup"), "Member", "name", [b"1"])
    assert world.entries() == []


def test_a_search_without_needles_costs_none(world: World) -> None:
    found = world.gate.search(world.open("lookup"), "Member", "phone", [])
    assert list(found.digests) == []
    assert world.used("lookup", "search") == []
    assert world.last().content["counts"] == {"needles": 0}
    assert world.keys.verbs() == []


def test_a_search_needs_the_case_that_its_purpose_requires(world: World) -> None:
    with pytest.raises(ApprovalMissing):
        world.gate.search(world.open("probe", "sam", "safety", subjects=[bytes(16)]), "Member", "phone", [b"1"])


def test_hits_are_audited_under_the_searchs_id(world: World) -> None:
    members = world.members(3, "contact")
    world.subjects.erase(members[2], reason="asked")
    stranger = os.urandom(16)
    opened = world.open("lookup")
    searched = world.gate.search(opened, "Member", "phone", [b"1"])
    world.gate.found(opened, searched.entry, 5, [*members, stranger])
    entry = world.last()
    assert entry.content["kind"] == entry.content["outcome"] == "found"
    assert entry.content["id"].startswith(f"{searched.entry}.")
    assert (entry.content["model"], entry.content["field"]) == ("Member", "phone")
    assert entry.content["counts"] == {"rows": 5, "subjects": 4}
    assert [(line.subject, line.number) for line in entry.lines] == [
        (members[0], 2),
        (members[1], 2),
        (bytes(16), 0),
        (stranger, 0),
    ]
    world.gate.found(opened, searched.entry, 0, [])  # a result that is fetched in pieces
    assert world.last().content["counts"] == {"rows": 0, "subjects": 0}


def test_hits_of_another_grants_search_are_refused(world: World) -> None:
    searched = world.gate.search(world.open("lookup"), "Member", "phone", [b"1"])
    for entry in (searched.entry, str(uuid.uuid4())):
        with pytest.raises(SearchDenied):
            world.gate.found(world.open("lookup"), entry, 1, [])
        assert world.last().content["outcome"] == "refused:not.granted"


def test_hits_under_a_revoked_grant_are_refused(world: World) -> None:
    opened = world.open("lookup", jti="stolen")
    searched = world.gate.search(opened, "Member", "phone", [b"1"])
    world.revocations.revoke(jti="stolen")
    with pytest.raises(TokenRevoked):
        world.gate.found(opened, searched.entry, 1, [])


def test_a_uniqueness_violation_is_charged_and_audited_as_a_search(world: World) -> None:
    opened = world.open("signup")
    world.gate.collision(opened, "Member", "phone")
    entry = world.last()
    assert (entry.content["kind"], entry.content["outcome"], entry.content["field"]) == ("search", "collision", "phone")
    assert entry.content["counts"] == {"needles": 1}
    with pytest.raises(BudgetExhausted):
        world.gate.collision(opened, "Member", "phone")
    assert world.used("signup", "search") == [1]


@pytest.mark.parametrize(("name", "field"), [("signup", "name"), ("lookup", "phone"), ("signup", "nothing")])
def test_only_a_writer_of_the_field_meets_a_taken_value(world: World, name: str, field: str) -> None:
    with pytest.raises(SearchDenied):
        world.gate.collision(world.open(name), "Member", field)
    assert world.last().content["outcome"] == "refused:not.granted"

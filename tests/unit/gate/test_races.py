"""What happens between two steps of a verb: somebody else erases, restricts, withdraws or revokes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.unit.gate.world import World
from vaultstore.errors import (
    AccessDenied,
    ConsentMissing,
    SubjectErased,
    SubjectRestricted,
    TokenInvalid,
    TokenRevoked,
    VaultstoreError,
)
from vaultstore.gate import Gate
from vaultstore.lifecycle.erasure import Erased

Change = Callable[[World, bytes], object]

CHANGES: dict[str, tuple[Change, type[VaultstoreError], str]] = {
    "erasure": (lambda w, s: w.subjects.erase(s, reason="asked"), SubjectErased, "subject.erased"),
    "restriction": (lambda w, s: w.subjects.restrict(s, reason="silent"), SubjectRestricted, "subject.restricted"),
    "withdrawal": (lambda w, s: w.consents.withdraw(s, "matchmaking"), ConsentMissing, "consent.missing"),
}


def during(world: World, step: str, act: Callable[[], object]) -> Gate:
    """A gate during whose `step`, once, another thread with connections of its own does `act`."""
    done: list[str] = []

    def on_step(name: str) -> None:
        if name == step and not done:
            done.append(name)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(act).result(timeout=30)

    return world.stepping(on_step)


def revoke(world: World) -> Callable[[], object]:
    return lambda: world.revocations.revoke(actor="ann")


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_after_the_admission_withholds_that_subject(world: World, change: str) -> None:
    act, error, code = CHANGES[change]
    hit, other = world.members(2, "card")
    for subject in (hit, other):
        world.consents.grant(subject, "matchmaking", notice_version="1")
    gate = during(world, "admitted", lambda: act(world, hit))
    answer = world.disclose(world.open("cards"), [hit, other], "card", gate=gate)
    assert [ref[1] for ref in answer.keys] == [other]
    assert {s: type(e) for s, e in answer.refused.items()} == {hit: error}
    admitted, withheld = [e for e in world.entries() if e.content["kind"] not in ("erase", "restrict")][-2:]
    assert admitted.content["outcome"] == "disclosed"
    assert withheld.content["kind"] == "withhold"
    assert withheld.content["id"].startswith(f"{answer.entry}.")
    assert withheld.content["outcome"] == f"refused:{code}"
    assert withheld.outcomes() == {bytes(16) if change == "erasure" else hit: code}
    assert world.keys.verbs() == [("unwrap", "card", 1)]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", ["wraps", "unwrapped"])
def test_what_changes_after_the_hand_out_holds_from_the_next_request_on(world: World, step: str, change: str) -> None:
    act, error, _ = CHANGES[change]
    member, opened = world.member("card"), world.open("cards")
    world.consents.grant(member, "matchmaking", notice_version="1")
    answer = world.disclose(opened, [member], "card", gate=during(world, step, lambda: act(world, member)))
    assert len(answer.keys) == 1  # read before the change, and audited as such
    answer = world.disclose(opened, [member], "card")  # its key is still warm
    assert answer.keys == {}
    assert {type(e) for e in answer.refused.values()} == {error}


def test_an_erased_subjects_warm_keys_are_forgotten(world: World) -> None:
    one, other = world.members(2, "contact")
    opened = world.open("care")
    world.disclose(opened, [one, other], "contact")
    world.subjects.erase(one, reason="asked")
    world.disclose(opened, [one, other], "contact")
    assert len(opened.cache) == 1


def test_a_token_revoked_after_the_admission_gets_nothing(world: World) -> None:
    member = world.member("contact")
    gate = during(world, "admitted", revoke(world))
    with pytest.raises(TokenRevoked):
        world.disclose(world.open("care"), [member], "contact", gate=gate)
    assert world.keys.verbs() == []
    assert (world.last().content["kind"], world.last().content["outcome"]) == ("withhold", "refused:token.revoked")


def test_a_purpose_changed_after_the_admission_gives_nothing(world: World) -> None:
    member = world.member("contact")

    def change() -> None:
        del world.policy.purposes["care"]
        world.ledger.publish(world.policy)

    with pytest.raises(TokenInvalid):
        world.disclose(world.open("care"), [member], "contact", gate=during(world, "admitted", change))
    assert world.last().content["outcome"] == "refused:policy.changed"


@pytest.mark.parametrize("step", ["wraps", "unwrapped"])
def test_a_token_revoked_after_the_hand_out_gets_nothing_more(world: World, step: str) -> None:
    member, opened = world.member("contact"), world.open("care")
    assert world.disclose(opened, [member], "contact", gate=during(world, step, revoke(world))).keys
    with pytest.raises(TokenRevoked):
        world.disclose(opened, [member], "contact")


# -------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", ["checked", "wrapped"])
def test_what_changes_before_a_key_is_minted_refuses_the_write(world: World, step: str, change: str) -> None:
    act, error, code = CHANGES[change]
    subject = os.urandom(16)
    world.consents.grant(subject, "matchmaking", notice_version="1")
    gate = during(world, step, lambda: act(world, subject))
    with pytest.raises(error):
        world.seal(world.open("letters"), [("contact", subject, b"")], gate=gate)
    assert world.rows("vs_keyring") == 0
    assert world.last().content["outcome"] == f"refused:{code}"
    assert world.last().content["kind"] == "withhold"


@pytest.mark.parametrize("step", ["checked", "wrapped"])
def test_a_token_revoked_before_a_key_is_minted_writes_nothing(world: World, step: str) -> None:
    with pytest.raises(TokenRevoked):
        world.seal(world.open("register"), [("contact", os.urandom(16), b"")], gate=during(world, step, revoke(world)))
    assert world.rows("vs_keyring") == 0


def test_an_erasure_waits_for_a_write_under_way_and_destroys_its_keys_too(world: World) -> None:
    subject, opened = os.urandom(16), world.open("register")
    erased: Future[Erased]
    with ThreadPoolExecutor(1) as pool, world.members_engine.connect() as connection:
        sealed = world.gate.seal(opened, "Member", ["contact"], [("contact", subject, b"")], {}, connection)
        erased = pool.submit(world.subjects.erase, subject, reason="asked")
        with pytest.raises(TimeoutError):
            erased.result(timeout=0.3)
        connection.commit()
        opened.committed(sealed.minted)
        assert erased.result(timeout=30).keys == 1
    assert world.rows("vs_keyring") == 0
    with pytest.raises(SubjectErased):
        world.seal(opened, [("contact", subject, b"")])


def test_a_session_that_has_written_is_not_held_up_by_its_own_gate(world: World) -> None:
    """Neither by the lock on its subject nor by the members' file: it reads back what it has just flushed."""
    subject, opened = os.urandom(16), world.open("register")
    with world.members_engine.connect() as connection:
        sealed = world.gate.seal(opened, "Member", ["contact"], [("contact", subject, b"")], {}, connection)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(world.gate.disclose, opened, "Member", ["contact"], sealed.minted)
            assert len(reading.result(timeout=10).keys) == 1
            again = pool.submit(world.gate.disclose, world.open("care"), "Member", ["contact"], sealed.minted)
            assert again.result(timeout=10).keys == {}  # another grant: not committed, so not there
        connection.rollback()


def test_readers_writers_and_erasers_of_the_same_subjects_never_deadlock(world: World) -> None:
    members = world.members(12, "contact")
    stop = threading.Event()
    kept: list[BaseException] = []

    def forever(act: Callable[[int], object]) -> None:
        at = 0
        try:
            while not stop.is_set():
                act(at)
                at += 1
        except AccessDenied:
            pass
        except BaseException as error:
            kept.append(error)

    def write(at: int) -> None:
        needs = [("contact", members[(at + i) % 12], b"") for i in (5, 0, 3)]
        world.seal(world.open("register"), needs)

    def read(at: int) -> None:
        order = [members[(at * 5 + i * 7) % 12] for i in range(12)]
        world.disclose(world.open("care"), order, "contact")

    threads = [threading.Thread(target=forever, args=[act]) for act in (read, read, write, write)]
    for thread in threads:
        thread.start()
    for member in members[:6]:
        world.subjects.restrict(member, reason="silent")
        world.subjects.erase(member, reason="asked")
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
    assert kept == []
    answer = world.disclose(world.open("care"), members, "contact")
    assert set(answer.refused) == set(members[:6])
    with world.members_engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT DISTINCT subject FROM vs_keyring").scalars().all()
    assert len(left) == 6

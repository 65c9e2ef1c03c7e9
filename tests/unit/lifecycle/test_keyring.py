"""Keys of categories get new versions, data keys move to them, old versions go; on SQLite with a key file."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.support.profiles import COURIER, REGISTRAR, SHIPPED_POLICY, Profile, embedded, member
from vaultstore import Actor
from vaultstore.errors import (
    AccessDenied,
    KeyServiceRefused,
    KeyVersionNeeded,
    UnsupportedOperation,
)
from vaultstore.lifecycle.rewrapping import RewrapBench, read, written
from vaultstore.members.models import Member
from vaultstore.records.key_versions import HeldWrap, version_of
from vaultstore.records.keyring import vs_keyring

OPERATOR = Actor("operator-1", role="operator")


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    with embedded(tmp_path) as made:
        yield made


@pytest.fixture
def token(profile: Profile) -> str:
    return profile.token(OPERATOR, "maintenance.keys")


def versions(profile: Profile, category: str) -> dict[int, int]:
    """Version -> live wraps, by a look at the table alone."""
    c = vs_keyring.c
    with profile.store.engine.connect() as connection:
        wraps = connection.execute(select(c.wrapped).where(c.category == category)).scalars().all()
    found: dict[int, int] = {}
    for wrapped in wraps:
        found[int(wrapped.split(":")[1][1:])] = found.get(int(wrapped.split(":")[1][1:]), 0) + 1
    return found


def keys(profile: Profile, category: str) -> list[tuple[object, ...]]:
    """Every column of the category's rows but the wrap."""
    c = vs_keyring.c
    with profile.store.engine.connect() as connection:
        query = select(c.subject, c.scope, c.key_id, c.minted_by, c.minted_at).where(c.category == category)
        return sorted((tuple(row) for row in connection.execute(query)), key=repr)


def phones(profile: Profile, ids: list[uuid.UUID]) -> list[str]:
    """As each member sees their own."""
    found = []
    for one in ids:
        with profile.store.session(profile.token(Actor(str(one), role="member"), "member.self")) as session:
            found.append(session.get_one(Member, one).phone)
    return found


def test_a_rewrap_moves_every_wrap_to_the_new_version_and_changes_nothing_else(profile: Profile, token: str) -> None:
    ids = profile.add_members(7)
    before, opened = keys(profile, "contact"), phones(profile, ids)
    assert profile.store.keyring.rotate("contact", token) == 2
    [summary] = profile.store.keyring.rewrap("contact", token)
    assert (summary.rows, summary.done, summary.failed) == (7, 7, 0)
    assert versions(profile, "contact") == {2: 7}
    assert versions(profile, "identity") == {1: 7}
    assert keys(profile, "contact") == before
    assert phones(profile, ids) == opened


def test_what_is_retired_is_refused_with_counts_while_it_is_needed(profile: Profile, token: str) -> None:
    profile.add_members(3)
    profile.store.keyring.rotate("contact", token)
    profile.add_members(1)
    with pytest.raises(KeyVersionNeeded, match="3 of version 1") as caught:
        profile.store.keyring.retire("contact", token)
    assert (caught.value.category, caught.value.wraps) == ("contact", {1: 3})
    assert next(k for k in profile.store.keyring.status(token) if k.category == "contact").oldest == 1
    profile.store.keyring.rewrap("contact", token)
    assert profile.store.keyring.retire("contact", token) == 2
    assert profile.store.keyring.retire("contact", token) == 2


def test_the_status_counts_live_wraps_by_version(profile: Profile, token: str) -> None:
    profile.add_members(2)
    profile.store.keyring.rotate("contact", token)
    profile.add_members(1)
    found = {key.category: key for key in profile.store.keyring.status(token)}
    assert found.keys() == profile.store.policy.catalogue.categories
    contact = found["contact"]
    assert (contact.newest, contact.oldest, contact.kept, contact.wraps, contact.behind) == (2, 1, 1, {1: 2, 2: 1}, 2)
    assert (found["identity"].wraps, found["identity"].behind) == ({1: 3}, 0)
    assert found["conversation"].wraps == {}


def test_every_category_is_rewrapped_where_none_is_named(profile: Profile, token: str) -> None:
    ids = profile.add_members(2)
    for category in profile.store.policy.catalogue.categories:
        profile.store.keyring.rotate(category, token)
    summaries = profile.store.keyring.rewrap(None, token)
    assert {s.about for s in summaries} == profile.store.policy.catalogue.categories
    assert all(key.behind == 0 for key in profile.store.keyring.status(token))
    assert len(phones(profile, ids)) == 2


def test_a_damaged_wrap_is_listed_and_holds_nothing_up_but_the_retirement(profile: Profile, token: str) -> None:
    [first, *others] = profile.add_members(4)
    c = vs_keyring.c
    here = (c.subject == first.bytes) & (c.category == "contact")
    with profile.store.engine.begin() as connection:
        connection.execute(vs_keyring.update().where(here).values(wrapped="local:v1:AAAA"))
    profile.store.keyring.rotate("contact", token)
    [summary] = profile.store.keyring.rewrap("contact", token)
    assert (summary.done, summary.failed) == (3, 1)
    [failure] = summary.failures
    assert failure.key.startswith(f"{first.hex}::")
    assert "does not open" in failure.reason
    assert "AAAA" not in repr(summary)
    with pytest.raises(KeyVersionNeeded, match="1 of version 1"):
        profile.store.keyring.retire("contact", token)
    assert phones(profile, others)


def test_a_wrap_of_a_retired_version_is_not_taken_and_the_write_goes_through(profile: Profile, token: str) -> None:
    """A writer wraps, then its version is given up, then it wants to keep the wrap: it wraps again."""
    store, raced = profile.store, []

    def race(step: str) -> None:
        if step == "wrapped" and not raced:
            raced.append(step)
            for category in ("contact", "identity"):
                store.keyring.rotate(category, token)
                store.keyring.retire(category, token)

    store.gate._on_step = race
    one = member(1)
    member_id = one.id
    with store.begin(profile.token(REGISTRAR, "registration")) as session:
        session.add(one)
    assert raced
    assert versions(profile, "contact") == {2: 1}
    assert phones(profile, [member_id]) == ["13800000001"]


def test_a_key_file_that_is_behind_what_was_given_up_writes_nothing(profile: Profile, token: str) -> None:
    old = (profile.folder / "keys.json").read_bytes()
    profile.store.keyring.rotate("contact", token)
    profile.store.keyring.retire("contact", token)
    replaced = profile.folder / "keys.json.old"
    replaced.write_bytes(old)
    replaced.chmod(0o600)
    replaced.replace(profile.folder / "keys.json")
    with pytest.raises(KeyServiceRefused, match="given up"):
        profile.add_members(1)
    assert versions(profile, "contact") == {}


def test_an_open_write_holds_the_retirement_up_and_its_wraps_count(profile: Profile, token: str) -> None:
    store, done = profile.store, []
    with store.session(profile.token(REGISTRAR, "registration")) as session:
        session.add(member(1))
        session.flush()
        store.keyring.rotate("contact", token)

        def retire() -> None:
            with pytest.raises(KeyVersionNeeded, match="1 of version 1"):
                store.keyring.retire("contact", token)
            done.append(True)

        waiting = threading.Thread(target=retire)
        waiting.start()
        waiting.join(0.3)
        assert not done
        session.commit()
        waiting.join()
    assert done


def test_a_session_with_warm_keys_goes_on_over_all_of_it(profile: Profile, token: str) -> None:
    [one] = profile.add_members(1)
    mine = profile.token(Actor(str(one), role="member"), "member.self")
    with profile.store.session(mine) as session:
        found = session.get_one(Member, one)
        assert found.phone == "13800000000"
        profile.store.keyring.rotate("contact", token)
        profile.store.keyring.rewrap("contact", token)
        profile.store.keyring.retire("contact", token)
        session.rollback()  # a transaction of SQLite that has read before others wrote could not write
        assert found.phone == "13800000000"
        found.phone = "13900000001"
        session.commit()
        assert found.phone == "13900000001"
    assert phones(profile, [one]) == ["13900000001"]


def test_another_process_sees_the_new_version_of_the_key_file(profile: Profile, token: str) -> None:
    """Two stores over the same files: the other one has old keys in memory."""
    from vaultstore import LocalKeys, Policy, Store
    from vaultstore.members.models import Base

    ids = profile.add_members(1)
    with (
        LocalKeys.open(profile.folder / "keys.json") as other_keys,
        Store.open(profile.url, keys=other_keys, policy=Policy.load(SHIPPED_POLICY), models=Base) as other,
    ):
        mine = other.issue(Actor(str(ids[0]), role="member"), "member.self")
        writer = other.issue(REGISTRAR, "registration")
        with other.session(mine) as session:
            assert session.get_one(Member, ids[0]).phone
        for _ in range(2):
            profile.store.keyring.rotate("contact", token)
            profile.store.keyring.rewrap("contact", token)
            profile.store.keyring.retire("contact", token)
        with other.session(mine) as session:
            assert session.get_one(Member, ids[0]).phone == "13800000000"
        with other.begin(writer) as session:
            session.add(member(2))
    assert versions(profile, "contact") == {3: 2}


def test_an_erased_members_row_is_simply_gone(profile: Profile, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = profile.add_members(5)
    profile.store.keyring.rotate("contact", token)
    original = RewrapBench.apply

    def erase_first(self: RewrapBench, connection: sa.Connection, prepared: object) -> object:
        connection.execute(vs_keyring.delete().where(vs_keyring.c.subject == ids[2].bytes))
        return original(self, connection, prepared)  # type: ignore[arg-type]

    monkeypatch.setattr(RewrapBench, "apply", erase_first)
    profile.store.keyring.rewrap("contact", token)
    assert versions(profile, "contact") == {2: 4}


def test_a_row_that_somebody_else_changed_is_left_as_it_is(profile: Profile, token: str) -> None:
    [one] = profile.add_members(1)
    c = vs_keyring.c
    with profile.store.engine.begin() as connection:
        row = connection.execute(select(vs_keyring).where(c.category == "contact")).one()
        held = HeldWrap(row.subject, row.scope, row.key_id, "local:v1:other")
        from vaultstore.records import key_versions

        assert key_versions.replace(connection, "contact", [(held, "local:v2:new")]) == 0
        held = held._replace(wrapped=row.wrapped)
        assert key_versions.replace(connection, "contact", [(held, "local:v1:new")]) == 0
        assert key_versions.replace(connection, "contact", [(held, "vault:v2:new")]) == 0
        assert key_versions.replace(connection, "identity", [(held, "local:v2:new")]) == 0
    assert phones(profile, [one]) == ["13800000000"]


@pytest.mark.parametrize(
    ("actor", "purpose"),
    [
        (Actor("auditor-1", role="auditor"), "audit.review"),
        (REGISTRAR, "registration"),
        (COURIER, "chat.delivery"),
        (Actor("u-17", role="matchmaker", attributes={"store": "sh-01"}), "sales.pool"),
        (OPERATOR, "maintenance.projection"),
    ],
)
def test_no_other_purpose_keeps_keys(profile: Profile, actor: Actor, purpose: str) -> None:
    profile.add_members(1)
    other = profile.token(actor, purpose)
    for action in (
        lambda: profile.store.keyring.rotate("contact", other),
        lambda: profile.store.keyring.rewrap("contact", other),
        lambda: profile.store.keyring.retire("contact", other),
        lambda: profile.store.keyring.status(other),
    ):
        with pytest.raises(AccessDenied):
            action()
    assert versions(profile, "contact") == {1: 1}
    assert profile.store.keyring.status(profile.token(OPERATOR, "maintenance.keys"))[0].newest == 1


def test_refusals_and_deeds_stand_in_the_log_with_counts_and_without_lines(profile: Profile, token: str) -> None:
    profile.add_members(3)
    profile.store.keyring.rotate("contact", token)
    with pytest.raises(KeyVersionNeeded):
        profile.store.keyring.retire("contact", token)
    profile.store.keyring.rewrap("contact", token)
    profile.store.keyring.retire("contact", token)
    with pytest.raises(AccessDenied):
        profile.store.keyring.rotate("contact", profile.token(REGISTRAR, "registration"))
    import json

    with profile.store.parts.gate_engine.connect() as connection:
        query = sa.text("SELECT leaf, lines FROM vs_entries WHERE kind IN ('rotate','rewrap','rewrapped','retire')")
        rows = connection.execute(query).all()
    assert {bytes(lines) for _, lines in rows} == {b""}
    told = [(leaf["kind"], leaf["outcome"], leaf["counts"]) for leaf in (json.loads(text) for text, _ in rows)]
    assert told == [
        ("rotate", "rotated", {}),
        ("retire", "refused:key.needed", {"keys": 3}),
        ("rewrap", "handed_out", {"keys": 3}),
        ("rewrapped", "rewrapped", {"keys": 3, "replaced": 3}),
        ("retire", "retired", {"oldest": 2}),
        ("rotate", "refused:not.granted", {}),
    ]


def test_a_run_that_breaks_off_goes_on_and_leaves_nothing_behind(
    profile: Profile, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = profile.add_members(25)
    monkeypatch.setattr("vaultstore.lifecycle.rewrapping.CHUNK", 4)
    profile.store.keyring.rotate("contact", token)
    original, chunks = RewrapBench.apply, []

    def dies(self: RewrapBench, connection: sa.Connection, prepared: object) -> object:
        chunks.append(prepared)
        if len(chunks) == 3:
            raise RuntimeError("killed")
        return original(self, connection, prepared)  # type: ignore[arg-type]

    monkeypatch.setattr(RewrapBench, "apply", dies)
    with pytest.raises(RuntimeError):
        profile.store.keyring.rewrap("contact", token)
    assert versions(profile, "contact") == {1: 17, 2: 8}
    profile.store.keyring.rotate("contact", token)  # and meanwhile another version came
    summaries = profile.store.keyring.rewrap("contact", token)
    assert summaries[0].resumed
    assert not summaries[-1].resumed
    assert versions(profile, "contact") == {3: 25}
    assert len(set(phones(profile, ids[:3]))) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_chunks_and_workers_share_the_rows_whatever_their_number(
    profile: Profile, token: str, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    profile.add_members(23)
    monkeypatch.setattr("vaultstore.lifecycle.rewrapping.CHUNK", 5)
    profile.store.keyring.rotate("contact", token)
    [summary] = profile.store.keyring.rewrap("contact", token, workers=workers)
    assert (summary.rows, summary.done) == (23, 23)
    assert versions(profile, "contact") == {2: 23}


def test_two_runs_at_once_do_each_row_once(profile: Profile, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    profile.add_members(30)
    monkeypatch.setattr("vaultstore.lifecycle.rewrapping.CHUNK", 3)
    profile.store.keyring.rotate("contact", token)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            profile.store.keyring.rewrap("contact", token, workers=2)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert versions(profile, "contact") == {2: 30}


def test_an_unknown_category_is_told_with_the_nearest_name(profile: Profile, token: str) -> None:
    for action in (profile.store.keyring.rotate, profile.store.keyring.retire, profile.store.keyring.rewrap):
        with pytest.raises(UnsupportedOperation, match="did you mean 'contact'"):
            action("contct", token)


def test_a_job_asks_for_a_new_token_before_the_old_one_ends(profile: Profile) -> None:
    profile.add_members(2)
    asked: list[str] = []

    def fresh() -> str:
        asked.append(profile.token(OPERATOR, "maintenance.keys", ttl=timedelta(seconds=20)))
        return asked[-1]

    profile.store.keyring.rotate("contact", fresh)
    profile.store.keyring.rewrap("contact", fresh)
    assert len(set(asked)) > 2
    assert versions(profile, "contact") == {2: 2}


@pytest.mark.parametrize(
    ("wrapped", "version"),
    [
        ("vault:v12:AA", 12),
        ("local:v1:AA", 1),
        ("vault:v:AA", 0),
        ("", 0),
        ("junk", 0),
        ("vault:v1", 0),
        ("x:v9999999999:", 0),
    ],
)
def test_the_version_of_a_wrap_is_read_off_it_and_0_is_none(wrapped: str, version: int) -> None:
    assert version_of(wrapped) == version


def test_the_key_of_a_row_says_where_it_is() -> None:
    for bound in ((bytes(16), b"", 0), (uuid.uuid4().bytes, bytes(range(16)), 2**63 - 1)):
        assert read(written(bound)) == bound
        assert len(written(bound)) < 200

"""Restriction: who may have it and lift it, what is kept of it, and members who fell silent. On both databases."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.support.consenting import Call, Person, fill, opened, token
from vaultstore import Store, records
from vaultstore.audit import verify_entry
from vaultstore.errors import AccessDenied, SubjectErased, SubjectRestricted, TokenRevoked, UnsupportedOperation
from vaultstore.records import canaries
from vaultstore.records.canaries import Canary
from vaultstore.records.entries import vs_entries
from vaultstore.records.states import vs_hidden
from vaultstore.records.subjects import vs_subjects


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'members.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    with opened(url, tmp_path) as made:
        made.create_all()
        yield made


def entries(store: Store, *kinds: str) -> list[dict[str, Any]]:
    """The content of the audit entries of these kinds, each checked against its lines."""
    e = vs_entries.c
    with store.parts.gate_engine.connect() as connection:
        rows = connection.execute(select(e.leaf, e.lines, e.outcomes).where(e.kind.in_(kinds)).order_by(e.seq)).all()
    return [verify_entry(leaf, lines, json.loads(outcomes)) for leaf, lines, outcomes in rows]


def seen(store: Store, purpose: str = "care") -> int:
    with store.session(token(store, purpose)) as session:
        return session.scalar(select(func.count()).select_from(Person)) or 0


def test_a_restricted_member_is_out_of_sight_until_it_is_lifted_and_all_of_it_is_kept(store: Store) -> None:
    one, other = fill(store, 2)
    store.subjects.restrict(one, reason="asked by letter", operator="ann")
    assert store.subjects.state(one) == "restricted"
    assert seen(store) == 1
    with store.session(token(store, "care")) as session:
        assert [call.person_id for call in session.scalars(select(Call))] == [other]
    with store.session(token(store, "privacy.request", one)) as session:
        assert session.get_one(Person, one).phone
    store.subjects.lift(one, reason="came back", operator="bob")
    assert seen(store) == 2
    assert [(c.state, c.reason) for c in store.subjects.history(one)] == [
        ("active", None), ("restricted", "asked by letter"), ("active", "came back"),
    ]  # fmt: skip
    first, second = entries(store, "restrict", "lift")
    assert (first["kind"], first["outcome"], first["counts"]) == (
        "restrict",
        "restricted",
        {"subjects": 1, "restricted": 1},
    )
    assert (second["kind"], second["outcome"], second["role"]) == ("lift", "lifted", "operator")
    assert first["actor"] != second["actor"]
    assert store.subjects.history(one)[1].entry == first["id"]
    assert "letter" not in json.dumps(first)


def test_repeating_is_harmless_and_unknown_subjects_are_registered(store: Store) -> None:
    subject = uuid.uuid4()
    for _ in range(2):
        store.subjects.restrict(subject, reason="asked")
    assert [c.state for c in store.subjects.history(subject)] == ["active", "restricted"]
    assert len(entries(store, "restrict")) == 2
    store.subjects.lift(subject, reason="x")
    store.subjects.lift(subject, reason="y")
    assert [c.reason for c in store.subjects.history(subject)] == [None, "asked", "x"]


def test_a_member_restricts_themselves_and_does_not_lift_it(store: Store) -> None:
    one, other = fill(store, 2)
    mine = token(store, "own", one)
    store.subjects.restrict(one, reason="leave me be", token=mine)
    store.subjects.restrict(one, reason="I said so", token=mine)
    assert store.subjects.state(one) == "restricted"
    with pytest.raises(AccessDenied) as refused:
        store.subjects.restrict(other, reason="them too", token=mine)
    assert refused.value.reason == "subject.not_named"
    with pytest.raises(AccessDenied) as denied:
        store.subjects.lift(one, reason="back", token=mine)
    assert denied.value.reason == "not.granted"
    assert store.subjects.state(one) == "restricted"
    assert store.subjects.state(other) == "active"
    assert [e["outcome"] for e in entries(store, "restrict", "lift")] == [
        "restricted", "restricted", "refused:subject.not_named", "refused:not.granted",
    ]  # fmt: skip


def test_the_desk_restricts_and_lifts_whom_its_token_names(store: Store) -> None:
    one, other = fill(store, 2)
    desk = token(store, "privacy.request", one)
    store.subjects.restrict(one, reason="asked", token=desk)
    store.subjects.lift(one, reason="asked", token=desk)
    with pytest.raises(AccessDenied, match="not one that the token names"):
        store.subjects.restrict(other, reason="asked", token=desk)
    assert [e["purpose"] for e in entries(store, "restrict", "lift")] == ["privacy.request"] * 3


@pytest.mark.parametrize("purpose", ["sell", "care", "enter"])
def test_no_other_purpose_touches_a_state(store: Store, purpose: str) -> None:
    [one] = fill(store, 1)
    for change in (store.subjects.restrict, store.subjects.lift):
        with pytest.raises(AccessDenied):
            change(one, reason="why not", token=token(store, purpose))
    assert store.subjects.state(one) == "active"


def test_a_revoked_token_changes_nothing(store: Store) -> None:
    [one] = fill(store, 1)
    mine = token(store, "own", one)
    store.revoke(actor=str(one))
    with pytest.raises(TokenRevoked):
        store.subjects.restrict(one, reason="x", token=mine)
    assert store.subjects.state(one) == "active"


def test_an_erased_member_stays_erased(store: Store) -> None:
    [one] = fill(store, 1)
    store.subjects.restrict(one, reason="asked")
    store.subjects.erase(one, reason="asked")
    for change in (store.subjects.restrict, store.subjects.lift):
        with pytest.raises(SubjectErased):
            change(one, reason="no way back")
    assert store.subjects.history(one)[-1].state == "erased"


def test_restriction_stops_a_reader_that_is_under_way(store: Store) -> None:
    """Whoever begins to read after `restrict` returned gets nothing, however many read at the time."""
    [one] = fill(store, 1)
    given, over, late, stop = token(store, "care"), threading.Event(), [], threading.Event()

    def read() -> None:
        with store.session(given) as session:
            while not stop.is_set():
                was_over = over.is_set()
                session.rollback()
                session.expire_all()
                person = session.get(Person, one)
                try:
                    got = person is not None and bool(person.phone)
                except (SubjectRestricted, sa.exc.InvalidRequestError):
                    got = False
                if got and was_over:
                    late.append("read after it had been restricted")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        over.clear()
        store.subjects.lift(one, reason="again")
        store.subjects.restrict(one, reason="asked")
        over.set()
        threading.Event().wait(0.05)
    stop.set()
    for reader in readers:
        reader.join(20)
    assert late == []


def test_a_crash_between_the_two_files_leaves_the_member_refused_and_the_next_try_mends_it(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path / 'members.db'}", tmp_path) as store:
        store.create_all()
        [one] = fill(store, 1)
        store.subjects.restrict(one, reason="asked")
        with store.engine.begin() as connection:
            connection.execute(vs_hidden.delete())  # as if members.db had not been committed
        with store.session(token(store, "care")) as session, pytest.raises(SubjectRestricted):
            _ = session.get_one(Person, one).phone
        store.subjects.restrict(one, reason="asked")
        assert seen(store) == 0
        assert [c.state for c in store.subjects.history(one)] == ["active", "restricted"]
        with store.engine.begin() as connection:
            connection.execute(vs_hidden.delete())
        records.states.sync(store.engine, store.parts.gate_engine)  # as an upgrade does
        assert seen(store) == 0


# Members who fell silent.


def silent(store: Store) -> dict[str, uuid.UUID]:
    """People of each kind: seen lately or long ago, never seen and new or old, and those who are passed over."""
    kinds = ("lately", "long ago", "never, new", "never, old", "resting", "erased", "canary")
    people = dict(zip(kinds, fill(store, len(kinds)), strict=True))
    old = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=400)
    with Session(store.engine) as session, session.begin():
        for kind in ("long ago", "never, old", "resting", "erased", "canary"):
            session.get_one(Person, people[kind]).created_at = old
        for kind in ("long ago", "resting", "erased", "canary"):
            session.get_one(Person, people[kind]).seen = old.date()
        session.get_one(Person, people["lately"]).seen = date.today() - timedelta(days=2)
        session.get_one(Person, people["lately"]).created_at = old
    store.subjects.restrict(people["resting"], reason="asked")
    store.subjects.erase(people["erased"], reason="asked")
    with store.parts.gate_engine.begin() as connection:
        planted = datetime.now(UTC)
        canaries.add(connection, [Canary(people["canary"].bytes, "u", "s", planted)])
    return people


def test_who_was_not_seen_for_long_is_restricted_and_nobody_else(store: Store) -> None:
    people = silent(store)
    assert store.subjects.isolate_dormant(timedelta(days=365), dry_run=True).rows >= 2
    assert store.subjects.state(people["long ago"]) == "active"
    summary = store.subjects.isolate_dormant(timedelta(days=365), operator="job")
    assert (summary.done, summary.failed) == (2, 0)
    states = {kind: store.subjects.state(person) for kind, person in people.items()}
    assert states == {
        "lately": "active", "long ago": "restricted", "never, new": "active", "never, old": "restricted",
        "resting": "restricted", "erased": "erased", "canary": "active",
    }  # fmt: skip
    assert store.subjects.history(people["long ago"])[-1].reason == "inactive for 365d"
    assert store.subjects.history(people["resting"])[-1].reason == "asked"
    assert store.subjects.isolate_dormant(timedelta(days=365)).done == 0
    assert seen(store) == 4  # what is left of the erased member opens no more, and is in sight


def test_many_are_restricted_by_several_workers_each_once(store: Store) -> None:
    people = fill(store, 60, seen=date(2020, 1, 1))
    with ThreadPoolExecutor(2) as threads:
        summary = store.subjects.isolate_dormant(timedelta(days=365), workers=2, executor=threads)
    assert summary.done == 60
    with store.parts.gate_engine.connect() as connection:
        query = select(func.count()).where(vs_subjects.c.state == "restricted")
        assert connection.execute(query).scalar_one() == len(people)
    assert sum(e["counts"]["subjects"] for e in entries(store, "restrict")) == 60
    assert seen(store) == 0


def test_a_member_who_comes_back_while_the_job_runs_is_left_alone(store: Store) -> None:
    from vaultstore.lifecycle.isolation import Isolate

    one, other = fill(store, 2, seen=date(2020, 1, 1))
    with Isolate(timedelta(days=365), "job", parts=store.parts).open() as bench:
        chunk = bench.prepare(None, None)
        with Session(store.engine) as session, session.begin():
            session.get_one(Person, one).seen = date.today()
        with store.engine.begin() as connection:
            assert bench.apply(connection, chunk).done == 1
    assert store.subjects.state(one) == "active"
    assert store.subjects.state(other) == "restricted"


def test_a_span_is_longer_than_nothing_and_other_processes_open_the_store_themselves(store: Store) -> None:
    with pytest.raises(UnsupportedOperation, match="more than nothing"):
        store.subjects.isolate_dormant(timedelta(0))

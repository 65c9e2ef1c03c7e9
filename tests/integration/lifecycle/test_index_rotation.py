"""The key of a blind index is rotated while people are written and looked up; the old one is worthless afterwards."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from tests.support.indexed import (
    CLERK,
    EMAIL,
    FINDER,
    OPERATOR,
    PHONE,
    SELLER,
    IndexedPlace,
    Person,
    add,
    column,
    embedded_place,
    find,
    index_token,
    keys_token,
    reopened,
    standard_place,
)
from vaultstore import Store
from vaultstore.errors import (
    AccessDenied,
    ApprovalMissing,
    BudgetExhausted,
    KeyServiceRefused,
    KeyServiceUnavailable,
    UnsupportedOperation,
)
from vaultstore.gate.protocol import Searched
from vaultstore.keys import VersionGone
from vaultstore.records.entries import vs_entries


@pytest.fixture(params=["embedded", pytest.param("standard", marks=pytest.mark.integration)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IndexedPlace]:
    if request.param == "embedded":
        with embedded_place(tmp_path) as made:
            yield made
    else:
        with standard_place(request.getfixturevalue("openbao"), request.getfixturevalue("pg_database")) as made:
            yield made


@pytest.fixture
def store(place: IndexedPlace) -> Iterator[Store]:
    with place.store() as made:
        yield made


def state(store: Store, index: str = PHONE) -> tuple[int, int | None, bool]:
    [found] = [s for s in store.indexes.status() if s.index == index]
    return found.current, found.next, found.settled


def rotated(store: Store, index: str = PHONE) -> None:
    store.indexes.rotate(index, keys_token(store))
    assert store.indexes.backfill(index, index_token(store)).failed == 0
    store.indexes.finish(index, keys_token(store))


# ------------------------------------------------------------------------------------------------ the whole way


def test_rows_are_found_before_while_and_after_and_every_digest_is_another(store: Store) -> None:
    old = add(store, 17)
    before = column(store)
    assert state(store) == (1, None, True)
    assert store.indexes.rotate(PHONE, keys_token(store)) == 2
    assert state(store) == (1, 2, False)
    new = add(store, 2, start=17)
    everyone = {f"phone-{n}": [i] for n, i in enumerate([*old, *new])}
    assert {phone: find(store, phone) for phone in everyone} == everyone
    summary = store.indexes.backfill(PHONE, index_token(store))
    assert (summary.done, summary.failed) == (19, 0)
    assert state(store) == (1, 2, True)
    assert {phone: find(store, phone) for phone in everyone} == everyone
    assert store.indexes.finish(PHONE, keys_token(store)) == 2
    assert state(store) == (2, None, True)
    assert {phone: find(store, phone) for phone in everyone} == everyone
    after = column(store)
    assert all(after[i] and after[i] != before[i] for i in old)


def test_a_second_rotation_goes_the_same_way_and_other_indexes_stay(store: Store) -> None:
    [person] = add(store, 1)
    emails = column(store, "email_bidx")
    for version in (2, 3):
        rotated(store)
        assert state(store) == (version, None, True)
        assert find(store, "phone-0") == [person]
    assert column(store, "email_bidx") == emails
    assert state(store, EMAIL) == (1, None, True)


def test_a_search_costs_one_needle_and_one_request_for_each_version(place: IndexedPlace, store: Store) -> None:
    add(store, 2)
    count = place.counting.digests
    for what, wanted in (("before", {1: 1}), ("while", {1: 1, 2: 1}), ("after", {2: 1})):
        if what == "while":
            store.indexes.rotate(PHONE, keys_token(store))
        if what == "after":
            store.indexes.backfill(PHONE, index_token(store))
            store.indexes.finish(PHONE, keys_token(store))
        count.clear()
        assert len(find(store, "phone-1", "finding")) == 1
        assert dict(count) == {(PHONE, version): requests for version, requests in wanted.items()}
    with pytest.raises(BudgetExhausted):  # three needles in all, whatever the number of versions
        find(store, "phone-1", "finding")


def test_a_write_costs_one_request_and_a_second_one_where_values_are_unique(place: IndexedPlace, store: Store) -> None:
    store.indexes.rotate(PHONE, keys_token(store))
    store.indexes.rotate(EMAIL, keys_token(store))
    place.counting.digests.clear()
    add(store, 3)
    assert dict(place.counting.digests) == {(PHONE, 2): 1, (EMAIL, 2): 1, (EMAIL, 1): 1}


@pytest.mark.parametrize("wanted", ["==", "!=", "in_", "not_in", "lambda", "lambda !=", "update", "delete"])
def test_every_way_to_search_takes_both_versions(store: Store, wanted: str) -> None:
    a, b = add(store, 2)
    store.indexes.rotate(PHONE, keys_token(store))
    [c] = add(store, 1, start=2)
    with store.session(store.issue(CLERK, "desk")) as session:
        value, values = "phone-0", ["phone-0", "phone-2"]
        if wanted == "update":
            done = session.execute(update(Person).where(Person.phone.in_(values)).values(town="Paris"))
            assert done.rowcount == 2  # type: ignore[attr-defined]
            return
        if wanted == "delete":
            done = session.execute(sa.delete(Person).where(Person.phone != value))
            assert done.rowcount == 2  # type: ignore[attr-defined]
            return
        queries: dict[str, tuple[Any, set[uuid.UUID]]] = {
            "==": (select(Person.id).where(Person.phone == value), {a}),
            "!=": (select(Person.id).where(Person.phone != value), {b, c}),
            "in_": (select(Person.id).where(Person.phone.in_(values)), {a, c}),
            "not_in": (select(Person.id).where(Person.phone.not_in(values)), {b}),
            "lambda": (sa.lambda_stmt(lambda: select(Person.id).where(Person.phone == value)), {a}),
            "lambda !=": (sa.lambda_stmt(lambda: select(Person.id).where(Person.phone != value)), {b, c}),
        }
        query, found = queries[wanted]
        assert set(session.scalars(query)) == found


def test_a_list_in_a_lambda_is_refused_for_as_long_as_values_have_two_digests(store: Store) -> None:
    [person] = add(store, 1)
    values = ["phone-0"]
    query: Any = sa.lambda_stmt(lambda: select(Person.id).where(Person.phone.in_(values)))
    for step in ("before", "while", "after"):
        if step == "while":
            store.indexes.rotate(PHONE, keys_token(store))
        if step == "after":
            rotated(store)
        with store.session(store.issue(CLERK, "desk")) as session:
            if step == "while":
                with pytest.raises(UnsupportedOperation, match="without a lambda"):
                    session.scalars(query)
            else:
                assert list(session.scalars(query)) == [person]


# -------------------------------------------------------------------------------------------------- uniqueness


def test_a_taken_value_is_refused_whichever_version_its_row_has(store: Store) -> None:
    add(store, 1)
    store.indexes.rotate(EMAIL, keys_token(store))
    for email in ("0@example.com", "0@EXAMPLE.com"):
        token = store.issue(CLERK, "intake")
        with pytest.raises(IntegrityError, match=r"people[._]email_bidx"), store.begin(token) as session:
            session.add(Person(id=uuid.uuid4(), email=email))
        with pytest.raises(IntegrityError), store.begin(store.issue(CLERK, "intake")) as session:
            session.execute(insert(Person), [{"id": uuid.uuid4(), "email": email}])
    assert len(column(store)) == 1
    with store.parts.ledger.gate() as connection:
        e = vs_entries.c
        told = connection.scalars(select(e.leaf).where(e.kind == "search")).all()
    assert sum('"outcome":"collision"' in leaf for leaf in told) == 4


def test_a_row_may_keep_its_own_value_and_give_it_up_to_another(store: Store) -> None:
    [first] = add(store, 1)
    store.indexes.rotate(EMAIL, keys_token(store))
    with store.begin(store.issue(CLERK, "desk")) as session:
        person = session.get_one(Person, first)
        person.email = "0@Example.com"  # the same one, spelt otherwise
        session.flush()
        person.email = "other@example.com"
        session.flush()
        session.add(Person(id=uuid.uuid4(), email="0@example.com"))
    assert len(column(store)) == 2


def test_of_many_who_write_a_value_at_once_one_gets_it(place: IndexedPlace, store: Store) -> None:
    add(store, 20)
    stores = [place.open() for _ in range(3)]
    start = threading.Barrier(4)
    taken: list[str] = []

    def write(other: Store) -> None:
        start.wait()
        for n in range(24):
            try:
                with other.begin(other.issue(CLERK, "intake")) as session:
                    session.add(Person(id=uuid.uuid4(), email=f"{n}@example.com"))
            except IntegrityError:
                taken.append(f"{n}@example.com")

    def rotate() -> None:
        start.wait()
        store.indexes.rotate(EMAIL, keys_token(store))
        assert store.indexes.backfill(EMAIL, index_token(store)).failed == 0
        store.indexes.finish(EMAIL, keys_token(store))

    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(rotate), *(pool.submit(write, other) for other in stores)]:
            job.result()
    for other in stores:
        other.close()
    # 20 were there; of the 4 others each is written by one of three.
    assert len(taken) == 20 * 3 + 4 * 2
    digests = column(store, "email_bidx").values()
    assert len(set(digests)) == len(digests) == 24


# ----------------------------------------------------------------------------------- races with begin and end


def test_a_writer_that_a_rotation_overtakes_makes_its_digests_anew(place: IndexedPlace, store: Store) -> None:
    other = place.open()

    def overtake(step: str) -> None:
        if step == "wrapped" and state(store)[1] is None:
            store.indexes.rotate(PHONE, keys_token(store))

    other.gate._on_step = overtake
    place.counting.digests.clear()
    add(other, 1)
    assert dict(place.counting.digests) == {(PHONE, 1): 1, (PHONE, 2): 1, (EMAIL, 1): 2}
    store.indexes.backfill(PHONE, index_token(store))
    store.indexes.finish(PHONE, keys_token(store))
    other.gate._on_step = lambda step: None
    assert len(find(other, "phone-0")) == 1
    other.close()


def finishing(place: IndexedPlace, store: Store, index: str, at: str) -> Store:
    """Another process's view of the store, in which the index's rotation ends right after the step `at` of the gate."""
    other = place.open()
    store.indexes.rotate(index, keys_token(store))
    assert store.indexes.backfill(index, index_token(store)).failed == 0

    def overtake(step: str) -> None:
        if step == at and state(store, index)[0] == 1:
            store.indexes.finish(index, keys_token(store))

    other.gate._on_step = overtake
    return other


def test_a_writer_whose_version_is_given_up_meanwhile_makes_its_digests_anew(place: IndexedPlace, store: Store) -> None:
    """The rotation ends between the look at the versions and the request for digests."""
    [first] = add(store, 1)
    other = finishing(place, store, EMAIL, "checked")
    with pytest.raises(IntegrityError), other.begin(other.issue(CLERK, "intake")) as session:
        session.add(Person(id=uuid.uuid4(), email="0@example.com"))
    assert state(store, EMAIL) == (2, None, True)
    add(other, 1, start=1)
    assert first in column(store, "email_bidx")
    assert len(set(column(store, "email_bidx").values())) == 2
    other.close()


def test_a_search_whose_version_is_given_up_meanwhile_is_made_again(place: IndexedPlace, store: Store) -> None:
    [person] = add(store, 1)
    other = finishing(place, store, PHONE, "charged")
    assert find(other, "phone-0") == [person]
    assert state(store) == (2, None, True)
    other.close()


def test_a_version_that_the_key_lacks_is_refused_and_nothing_is_written(place: IndexedPlace, store: Store) -> None:
    """The key service gave up a version that the database still stands by."""
    add(store, 1)
    keeper = store.parts.opened(keys_token(store))
    keeper.ask(lambda service: service.rotate(PHONE, "index"))
    keeper.ask(lambda service: service.retire(PHONE, 2, "index"))
    with pytest.raises(VersionGone):
        find(store, "phone-0")
    with pytest.raises(VersionGone):
        add(store, 1, start=1)
    assert len(column(store)) == 1
    with store.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM vs_keyring WHERE category = 'contact'")) == 1


def test_a_search_that_a_rotation_overtakes_is_made_again_and_misses_nobody(
    place: IndexedPlace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    [person] = add(store, 1)
    other = place.open()

    searched = other.gate.search

    def search(*args: Any) -> Searched:
        answer = searched(*args)
        if state(store)[0] == 1:
            rotated(store)
        return answer

    monkeypatch.setattr(other.gate, "search", search)
    assert find(other, "phone-0") == [person]
    other.close()


def test_a_searched_update_that_a_rotation_overtakes_is_not_believed(
    place: IndexedPlace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, 1)
    other = place.open()
    searched = other.gate.search

    def search(*args: Any) -> Searched:
        answer = searched(*args)
        rotated(store)
        return answer

    monkeypatch.setattr(other.gate, "search", search)
    token = other.issue(CLERK, "desk")
    with pytest.raises(KeyServiceUnavailable, match="do it again"), other.begin(token) as session:
        session.execute(sa.delete(Person).where(Person.phone == "phone-0"))
    other.close()
    assert len(column(store)) == 1


def test_rows_that_are_written_while_digests_are_made_anew_keep_what_was_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, _ = add(store, 4)
    store.indexes.rotate(PHONE, keys_token(store))
    reindex = store.gate.reindex

    def write_first(*args: Any) -> Any:
        monkeypatch.setattr(store.gate, "reindex", reindex)
        with store.begin(store.issue(CLERK, "desk")) as session:
            session.get_one(Person, first).phone = "moved"
            session.get_one(Person, second).phone = None
            session.delete(session.get_one(Person, third))
        return reindex(*args)

    monkeypatch.setattr(store.gate, "reindex", write_first)
    assert store.indexes.backfill(PHONE, index_token(store)).failed == 0
    store.indexes.finish(PHONE, keys_token(store))
    assert find(store, "moved") == [first]
    assert find(store, "phone-0") == find(store, "phone-1") == find(store, "phone-2") == []
    assert len(find(store, "phone-3")) == 1


def test_a_field_that_is_sealed_anew_with_its_old_digest_is_seen_to_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever seals a value anew and leaves the index alone must not make the backfill pass the row over."""
    first, other = add(store, 2)
    store.indexes.rotate(PHONE, keys_token(store))
    old = column(store)[first]
    reindex = store.gate.reindex

    def seal_first(*args: Any) -> Any:
        monkeypatch.setattr(store.gate, "reindex", reindex)
        with store.begin(store.issue(CLERK, "desk")) as session:
            session.get_one(Person, first).phone = "phone-0 "
            session.flush()
            query = sa.text("UPDATE people SET phone_bidx = :old WHERE id = :id")
            session.connection().execute(
                query.bindparams(sa.bindparam("id", type_=sa.Uuid())), {"old": old, "id": first}
            )
        return reindex(*args)

    monkeypatch.setattr(store.gate, "reindex", seal_first)
    assert store.indexes.backfill(PHONE, index_token(store)).failed == 0
    assert column(store)[first] != old
    store.indexes.finish(PHONE, keys_token(store))
    assert find(store, "phone-0") == [first]
    assert find(store, "phone-1") == [other]


def _elsewhere(where: tuple[str, ...], pipe: Any) -> None:
    """Another process, which keeps its store open: (verb, n) in, whose phone it is or whether it was taken out."""
    with reopened(where) as store:
        while (message := pipe.recv()) is not None:
            verb, n = message
            if verb == "find":
                pipe.send(find(store, f"phone-{n}"))
                continue
            try:
                pipe.send(add(store, 1, start=n))
            except IntegrityError:
                pipe.send("taken")


def test_a_process_that_was_told_nothing_finds_and_writes_what_it_should(place: IndexedPlace, store: Store) -> None:
    ids = dict(enumerate(add(store, 3)))
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_elsewhere, args=(place.where, theirs))
    process.start()

    def there(verb: str, n: int) -> Any:
        ours.send((verb, n))
        assert ours.poll(60)
        return ours.recv()

    assert there("find", 0) == [ids[0]]  # it has its keys warm and its store open
    for index in (PHONE, EMAIL):
        store.indexes.rotate(index, keys_token(store))
    assert there("find", 1) == [ids[1]]
    assert there("add", 2) == "taken"
    [ids[3]] = there("add", 3)
    assert find(store, "phone-3") == [ids[3]]
    for index in (PHONE, EMAIL):
        store.indexes.backfill(index, index_token(store))
        store.indexes.finish(index, keys_token(store))
    assert [there("find", n) for n in range(4)] == [[ids[n]] for n in range(4)]
    assert there("add", 2) == "taken"
    [ids[4]] = there("add", 4)
    assert find(store, "phone-4") == [ids[4]]
    ours.send(None)
    process.join(60)
    assert process.exitcode == 0


# ------------------------------------------------------------------------------------------------- what it takes


def test_it_is_not_finished_while_rows_may_have_old_digests(store: Store) -> None:
    add(store, 1)
    with pytest.raises(AccessDenied, match="not being rotated") as caught:
        store.indexes.backfill(PHONE, index_token(store))
    assert caught.value.reason == "index.settled"
    store.indexes.rotate(PHONE, keys_token(store))
    with pytest.raises(AccessDenied, match="run the backfill") as caught:
        store.indexes.finish(PHONE, keys_token(store))
    assert caught.value.reason == "index.unsettled"
    assert len(find(store, "phone-0")) == 1


def test_rows_that_fail_are_listed_and_the_rotation_waits_for_them(store: Store) -> None:
    ids = add(store, 3)
    store.indexes.rotate(PHONE, keys_token(store))
    with store.engine.begin() as connection:  # somebody puts a value that was sealed for one row into another
        query = sa.text("UPDATE people SET phone = (SELECT phone FROM people WHERE id = :other) WHERE id = :id")
        query = query.bindparams(sa.bindparam("other", type_=sa.Uuid()), sa.bindparam("id", type_=sa.Uuid()))
        connection.execute(query, {"other": ids[0], "id": ids[1]})
    summary = store.indexes.backfill(PHONE, index_token(store))
    assert (summary.done, [f.key for f in summary.failures]) == (2, [ids[1].hex])
    with pytest.raises(AccessDenied, match="run the backfill"):
        store.indexes.finish(PHONE, keys_token(store))
    with store.begin(store.issue(CLERK, "desk")) as session:
        session.get_one(Person, ids[1]).phone = "mended"
    assert store.indexes.backfill(PHONE, index_token(store)).failed == 0
    assert store.indexes.finish(PHONE, keys_token(store)) == 2
    assert find(store, "mended") == [ids[1]]


def test_restricted_members_get_their_digests_and_erased_ones_keep_none(store: Store) -> None:
    restricted, erased, _ = add(store, 3)
    store.subjects.restrict(restricted, reason="asked")
    store.indexes.rotate(PHONE, keys_token(store))
    old = column(store)[restricted]
    store.subjects.erase(erased, reason="asked")
    assert store.indexes.backfill(PHONE, index_token(store)).failed == 0
    assert column(store)[restricted] != old
    store.indexes.finish(PHONE, keys_token(store))
    store.subjects.lift(restricted, reason="settled")
    assert find(store, "phone-0") == [restricted]
    assert find(store, "phone-1") == []


def test_what_began_is_gone_on_with(store: Store) -> None:
    add(store, 1)
    token = keys_token(store)
    opened = store.parts.opened(token)
    # The key service has a new version, and then the process was killed: it is taken up.
    assert opened.ask(lambda service: service.rotate(PHONE, "index")) == 2
    assert store.indexes.rotate(PHONE, token) == 2
    assert store.indexes.rotate(PHONE, token) == 2
    store.indexes.backfill(PHONE, index_token(store))
    retire = store.parts.ledger.finish_index(opened.claims, PHONE)
    assert retire.code is None  # killed before the key service forgot the old one
    assert len(find(store, "phone-0")) == 1
    assert store.indexes.finish(PHONE, token) == 2
    assert opened.ask(lambda service: service.versions(PHONE, "index")).kept == 2


def test_two_workers_share_a_backfill(store: Store) -> None:
    add(store, 30)
    store.indexes.rotate(PHONE, keys_token(store))
    summary = store.indexes.backfill(PHONE, index_token(store), workers=2)
    assert (summary.done, summary.failed) == (30, 0)
    store.indexes.finish(PHONE, keys_token(store))
    assert all(len(find(store, f"phone-{n}")) == 1 for n in range(30))


def test_tags_of_values_that_nobody_keeps_count_under_both_versions_for_good(store: Store) -> None:
    index = "people.lost"
    with store.session(store.issue(CLERK, "desk")) as session:
        [[before]] = session.tags(Person.lost, ["13800000000"])
    store.indexes.rotate(index, keys_token(store))
    with store.session(store.issue(CLERK, "desk")) as session:
        [[new, former]] = session.tags(Person.lost, ["13800000000"])
    assert former == before != new
    for step in (store.indexes.backfill, store.indexes.finish):
        with pytest.raises(UnsupportedOperation, match="keeps every version"):
            step(index, keys_token(store))
    with pytest.raises(UnsupportedOperation, match="kept for good"):
        store.indexes.rotate(index, keys_token(store))


# ---------------------------------------------------------------------------------------------------- attacks


def test_an_old_copy_of_the_column_can_not_be_compared_with_anything_afterwards(store: Store) -> None:
    add(store, 1)
    copied = column(store)
    rotated(store)
    token = store.issue(CLERK, "desk")
    opened = store.parts.opened(token)
    with pytest.raises(KeyServiceRefused):
        opened.ask(lambda service: service.hmac(PHONE, [b"phone-0"], version=1))
    [digest] = opened.ask(lambda service: service.hmac(PHONE, [b"phone-0"], version=2))
    assert digest not in copied.values()


def test_a_login_without_the_right_computes_no_digest_of_any_version(store: Store) -> None:
    store.indexes.rotate(PHONE, keys_token(store))
    for token in (store.issue(SELLER, "sales"), keys_token(store)):
        opened = store.parts.opened(token)
        for version in (1, 2):
            with pytest.raises(KeyServiceRefused):
                opened.ask(lambda service: service.hmac(PHONE, [b"phone-0"], version=version))  # noqa: B023


def test_nobody_rotates_or_retires_who_may_not_keep_keys(store: Store) -> None:
    add(store, 1)
    for token in (store.issue(CLERK, "desk"), index_token(store)):
        for method in (store.indexes.rotate, store.indexes.finish):
            with pytest.raises(AccessDenied) as caught:
                method(PHONE, token)
            assert caught.value.reason == "not.granted"
        opened = store.parts.opened(token)
        for ask in (lambda s: s.rotate(PHONE, "index"), lambda s: s.retire(PHONE, 1, "index")):
            with pytest.raises(KeyServiceRefused):
                opened.ask(ask)
    assert state(store) == (1, None, True)


def test_digests_are_made_anew_for_nobody_without_approvals_or_with_a_narrow_view(store: Store) -> None:
    add(store, 1)
    store.indexes.rotate(PHONE, keys_token(store))
    with pytest.raises(ApprovalMissing):
        store.indexes.backfill(PHONE, index_token(store, approvals=1))
    with pytest.raises(AccessDenied):
        store.indexes.backfill(PHONE, store.issue(FINDER, "finding"))
    with pytest.raises(AccessDenied):
        store.indexes.backfill(PHONE, keys_token(store))
    with pytest.raises(UnsupportedOperation, match="sees_restricted, sees_canaries"):
        store.indexes.backfill(PHONE, store.issue(OPERATOR, "careless"))
    opened = store.parts.opened(store.issue(FINDER, "finding"))
    with pytest.raises(AccessDenied) as caught:
        store.gate.reindex(opened, "Person", "phone", [(uuid.uuid4().bytes, b"13800000000")])
    assert caught.value.reason == "not.granted"


def test_a_name_that_no_index_has_is_refused(store: Store) -> None:
    with pytest.raises(UnsupportedOperation, match=r"people\.phone"):
        store.indexes.rotate("people.phon", keys_token(store))
    with pytest.raises(UnsupportedOperation):
        store.indexes.backfill("people.note", index_token(store))

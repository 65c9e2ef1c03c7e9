"""Projections that are out of date are found and made anew, while others write, and by nobody without the right."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select

from tests.support.masked import (
    OPERATOR,
    Place,
    Release,
    embedded_place,
    in_another_process,
    rebuild_token,
    release,
    standard_place,
)
from vaultstore import Actor, Store, masks
from vaultstore.errors import AccessDenied, ApprovalMissing, BudgetExhausted, UnsupportedOperation
from vaultstore.masks import Mask
from vaultstore.records.entries import vs_entries

OLD = release(masks.keep(last=4))
NEW = release(masks.keep(last=2))
CLERK, SELLER = Actor("c-1", role="clerk"), Actor("s-1", role="seller")


@pytest.fixture(params=["embedded", pytest.param("standard", marks=pytest.mark.integration)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "embedded":
        with embedded_place(tmp_path) as made:
            yield made
    else:
        with standard_place(request.getfixturevalue("openbao"), request.getfixturevalue("pg_database")) as made:
            yield made


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Place]:
    with embedded_place(tmp_path) as made:
        yield made


def fill(store: Store, models: Release, count: int, notes: int = 0) -> list[uuid.UUID]:
    ids = sorted(uuid.uuid4() for _ in range(count))
    with store.begin(store.issue(CLERK, "intake")) as session:
        session.add_all(models.person(id=i, phone=f"1380000{n:04d}" if n % 5 else None) for n, i in enumerate(ids))
        session.flush()
        session.add_all(
            models.note(id=uuid.uuid4(), person_id=ids[n % count], thread=uuid.uuid4(), text=f"text {n}")
            for n in range(notes)
        )
    return ids


def cards(store: Store, models: Release) -> list[str | None]:
    with store.session(store.issue(SELLER, "sales")) as session:
        people = session.scalars(select(models.person).order_by(models.person.id)).all()
        return [None if p.phone is None else str(p.phone) for p in people]


def states(store: Store) -> dict[str, str]:
    return {f"{s.model}.{s.field}": s.state for s in store.projections.status()}


def test_a_changed_mask_is_found_and_made_anew(place: Place) -> None:
    with place.store(OLD) as store:
        fill(store, OLD, 23, notes=4)
        assert states(store) == {"Person.phone": "current", "Note.text": "current"}
    with place.store(NEW) as store:
        before = cards(store, NEW)
        [stale] = [s for s in store.projections.status() if s.state == "stale"]
        assert (stale.recorded, stale.declared) == ("keep(first=0,last=4)", "keep(first=0,last=2)")
        summary = store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert (summary.rows, summary.done, summary.failed) == (23, 23, 0)
        after = cards(store, NEW)
        assert [c and c[-2:] for c in before] == [c and c[-2:] for c in after]
        assert all(c is None or (c.startswith("*") and not c[-4:].isdigit()) for c in after)
        assert states(store) == {"Person.phone": "current", "Note.text": "current"}
        with store.session(store.issue(CLERK, "desk")) as session:
            numbers = {p.phone for p in session.scalars(select(NEW.person))}
        assert len(numbers) == 19  # 18 numbers and None: the source is what it was
        again = store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert (again.job, again.rows) == ("", 0)


def test_keys_with_a_scope_are_kept_apart(place: Place) -> None:
    other = release(masks.keep(last=4), masks.keep(first=2))
    with place.store(OLD) as store:
        fill(store, OLD, 3, notes=20)
    with place.store(other) as store:
        summary = store.projections.rebuild(other.note, "talk", rebuild_token(store), workers=2)
        assert (summary.done, summary.failed) == (20, 0)
        with store.session(store.issue(SELLER, "sales")) as session:
            assert {str(n.text)[:2] for n in session.scalars(select(other.note))} == {"te"}


def test_workers_in_other_processes_open_the_store_themselves(embedded: Place, tmp_path: Path) -> None:
    with embedded.store(OLD) as store:
        fill(store, OLD, 40)
    with embedded.store(NEW) as store:
        opener = partial(in_another_process, str(tmp_path), 2)
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
            summary = store.projections.rebuild(
                "Person", "contact", rebuild_token(store), workers=2, executor=executor, opener=opener
            )
        assert (summary.done, summary.failed, states(store)["Person.phone"]) == (40, 0, "current")
        assert all(c is None or not c[-4:].isdigit() for c in cards(store, NEW))


def test_rows_without_a_mask_are_found(embedded: Place) -> None:
    with embedded.store(OLD) as store:
        fill(store, OLD, 10)
        with store.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE people SET phone_card = NULL")
        [found] = [s for s in store.projections.status() if s.field == "phone"]
        assert (found.state, found.missing) == ("incomplete", 8)
        store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert states(store)["Person.phone"] == "current"
        assert sum(card is not None for card in cards(store, OLD)) == 8


def test_rows_that_were_there_before_anything_was_recorded_are_unknown(embedded: Place) -> None:
    with embedded.store(OLD) as store:
        fill(store, OLD, 5)
        with store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM vs_projections")
        assert states(store) == {"Person.phone": "unknown", "Note.text": "current"}  # there are no notes
        store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert states(store)["Person.phone"] == "current"


class _Raising(Mask):
    """A mask of the application's own that can't take one number."""

    __slots__ = ()
    name = "raising"
    accepts = frozenset({"str"})

    @property
    def fingerprint(self) -> str:
        return "raising()"

    def _apply(self, value: str) -> Any:
        if value.endswith("3"):
            raise ValueError(f"can't mask {value}")
        return "ok"


def test_a_mask_that_raises_is_listed_without_the_value_and_stops_nothing(embedded: Place) -> None:
    broken = release(_Raising())
    with embedded.store(OLD) as store:
        ids = fill(store, OLD, 20)
    with embedded.store(broken) as store:
        summary = store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert {f.key for f in summary.failures} == {ids[3].hex, ids[13].hex}
        assert {f.reason for f in summary.failures} == {"phone: its mask for card raised ValueError"}
        assert (summary.done, summary.failed) == (18, 2)
        [found] = [s for s in store.projections.status() if s.field == "phone"]
        assert (found.state, found.left_out) == ("incomplete", 2)


def test_a_write_in_between_wins(embedded: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaultstore.lifecycle import rebuild

    with embedded.store(OLD) as store:
        ids = fill(store, OLD, 10)
    with embedded.store(NEW) as store:
        prepare, done = rebuild._Bench.prepare, []

        def and_then_somebody_writes(bench: Any, after: str | None, until: str | None) -> Any:
            prepared = prepare(bench, after, until)
            if not done:
                done.append(True)
                with store.begin(store.issue(CLERK, "desk")) as session:
                    session.get(NEW.person, ids[1]).phone = "13900009999"
                    session.get(NEW.person, ids[2]).phone = None
            return prepared

        monkeypatch.setattr(rebuild._Bench, "prepare", and_then_somebody_writes)
        store.projections.rebuild("Person", "contact", rebuild_token(store))
        shown = cards(store, NEW)
        assert shown[1] is not None
        assert shown[1].endswith("99")
        assert shown[2] is None


def test_a_spent_limit_stops_the_job_and_it_goes_on_later(embedded: Place) -> None:
    with embedded.store(OLD) as store:
        fill(store, OLD, 12)
    with embedded.store(NEW) as store:
        token = store.issue(OPERATOR, "tight")
        with pytest.raises(BudgetExhausted):
            store.projections.rebuild("Person", "contact", token)
        assert states(store)["Person.phone"] == "stale"
        [job] = store.jobs.latest()
        assert job.finished_at is None
        assert 0 < job.done < 12
        summary = store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert (summary.resumed, summary.done, summary.failed) == (True, 12, 0)
        assert states(store)["Person.phone"] == "current"


def test_what_was_erased_is_no_failure(embedded: Place) -> None:
    with embedded.store(OLD) as store:
        ids = fill(store, OLD, 9)
        store.subjects.erase(ids[1], reason="asked for")
    with embedded.store(NEW) as store:
        summary = store.projections.rebuild("Person", "contact", rebuild_token(store))
        assert (summary.failed, states(store)["Person.phone"]) == (0, "current")


def test_a_restricted_member_is_left_out_and_that_is_told(embedded: Place) -> None:
    with embedded.store(OLD) as store:
        ids = fill(store, OLD, 9)
        store.subjects.restrict(ids[1], reason="asked for")
    with embedded.store(NEW) as store:
        store.projections.rebuild("Person", "contact", rebuild_token(store))
        [found] = [s for s in store.projections.status() if s.field == "phone"]
        assert (found.state, found.left_out) == ("incomplete", 1)


@pytest.mark.parametrize(
    ("actor", "purpose"), [(SELLER, "sales"), (CLERK, "intake"), (Actor("au-9", role="auditor"), "review")]
)
def test_a_purpose_that_can_not_open_the_source_makes_no_masks(place: Place, actor: Actor, purpose: str) -> None:
    with place.store(OLD) as store:
        fill(store, OLD, 3)
    with place.store(NEW) as store:
        before = cards(store, NEW)
        with pytest.raises(AccessDenied, match=f"{purpose} does not") as refused:
            store.projections.rebuild("Person", "contact", store.issue(actor, purpose))
        assert refused.value.reason == "not.granted"
        assert cards(store, NEW) == before
        assert states(store)["Person.phone"] == "stale"
        with store.parts.gate_engine.connect() as connection:
            leaves = connection.scalars(sa.select(vs_entries.c.leaf)).all()
        assert any('"outcome":"refused:not.granted"' in leaf and f'"purpose":"{purpose}"' in leaf for leaf in leaves)


def test_one_approval_is_not_two(place: Place) -> None:
    with place.store(OLD) as store:
        fill(store, OLD, 3)
    with place.store(NEW) as store:
        with pytest.raises(ApprovalMissing):
            store.projections.rebuild("Person", "contact", rebuild_token(store, approvals=1))
        assert states(store)["Person.phone"] == "stale"


def test_what_can_not_be_rebuilt_is_said(embedded: Place) -> None:
    with embedded.store(OLD) as store:
        token = rebuild_token(store)
        with pytest.raises(UnsupportedOperation, match=r"card is a projection: name the category .* contact"):
            store.projections.rebuild("Person", "card", token)
        with pytest.raises(UnsupportedOperation, match="Person has no projections of talk; of these it has: contact"):
            store.projections.rebuild("Person", "talk", token)
        with pytest.raises(UnsupportedOperation, match="there is no model Persons"):
            store.projections.rebuild("Persons", "contact", token)
        with (
            ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
            pytest.raises(UnsupportedOperation, match="opener"),
        ):
            store.projections.rebuild("Person", "contact", token, executor=executor)

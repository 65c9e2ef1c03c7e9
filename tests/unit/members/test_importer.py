from __future__ import annotations

import io
import os
import random
import signal
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests.support.members import DATA, CountedKeys, contents, counts
from vaultstore import LocalKeys, Policy, Store
from vaultstore.errors import KeyServiceUnavailable
from vaultstore.members import Base, importer
from vaultstore.members.csvfile import Record, records
from vaultstore.members.generate import as_csv, town
from vaultstore.members.importer import Importer
from vaultstore.members.kinds import Row, WrongFile, kinds, match
from vaultstore.members.report import ImportReport
from vaultstore.members.writers import Views

FILES = ("members", "chats", "views")


def import_all(store: Store, *, chunk: int = 500) -> list[ImportReport]:
    tool = Importer(store, chunk=chunk)
    return [tool.file(DATA / f"{name}.csv") for name in FILES]


def put(store: Store, rows: Sequence[dict[str, str]], **options: Any) -> ImportReport:
    return Importer(store, **options).stream(io.BytesIO(as_csv(rows)), "rows.csv")


def test_what_was_imported_is_read_back_value_by_value(store: Store) -> None:
    reports = import_all(store)
    assert [(r.read, r.written, r.already, r.refused) for r in reports] == [(60, 60, 0, [])] * 3
    found = records(io.BytesIO((DATA / "members.csv").read_bytes()))
    first = next(found)
    assert isinstance(first, Record)
    header = match(first, kinds(datetime.now(UTC).date()).values())
    rows = [row.values for item in found if isinstance(item, Record) and isinstance(row := header.row(item), Row)]
    stored = {row[0]: row for row in contents(store)["Member"]}
    for row in rows:
        wanted = dict(row)
        del wanted["consent_matchmaking"]
        got = stored[wanted["member_id"]]
        names = ("member_id", "nickname", "gender", "city", "store", "grade", "last_login", "real_name", "id_number")
        assert got[: len(names)] == tuple(wanted.pop(name) for name in names)
        assert got[len(names) :] == tuple(wanted.values())
    assert any(row["monthly_income"] == Decimal(0) for row in rows)
    assert sum(row["consent_matchmaking"] is not None for row in rows) == reports[0].consents


def test_a_second_run_finds_everything_there_and_doubles_nothing(store: Store) -> None:
    import_all(store)
    before = contents(store)
    assert [(r.written, r.already, r.consents) for r in import_all(store, chunk=7)] == [(0, 60, 0)] * 3
    assert contents(store) == before


def test_a_consent_that_was_withdrawn_stays_withdrawn(store: Store) -> None:
    people = town(3).members
    people[0]["consent_matchmaking"] = "2021-11-02"
    put(store, people)
    member = uuid.UUID(people[0]["member_id"])
    assert store.consents.withdraw(member, "matchmaking") == 1
    assert put(store, people).consents == 0
    [given] = store.consents.history(member)
    assert given.withdrawn_at is not None
    assert given.granted_at == datetime(2021, 11, 1, 16, tzinfo=UTC)


def test_consents_that_a_kill_has_cost_are_made_up_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    people = town(20).members
    with monkeypatch.context() as patch:
        patch.setattr(type(store.consents), "take_over", lambda *args, **kw: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            put(store, people)
    assert counts(store)["consents"] == 0
    report = put(store, people)
    assert (report.written, report.already) == (0, 20)
    assert report.consents == counts(store)["consents"] == sum(bool(p["consent_matchmaking"]) for p in people)


def test_messages_need_members_and_a_stranger_costs_one_line(store: Store) -> None:
    made = town(10)
    nobody = put(store, made.chats)
    assert nobody.nothing_read
    assert {(r.column, r.reason) for r in nobody.refused} == {
        ("sender_id", "is not a member of this store, or their data rests")
    }
    put(store, made.members)
    made.chats[3]["recipient_id"] = str(uuid.uuid4())
    report = put(store, made.chats)
    assert report.written == len(made.chats) - 1
    assert [(r.line, r.column) for r in report.refused] == [(5, "recipient_id")]


def test_the_first_of_two_lines_with_one_key_wins(store: Store) -> None:
    people = town(3).members
    again = {**people[0], "nickname": "second"}
    bad_first = {**people[2], "phone": "none"}
    report = put(store, [people[0], bad_first, again, people[2]])
    assert [(r.line, r.column, r.reason.partition(":")[0]) for r in sorted(report.refused)] == [
        (3, "phone", "is not a phone number"),
        (4, "", "repeats an earlier line of this file"),
    ]
    assert {row[1] for row in contents(store)["Member"]} == {
        people[0]["nickname"].strip(),
        people[2]["nickname"].strip(),
    }


@pytest.mark.parametrize("state", ["erased", "restricted"])
def test_a_subject_that_may_not_be_written_costs_its_own_lines(store: Store, state: str) -> None:
    made = town(10)
    put(store, made.members)
    gone = made.chats[0]["sender_id"]
    change = store.subjects.erase if state == "erased" else store.subjects.restrict
    change(uuid.UUID(gone), reason="test")
    report = put(store, made.chats)
    sent = [(n, "sender_id") for n, chat in enumerate(made.chats, start=2) if chat["sender_id"] == gone]
    got = [(n, "recipient_id") for n, chat in enumerate(made.chats, start=2) if chat["recipient_id"] == gone]
    assert sent
    # A restricted member is in no list, this one included; an erased one's row is there, and takes nothing.
    why = {"erased": "was refused: subject.erased", "restricted": "is not a member of this store, or their data rests"}
    refused = sorted(sent if state == "erased" else sent + got)
    assert [(r.line, r.column, r.reason) for r in sorted(report.refused)] == [(*place, why[state]) for place in refused]
    assert report.written == len(made.chats) - len(refused)


def test_an_erased_member_does_not_come_back_with_the_next_run(store: Store) -> None:
    people = town(4).members
    put(store, people)
    store.subjects.erase(uuid.UUID(people[0]["member_id"]), reason="account deleted")
    assert put(store, people).written == 0


@pytest.mark.parametrize("kind", FILES)
def test_a_chunk_costs_the_same_requests_and_statements_whatever_its_size(
    store: Store, keys: CountedKeys, kind: str
) -> None:
    made = town(60, chats=60, views=60)
    put(store, made.members)
    rows = {"members": town(60, seed=9).members, "chats": made.chats, "views": made.views}[kind]
    # One chunk at a time under one token: a second one would differ by what the first has cached.
    spent = []
    for piece in (rows[:10], rows[10:]):
        keys.requests.clear()
        statements: list[str] = []
        event.listen(
            store.engine, "before_cursor_execute", lambda c, cur, sql, *rest, seen=statements: seen.append(sql)
        )
        assert put(store, piece).written == len(piece)
        spent.append((dict(keys.requests), len(statements)))
    assert spent[0][0] == spent[1][0]
    assert max(spent[0][0].values()) == 1 or (kind == "views" and spent[0][0]["hmac profile_views.event"] == 2)
    assert spent[1][1] <= spent[0][1] + 2


def test_tokens_are_made_anew_before_they_run_out(tmp_path: Path, policy: Policy) -> None:
    now = datetime.now(UTC)

    def clock() -> datetime:
        return now

    url, keys = f"sqlite:///{tmp_path / 'members.db'}", LocalKeys.memory(clock=clock)

    def progress(behind: int, report: ImportReport) -> None:
        nonlocal now
        now += timedelta(minutes=50)

    people = as_csv(town(40).members)
    with Store.open(url, keys=keys, policy=policy, models=Base, clock=clock) as store:
        store.create_all()
        report = Importer(store, chunk=5, clock=clock).stream(io.BytesIO(people), "members.csv", progress=progress)
    assert (report.written, report.refused) == (40, [])


def test_rows_that_somebody_else_writes_in_between_are_found_there(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = town(10)
    put(store, made.members)
    sift = Views.sift
    raced: list[int] = []

    def slow(self: Views, session: Any, rows: Any) -> Any:
        sifted = sift(self, session, rows)
        if not raced:
            raced.append(1)
            session.rollback()
            put(store, made.views[:5])
        return sifted

    monkeypatch.setattr(Views, "sift", slow)
    report = put(store, made.views)
    assert (report.written, report.already) == (len(made.views) - 5, 5)
    assert counts(store)["ProfileView"] == len(made.views)


def test_a_key_service_that_fails_ends_the_run_and_the_next_goes_on(store: Store, keys: CountedKeys) -> None:
    people = town(30).members
    data = as_csv(people)

    def progress(behind: int, report: ImportReport) -> None:
        if report.written == 20:
            keys.fail_at = "wrap contact"

    with pytest.raises(KeyServiceUnavailable):
        Importer(store, chunk=10).stream(io.BytesIO(data), "members.csv", progress=progress)
    keys.fail_at = None
    assert counts(store)["Member"] == 20
    report = Importer(store, chunk=7).stream(io.BytesIO(data), "members.csv")
    assert (report.written, report.already, report.refused) == (10, 20, [])


def test_progress_reaches_the_end_of_the_file(store: Store) -> None:
    seen: list[tuple[int, int]] = []
    data = as_csv(town(25).members)
    Importer(store, chunk=10).stream(io.BytesIO(data), "m", progress=lambda at, report: seen.append((at, report.read)))
    assert [read for _, read in seen] == [10, 20, 25]
    assert seen[-1][0] == len(data)


@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", None, "the file is empty"),
        (b"\xff\xfe", None, "can be imported"),
        (b"apples,pears\n1,2\n", None, "can be imported"),
        (b"apples,pears\n1,2\n", "views", "viewer_id, viewed_id, viewed_at"),
        (b"viewer_id,viewed_id,viewed_at\n", "likes", "is not a kind of file"),
        (b'"viewer_id,viewed_id,viewed_at\n', None, "line 1, where the header should be"),
        ("viewer_id,viewed_id,viewed_at\n".encode("utf-16"), None, "can be imported"),
    ],
)
def test_a_file_that_is_none_of_ours_is_an_error(store: Store, data: bytes, kind: str | None, reason: str) -> None:
    with pytest.raises(WrongFile, match=reason):
        Importer(store).stream(io.BytesIO(data), "x.csv", kind)


def test_a_file_that_cannot_be_read_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="No such file"):
        Importer(store).file(tmp_path / "none.csv")


@pytest.mark.parametrize("chunk", [0, 5_001])
def test_a_chunk_has_bounds(store: Store, chunk: int) -> None:
    with pytest.raises(ValueError, match="1 to 5,000"):
        Importer(store, chunk=chunk)


def test_a_file_full_of_faults_gives_its_sound_lines_and_names_each_fault(store: Store) -> None:
    report = Importer(store).file(DATA / "members_bad.csv")
    assert (report.read, report.written) == (22, 4)
    assert [(r.line, r.column, r.reason.partition(":")[0]) for r in sorted(report.refused)] == [
        (6, "phone", "is not a phone number"),
        (7, "id_number", "is not a resident identity number"),
        (8, "birth_date", "is not a day of the calendar"),
        (9, "real_name", "is empty"),
        (10, "monthly_income", "is not an amount"),
        (11, "height_cm", "is not a whole number"),
        (12, "member_id", "is not a UUID"),
        (13, "education", "is not one of 高中, 大专, 本科, 硕士, 博士"),
        (14, "email", "is not an e-mail address"),
        (15, "last_login", "is in the future"),
        (16, "nickname", "holds bytes that are not UTF-8"),
        (17, "", "has 23 fields where the header has 22"),
        (18, "", "has 5 fields where the header has 22"),
        (19, "wants", "is longer than 1000 characters"),
        (20, "wants", "holds a control character"),
        (21, "", "repeats an earlier line of this file"),
        (22, "", "a quoted field is not closed properly"),
        (23, "", "is the header once more"),
    ]


# ---- killed -------------------------------------------------------------------------------------------------------


def kill_at(folder: Path, policy: Policy, step: int | None) -> int:
    """Import everything in a child process that kills itself at its nth statement or commit; how many it got to."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.write(writer, str(_imported(folder, policy, step)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if step is None:
        assert status == 0, "the child failed"
        return int(said)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return step


def _imported(folder: Path, policy: Policy, step: int | None) -> int:
    steps = 0

    def count(*args: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(folder, policy) as store:
        for engine in (store.engine, store._gate_engine):
            for name in ("before_cursor_execute", "commit"):
                event.listen(engine, name, count)
        import_all(store, chunk=25)
    return steps


def opened(folder: Path, policy: Policy) -> Store:
    return Store.open(
        f"sqlite:///{folder / 'members.db'}", keys=LocalKeys.open(folder / "keys.json"), policy=policy, models=Base
    )


def killed_and_run_again(tmp_path: Path, policy: Policy, tries: int | None) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    with opened(whole, policy) as store:
        store.create_all()
    steps = kill_at(whole, policy, None)
    with opened(whole, policy) as store:
        wanted = contents(store)
    dice = random.Random(2021)
    points = range(1, steps + 1) if tries is None else sorted(dice.sample(range(1, steps + 1), tries))
    for point in points:
        folder = tmp_path / f"killed-{point}"
        folder.mkdir()
        with opened(folder, policy) as store:
            store.create_all()
        kill_at(folder, policy, point)
        kill_at(folder, policy, None)
        with opened(folder, policy) as store:
            assert contents(store) == wanted, f"killed at step {point} of {steps}"


def test_an_import_that_was_killed_anywhere_is_made_whole_by_the_next(tmp_path: Path, policy: Policy) -> None:
    killed_and_run_again(tmp_path, policy, tries=4)


@pytest.mark.soak
def test_an_import_that_was_killed_everywhere_is_made_whole_by_the_next(tmp_path: Path, policy: Policy) -> None:
    killed_and_run_again(tmp_path, policy, tries=None)


def test_the_importer_names_its_parts() -> None:
    assert set(importer.__all__) == {"Importer", "Progress"}

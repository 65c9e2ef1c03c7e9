from __future__ import annotations

import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from vaultstore.members import kinds
from vaultstore.members.csvfile import Record, records
from vaultstore.members.generate import as_csv, town
from vaultstore.members.kinds import Header, Row, WrongFile, match
from vaultstore.members.report import Refusal

TODAY = date(2022, 1, 1)
DATA = Path(__file__).parents[2] / "data"
KINDS = kinds.kinds(TODAY)


def header_of(line: str) -> Header:
    return match(Record(1, tuple(line.split(","))), KINDS.values())


def cleaned(data: bytes) -> list[Row | Refusal]:
    found = records(io.BytesIO(data))
    first = next(found)
    assert isinstance(first, Record)
    header = match(first, KINDS.values())
    return [header.row(item) if isinstance(item, Record) else item for item in found]


@pytest.mark.parametrize("kind", ["members", "chats", "views"])
def test_the_header_tells_the_kind(kind: str) -> None:
    found = records(io.BytesIO((DATA / f"{kind}.csv").read_bytes()))
    first = next(found)
    assert isinstance(first, Record)
    assert match(first, KINDS.values()).kind.name == kind


def test_columns_may_come_in_any_order_and_case_and_others_are_named_as_ignored() -> None:
    header = header_of(" Viewed_At ,extra,VIEWER_ID,ｖｉｅｗｅｄ_id")
    assert (header.kind.name, header.ignored, header.places) == ("views", ("extra",), (2, 3, 0))


def test_a_misspelt_column_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(
        WrongFile, match=r"file of chats, its header lacks sender_id \(the nearest there is 'sendr_id'\)"
    ):
        header_of("message_id,sendr_id,recipient_id,sent_at,body")


def test_a_file_of_another_sort_is_an_error() -> None:
    with pytest.raises(WrongFile, match="the first line is no header that can be imported"):
        header_of("apples,pears")


def test_a_column_that_comes_twice_is_an_error() -> None:
    with pytest.raises(WrongFile, match="the header has viewer_id twice"):
        header_of("viewer_id,viewed_id,viewed_at,viewer_id")


@pytest.mark.parametrize(("kind", "count"), [("members", 60), ("chats", 60), ("views", 60)])
def test_the_extracts_of_real_files_are_read_to_the_last_row(kind: str, count: int) -> None:
    rows = cleaned((DATA / f"{kind}.csv").read_bytes())
    assert [row for row in rows if isinstance(row, Refusal)] == []
    assert len({row.key for row in rows if isinstance(row, Row)}) == count


def test_a_row_of_members_comes_out_clean() -> None:
    line = (
        "6B0D549B-6F03-475A-9600-A35A099950D8, 小柔👨\u200d👩\u200d👧 ,男,北京,bj-08,欧阳 娜,"
        "11010519491231002x,２１３８１２３４５６７８,"
        "V048845,HAN.MEI@例子.中国,,2000年2月29日,１８３cm,大专,未婚,0,有,,,2021-11-02,a,"
    )
    header = ",".join(column.name for column in KINDS["members"].columns)
    [refused] = cleaned(f"{header}\n{line}\n".encode())
    assert isinstance(refused, Refusal)
    assert (refused.column, refused.reason.partition(":")[0]) == ("phone", "is not a phone number")
    fixed = line.replace("２１３８", "１３８")
    [refused] = cleaned(f"{header}\n{fixed}\n".encode())
    assert refused == Refusal(2, "grade", "is not one of A, B, C, D")
    [row] = cleaned(f"{header}\n{fixed.replace(',a,', ',A,')}\n".encode())
    assert isinstance(row, Row)
    assert row.values["nickname"] == "小柔👨\u200d👩\u200d👧"
    assert row.values["gender"] == "M"
    assert row.values["id_number"] == "11010519491231002X"
    assert row.values["phone"] == "13812345678"
    assert row.values["birth_date"] == date(2000, 2, 29)
    assert row.values["height_cm"] == 183
    assert row.values["monthly_income"] == Decimal(0)
    assert [row.values[name] for name in ("address", "car", "wants", "last_login")] == [None] * 4


def test_a_row_does_not_show_its_values() -> None:
    [row] = cleaned(
        b"viewer_id,viewed_id,viewed_at\n" + b"6b0d549b-6f03-475a-9600-a35a099950d8," * 2 + b"2021-11-02T00:00:00Z"
    )
    assert isinstance(row, Row)
    assert row.values["viewed_at"] == datetime(2021, 11, 2, tzinfo=UTC)
    assert repr(row) == "Row(line=2)"


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("a,b", "", "has 2 fields where the header has 3"),
        ("1,2,3,4", "", "has 4 fields where the header has 3"),
        ("viewer_id,Viewed_ID,viewed_at", "", "is the header once more"),
        (",6b0d549b-6f03-475a-9600-a35a099950d8,2021-11-02T00:00:00Z", "viewer_id", "is empty"),
        ("x,6b0d549b-6f03-475a-9600-a35a099950d8,2021-11-02T00:00:00Z", "viewer_id", "is not a UUID"),
        ("{0},{0},2021-11-02T00:00:00", "viewed_at", "has no UTC offset"),
    ],
)  # fmt: skip
def test_a_line_at_fault_is_refused_with_column_and_reason(line: str, column: str, reason: str) -> None:
    line = line.replace("{0}", "6b0d549b-6f03-475a-9600-a35a099950d8")
    assert cleaned(f"viewer_id,viewed_id,viewed_at\n{line}\n".encode()) == [Refusal(2, column, reason)]


def test_bytes_that_are_not_utf_8_name_their_column() -> None:
    header = ",".join(column.name for column in KINDS["chats"].columns)
    ident = "6b0d549b-6f03-475a-9600-a35a099950d8"
    line = f"{ident},{ident},{ident},2021-11-02T00:00:00Z,".encode() + "你好".encode("gb18030")
    assert cleaned(header.encode() + b"\n" + line) == [Refusal(2, "body", "holds bytes that are not UTF-8")]


def test_every_generated_row_is_fit_to_be_stored() -> None:
    made = town(300, seed=5)
    for rows in (made.members, made.chats, made.views):
        found = cleaned(as_csv(rows, bom=True))
        assert len(found) == len(rows)
        assert [item for item in found if isinstance(item, Refusal)] == []


def test_the_same_seed_gives_the_same_people_and_they_differ_from_each_other() -> None:
    assert as_csv(town(50, seed=1).members) == as_csv(town(50, seed=1).members)
    assert as_csv(town(50, seed=1).members) != as_csv(town(50, seed=2).members)
    rows = [row for row in cleaned(as_csv(town(2000).members)) if isinstance(row, Row)]
    for column in ("member_id", "phone"):
        assert len({row.values[column] for row in rows}) == 2000
    numbers = [row.values["id_number"] for row in rows if row.values["id_number"]]
    assert len(numbers) == len(set(numbers))

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.members.csvfile import MAX_LINE, MAX_LINES_A_RECORD, Record, records
from vaultstore.members.report import Refusal


def read(data: bytes) -> list[tuple[int, tuple[str, ...]] | tuple[int, str]]:
    return [
        (item.line, item.cells) if isinstance(item, Record) else (item.line, item.reason)
        for item in records(io.BytesIO(data))
    ]


def test_a_byte_order_mark_at_the_start_of_a_line_is_dropped() -> None:
    assert read("\ufeffa,b\r\n\ufeff1,2\r\n".encode()) == [(1, ("a", "b")), (2, ("1", "2"))]


def test_lines_may_end_in_lf_or_crlf_and_the_last_in_nothing() -> None:
    assert read(b"a,b\r\n1,2\n3,4") == [(1, ("a", "b")), (2, ("1", "2")), (3, ("3", "4"))]


def test_blank_lines_are_passed_over_and_counted() -> None:
    assert read(b"a,b\n\n ,\t,\n1,2\n") == [(1, ("a", "b")), (4, ("1", "2"))]


def test_a_record_may_hold_quoted_line_breaks_and_the_next_keeps_its_number() -> None:
    data = '"号""一"",\r\n二楼",x\r\ny,z\r\n'.encode()
    assert read(data) == [(1, ('号"一",\n二楼', "x")), (3, ("y", "z"))]


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    data = b'a,b\n"open,1\n2,3\n4,"5"\n'
    assert read(data) == [
        (1, ("a", "b")),
        (2, "a quoted field is not closed properly"),
        (3, ("2", "3")),
        (4, ("4", "5")),
    ]


def test_a_quote_that_closes_far_below_costs_its_own_line_only() -> None:
    data = b'"open\n' + b"x,y\n" * (MAX_LINES_A_RECORD + 5) + b'z"\n'
    found = read(data)
    assert found[0] == (1, "a quoted field is not closed properly")
    assert found[1:-1] == [(n, ("x", "y")) for n in range(2, MAX_LINES_A_RECORD + 7)]
    assert found[-1] == (MAX_LINES_A_RECORD + 7, ('z"',))


def test_text_after_a_closing_quote_is_refused() -> None:
    assert read(b'"a"b,c\nd,e\n') == [(1, "a quoted field is not closed properly"), (2, ("d", "e"))]


def test_a_quote_inside_an_unquoted_field_is_a_character() -> None:
    assert read(b'a"b,c\n') == [(1, ('a"b', "c"))]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_that_is_too_long_is_refused_and_skipped(end: bytes) -> None:
    data = b"a,b\n" + b"x" * (3 * MAX_LINE) + b"\n1,2" + end
    assert read(data) == [(1, ("a", "b")), (2, f"the line is longer than {MAX_LINE} bytes"), (3, ("1", "2"))]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_of_the_greatest_length_is_read(end: bytes) -> None:
    assert read(b"x" * MAX_LINE + end) == [(1, ("x" * MAX_LINE,))]
    assert read(b"x" * (MAX_LINE + 1) + end + b"\ny"[: 2 if end else 0])[0] == (
        1,
        f"the line is longer than {MAX_LINE} bytes",
    )


def test_a_too_long_line_inside_an_open_quote_refuses_both_and_goes_on() -> None:
    data = b'"a\n' + b"x" * (MAX_LINE + 9) + b"\n1,2\n"
    assert [item[0] for item in read(data)] == [1, 2, 3]
    assert read(data)[2] == (3, ("1", "2"))


def test_a_bare_carriage_return_is_refused() -> None:
    assert [item[0] for item in read(b"a\rb,c\nd,e\n")] == [1, 2]
    assert read(b"a\rb,c\nd,e\n")[1] == (2, ("d", "e"))


def test_undecodable_bytes_stay_in_their_cell_as_lone_surrogates() -> None:
    [(line, cells)] = read(b"ok,\xff\xfe,\xe5\xbc\xa0\n")
    assert (line, cells) == (1, ("ok", "\udcff\udcfe", "张"))


def test_a_record_does_not_show_its_cells() -> None:
    assert "secret" not in repr(Record(1, ("secret",)))


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00\ufeff"), max_size=8)


@given(st.lists(st.lists(cells, min_size=2, max_size=4), max_size=6))
def test_whatever_the_csv_module_writes_comes_back(table: list[list[str]]) -> None:
    def line(row: list[str]) -> str:
        out = io.StringIO(newline="")
        csv.writer(out).writerow(row)
        return out.getvalue()

    wanted = [tuple(row) for row in table if line(row).strip(", \t\r\n")]  # a line of commas and blanks is no row
    written = "".join(map(line, table)).encode()
    assert [i.cells for i in records(io.BytesIO(written)) if isinstance(i, Record)] == wanted


@given(st.binary(max_size=400))
def test_any_bytes_give_records_or_refusals_in_line_order(data: bytes) -> None:
    found = list(records(io.BytesIO(data)))
    lines = [item.line for item in found]
    assert lines == sorted(set(lines))
    assert all(isinstance(item, Record | Refusal) for item in found)


@given(st.lists(st.sampled_from(['"', ",", "a", "\n", '""', '",', ',"', "\r\n"]), max_size=40).map("".join))
def test_quotes_in_any_place_never_lose_a_line_that_has_none(text: str) -> None:
    data = text + "\nsafe,line\n" + "safe,line\n" * MAX_LINES_A_RECORD
    found = [item for item in records(io.BytesIO(data.encode())) if isinstance(item, Record)]
    assert sum(item.cells == ("safe", "line") for item in found) >= 1
    assert found[-1].cells == ("safe", "line")

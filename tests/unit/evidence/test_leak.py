"""A leaked list is read in whatever form it is found, and what can't be read is named by its line alone."""

from __future__ import annotations

import codecs

import pytest

from vaultstore.errors import UnsupportedOperation
from vaultstore.evidence.leak import read_leak

PHONE, OTHER = "+8613812345678", "+8615912345678"
ID = "11010519491231002X"


@pytest.mark.parametrize(
    "written",
    [
        "13812345678",
        "+86 138 1234 5678",
        "+86-138-1234-5678",
        "0086 13812345678",
        "8613812345678",
        "１３８１２３４５６７８",
        "１３８－１２３４－５６７８",
        "138–1234–5678",
        "\u202d13812345678\u202c",
        '"13812345678"',
        "'13812345678",
        "13812345678.0",
        "tel:13812345678",
        "张三 13812345678 上海",
        "17,张三,13812345678,2021-11-02",
        "17;张三;13812345678",
        "17\t张三\t13812345678",
        "17|13812345678|x",
        "13 13812345678",
        "张三，13812345678；",
        "(138) 1234-5678",
    ],
)
def test_a_phone_number_is_read_however_it_was_written(written: str) -> None:
    leak = read_leak(f"{written}\n".encode())
    assert (leak.phones, leak.ids, leak.unreadable) == (frozenset({PHONE}), frozenset(), ())


@pytest.mark.parametrize("written", [ID, ID.lower(), "110105 19491231 002X", "１１０１０５１９４９１２３１００２Ｘ"])
def test_an_id_number_is_read_and_is_no_phone_number(written: str) -> None:
    leak = read_leak(f"张三,{written}\n".encode())
    assert (leak.phones, leak.ids, leak.unreadable) == (frozenset(), frozenset({ID}), ())


def test_a_line_may_hold_both() -> None:
    leak = read_leak(f"{ID} 13812345678\n".encode())
    assert (leak.phones, leak.ids, leak.lines) == (frozenset({PHONE}), frozenset({ID}), 1)


def test_a_landline_is_read() -> None:
    assert read_leak(b"021-12345678\n").phones == {"+862112345678"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_do_not_matter(encoding: str, end: str) -> None:
    text = end.join(["姓名,手机号", "张三,13812345678", "李四,不详", "", "王五,15912345678"])
    leak = read_leak(text.encode(encoding))
    assert (leak.phones, leak.lines, leak.unreadable) == (frozenset({PHONE, OTHER}), 2, (3,))


def test_a_big_endian_file_is_read_too() -> None:
    assert read_leak(codecs.BOM_UTF16_BE + "13812345678\n".encode("utf-16-be")).phones == {PHONE}


def test_a_file_without_a_header_loses_no_line() -> None:
    assert read_leak(b"13812345678\n15912345678").phones == {PHONE, OTHER}


@pytest.mark.parametrize("bad", ["12345", "1.38123E+10", "23812345678", "138123456789012345678", "110105194912310021"])
def test_a_line_without_a_number_is_named(bad: str) -> None:
    leak = read_leak(f"13812345678\n{bad}\n".encode())
    assert (leak.phones, leak.unreadable) == (frozenset({PHONE}), (2,))


def test_a_line_that_looks_like_a_header_is_one_only_at_the_start() -> None:
    assert read_leak("手机\n13812345678\n没有\n".encode()).unreadable == (3,)


def test_a_repr_shows_no_number() -> None:
    assert "138" not in repr(read_leak(b"13812345678\n"))


@pytest.mark.parametrize("raw", [b"PK\x03\x04\x00\x00\x00", b"\xff\x81\xff\xff"])
def test_what_is_no_text_is_refused(raw: bytes) -> None:
    with pytest.raises(UnsupportedOperation, match="save it as CSV"):
        read_leak(raw)


def test_an_empty_file_holds_nothing() -> None:
    leak = read_leak(b"")
    assert (leak.phones, leak.ids, leak.lines, leak.unreadable) == (frozenset(), frozenset(), 0, ())

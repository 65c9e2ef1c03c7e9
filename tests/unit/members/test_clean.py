from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.members import clean

TODAY = date(2021, 12, 31)


@pytest.mark.parametrize(
    "written",
    [
        "13812345678",
        "138 1234 5678",
        "138-1234-5678",
        "+86 13812345678",
        "+8613812345678",
        "8613812345678",
        "0086-138-1234-5678",
        "0086 138 1234 5678",
        "１３８１２３４５６７８",
        "＋８６ １３８１２３４５６７８",
        " 13812345678\t",
        "\ufeff13812345678\u200b",
        "(+86) 138.1234.5678",
    ],
)
def test_a_phone_is_stored_in_one_form_however_it_is_written(written: str) -> None:
    assert clean.phone(written) == "13812345678"


@pytest.mark.parametrize(
    "written", ["1381234567", "138123456789", "23812345678", "phone", "12345", "138x2345678", "+86"]
)
def test_what_is_no_phone_is_refused(written: str) -> None:
    with pytest.raises(clean.Unclean, match="is not a phone number"):
        clean.phone(written)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("11010519491231002X", "11010519491231002X"),
        ("11010519491231002x", "11010519491231002X"),
        ("１１０１０５１９４９１２３１００２Ｘ", "11010519491231002X"),
        (" 440524188001010014\t", "440524188001010014"),
        ("", ""),
    ],
)
def test_a_resident_number_is_stored_in_one_form(written: str, stored: str) -> None:
    assert clean.resident_id(written) == stored


@pytest.mark.parametrize("written", ["110105194912310021", "11010519490231002X", "123", "11010519491231002Y"])
def test_a_resident_number_with_a_wrong_check_character_or_date_is_refused(written: str) -> None:
    with pytest.raises(clean.Unclean, match="is not a resident identity number"):
        clean.resident_id(written)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("欧阳 娜娜", "欧阳 娜娜"),
        (" 古丽娜尔·阿不都热合曼\u3000", "古丽娜尔·阿不都热合曼"),
        ("Jean-Luc  O'Brien", "Jean-Luc O'Brien"),
        ("Алексей Иванов", "Алексей Иванов"),
        ("Jose\u0301 N\u0303un\u0303ez", "José Ñuñez"),
        ("张𬭎", "张𬭎"),
        ("", ""),
    ],
)
def test_names_of_every_script_are_kept(written: str, stored: str) -> None:
    assert clean.name(written) == stored


@pytest.mark.parametrize("written", ["···", "12345", "张3"])
def test_what_has_no_letter_or_has_a_digit_is_no_name(written: str) -> None:
    with pytest.raises(clean.Unclean, match="is not a name"):
        clean.name(written)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("2000-02-29", date(2000, 2, 29)),
        ("2000/2/29", date(2000, 2, 29)),
        ("2000.02.29", date(2000, 2, 29)),
        ("20000229", date(2000, 2, 29)),
        ("2000年2月29日", date(2000, 2, 29)),
        ("２０００－０２－２９", date(2000, 2, 29)),
        (" 1973-07-14\t", date(1973, 7, 14)),
        ("", None),
    ],
)
def test_a_day_may_be_written_in_the_usual_ways(written: str, stored: date | None) -> None:
    assert clean.day(written, latest=TODAY) == stored


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("1999-02-29", "is not a day of the calendar"),
        ("2000-13-01", "is not a day of the calendar"),
        ("0000-01-01", "is not a day of the calendar"),
        ("1899-12-31", "is before 1900"),
        ("2022-01-01", "is in the future"),
        ("99-01-01", "is not a date"),
        ("2000-02/29", "is not a date"),
        ("yesterday", "is not a date"),
        ("2000-02-29T00:00", "is not a date"),
        ("١٩٩٠-٠١-٠١", "is not a date"),
    ],
)
def test_what_is_no_day_is_refused_with_its_reason(written: str, reason: str) -> None:
    with pytest.raises(clean.Unclean) as caught:
        clean.day(written, latest=TODAY)
    assert caught.value.reason == reason


def test_a_moment_is_kept_in_utc_and_needs_its_offset() -> None:
    assert clean.moment("2021-11-30T07:11:06+08:00") == datetime(2021, 11, 29, 23, 11, 6, tzinfo=UTC)
    assert clean.moment("2021-11-30T07:11:06Z") == datetime(2021, 11, 30, 7, 11, 6, tzinfo=UTC)
    assert clean.moment("") is None
    with pytest.raises(clean.Unclean, match="has no UTC offset"):
        clean.moment("2021-11-30T07:11:06")


@pytest.mark.parametrize(
    "written", ["now", "2021-11-31T00:00:00Z", "0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00"]
)
def test_what_is_no_moment_is_refused(written: str) -> None:
    with pytest.raises(clean.Unclean):
        clean.moment(written)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("0", Decimal(0)),
        ("123456.78", Decimal("123456.78")),
        ("12,000", Decimal(12000)),
        ("¥８０００", Decimal(8000)),
        ("", None),
    ],
)
def test_zero_is_an_amount_and_empty_is_none(written: str, stored: Decimal | None) -> None:
    assert clean.decimal(written) == stored
    assert (clean.decimal(written) is None) == (stored is None)


@pytest.mark.parametrize("written", ["-1", "NaN", "Infinity", "1e5", "12,34", "1.234", "1_000", "八千", "9" * 13])
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(clean.Unclean, match="is not an amount"):
        clean.decimal(written)


def test_a_whole_number_is_bounded_and_may_carry_its_unit() -> None:
    height = clean.integer(50, 250, unit="cm")
    assert [height(cell) for cell in ("183", " １８３ ", "183cm", "183 CM", "")] == [183, 183, 183, 183, None]
    for bad in ("49", "251", "1.83", "-183", "cm", "²", "9" * 30):
        with pytest.raises(clean.Unclean):
            height(bad)


def test_an_identifier_is_a_uuid_but_not_the_nil_one() -> None:
    known = uuid.uuid4()
    for written in (str(known), str(known).upper(), known.hex, f" {known}\t"):
        assert clean.identifier(written) == known
    for bad in ("1", "{" + str(known) + "}", str(uuid.UUID(int=0)), "urn:uuid:" + str(known)):
        with pytest.raises(clean.Unclean):
            clean.identifier(bad)


def test_one_of_takes_its_words_and_other_spellings_of_them() -> None:
    gender = clean.one_of("M", "F", 男="M", 女="F")
    assert [gender(cell) for cell in ("M", " F ", "Ｆ", "男", "女", "")] == ["M", "F", "F", "M", "F", ""]
    with pytest.raises(clean.Unclean, match="is not one of M, F"):
        gender("x")


def test_an_address_of_e_mail_is_kept_as_its_owner_writes_it() -> None:
    assert clean.email(" HAN.MEI@例子.中国\t") == "HAN.MEI@例子.中国"
    assert clean.email("") == ""
    for bad in ("nobody", "a@", "@b.cn", "a b@c.cn"):
        with pytest.raises(clean.Unclean, match="is not an e-mail address"):
            clean.email(bad)


def test_joiners_inside_an_emoji_stay_and_marks_at_the_edges_go() -> None:
    family = "小兰👨\u200d👩\u200d👧"
    assert clean.text(f"\ufeff {family}\u200b", longest=100) == family


def test_text_of_one_line_refuses_line_breaks_and_prose_keeps_them() -> None:
    with pytest.raises(clean.Unclean, match="control character"):
        clean.text("a\nb", longest=10)
    assert clean.prose(10)("a\nb") == "a\nb"
    for bad in ("a\x00b", "a\x1bb", "a\x85b"):
        with pytest.raises(clean.Unclean, match="control character"):
            clean.prose(10)(bad)


def test_what_is_too_long_or_not_utf_8_is_refused() -> None:
    for cell in ("x" * 11, "x" * 10_000):
        with pytest.raises(clean.Unclean, match="is longer than 10 characters"):
            clean.text(cell, longest=10)
    with pytest.raises(clean.Unclean, match="bytes that are not UTF-8"):
        clean.text("a\udcffb", longest=10)


CLEANERS: list[Callable[[str], Any]] = [
    clean.phone,
    clean.resident_id,
    clean.email,
    clean.name,
    clean.identifier,
    clean.decimal,
    clean.moment,
    clean.word,
    clean.prose(50),
    clean.integer(0, 9),
    clean.one_of("a"),
    lambda cell: clean.day(cell, latest=TODAY),
]
odd = st.text(st.characters(exclude_categories=[]), max_size=30) | st.text(
    "0123456789+-/.年月日Xx@ \t１２３", max_size=20
)


@given(odd, st.sampled_from(CLEANERS))
def test_any_text_is_cleaned_or_refused_and_the_reason_does_not_show_it(
    cell: str, cleaner: Callable[[str], Any]
) -> None:
    refused: clean.Unclean | None = None
    try:
        cleaner(cell)
    except clean.Unclean as unclean:
        refused = unclean
    shown = cell.strip()
    assert refused is None or ((len(shown) < 6 or shown not in refused.reason) and refused.__cause__ is None)


@given(odd, st.sampled_from([clean.phone, clean.resident_id, clean.email, clean.name, clean.word]))
def test_cleaning_twice_changes_nothing_more(cell: str, cleaner: Callable[[str], str]) -> None:
    try:
        once = cleaner(cell)
    except clean.Unclean:
        return
    assert cleaner(once) == once

"""Normalisers: equal to a person is equal to the index, and what isn't sure is refused."""

from __future__ import annotations

import pickle
import string
import sys
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import phonenumbers
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from stdnum.cn import ric

from vaultstore import normalize
from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.masks import Masked
from vaultstore.normalize import Normalizer, NotNormalizable

PHONE = normalize.phone_e164(region="CN")
RESIDENT = normalize.resident_id()
TEXT = normalize.text()
EMAIL = normalize.email()
ALL: tuple[Normalizer, ...] = (PHONE, RESIDENT, TEXT, EMAIL, normalize.phone_e164("US"))

ODD = st.text(st.characters()) | st.text("13812345678+-() \t\u202d１٣@.。aZßİſ例Xx\ud800", max_size=30)
MOBILE = st.from_regex(r"1[3-9][0-9]{9}", fullmatch=True)


@pytest.mark.parametrize("normalizer", ALL, ids=lambda n: n.fingerprint)
@given(value=ODD)
@example("İ@x.com")
@example("\u0345a@b.com")
def test_a_normal_form_is_its_own_normal_form(normalizer: Normalizer, value: str) -> None:
    try:
        normal = normalizer(value)
    except NotNormalizable:
        return
    assert normalizer(normal) == normal


@pytest.mark.parametrize("normalizer", ALL, ids=lambda n: n.fingerprint)
@given(value=ODD)
def test_a_refusal_names_the_normaliser_and_never_the_value(normalizer: Normalizer, value: str) -> None:
    value = f"{value}@@\ud800-secret"
    with pytest.raises(NotNormalizable) as caught:
        normalizer(value)
    refusal = caught.value
    assert str(refusal) == f"{normalizer.fingerprint}: {refusal.reason}"
    assert refusal.normalizer == normalizer.fingerprint
    assert "secret" not in repr(refusal)
    assert refusal.__cause__ is None
    assert refusal.__context__ is None or refusal.__suppress_context__


@given(MOBILE, st.sampled_from(["", "+86", "+86 ", "0086", "0086-", "86", "(+86)", "0"]), st.data())
def test_the_spellings_of_a_mobile_number_are_one(number: str, prefix: str, data: st.DataObject) -> None:
    gaps = st.sampled_from(["", "", " ", "-", "\t", "\u2009", "\u200b", ".", "—"])
    spelled = prefix + "".join(digit + data.draw(gaps) for digit in number)
    assert PHONE(spelled) == f"+86{number}"
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isdigit() else char for char in spelled)
    assert PHONE(wide) == f"+86{number}"


@given(st.from_regex(r"(\+86|0)?[1-9][0-9]{6,10}", fullmatch=True))
def test_chinese_numbers_agree_with_phonenumbers(number: str) -> None:
    try:
        ours = PHONE(number)
        parsed = phonenumbers.parse(number, "CN")
    except (NotNormalizable, phonenumbers.NumberParseException):
        return  # we are stricter: service numbers and landlines without an area code are nobody's
    if not phonenumbers.is_valid_number(parsed):
        return
    assert ours == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@given(
    st.sampled_from(["US", "GB", "DE", "JP", "KZ", "IT"]),
    st.from_regex(r"[0-9]{6,11}", fullmatch=True),
)
def test_foreign_numbers_come_out_as_e164(region: str, number: str) -> None:
    try:
        normal = normalize.phone_e164(region)(number)
    except NotNormalizable:
        return
    assert normal.startswith("+")
    assert normal[1:].isdigit()
    assert PHONE(normal) == normal


def test_without_phonenumbers_chinese_numbers_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    assert PHONE("0086-138-1234-5678") == "+8613812345678"
    with pytest.raises(NotNormalizable, match=r"vaultstore\[phone\]"):
        PHONE("+1 202-555-0123")
    with pytest.raises(ModelError, match=r"vaultstore\[phone\]"):
        normalize.phone_e164("US")


BIRTHS = st.dates(date(1900, 1, 1), date(2020, 1, 1))


def resident_id(county: str, birth: date, sequence: int) -> str:
    digits = f"{county}{birth:%Y%m%d}{sequence:03d}"
    return digits + ric.calc_check_digit(digits + "0")


@given(st.sampled_from(["110101", "320102", "330199", "659001", "810000"]), BIRTHS, st.integers(0, 999))
def test_resident_ids_are_checked_as_python_stdnum_does(county: str, birth: date, sequence: int) -> None:
    number = resident_id(county, birth, sequence)
    assert RESIDENT(number) == number
    assert RESIDENT(f" {number[:6]} {number[6:14]}-{number[14:].lower()}\t") == number


@given(BIRTHS, st.integers(0, 999), st.integers(0, 17), st.sampled_from(string.digits + "X"))
def test_one_wrong_character_of_a_resident_id_is_found(birth: date, sequence: int, at: int, char: str) -> None:
    number = resident_id("110101", birth, sequence)
    assume(number[at] != char)
    with pytest.raises(NotNormalizable):
        RESIDENT(number[:at] + char + number[at + 1 :])


@given(BIRTHS, st.integers(0, 999), st.integers(0, 16))
def test_swapped_digits_of_a_resident_id_are_found(birth: date, sequence: int, at: int) -> None:
    number = resident_id("110101", birth, sequence)
    swapped = number[:at] + number[at + 1] + number[at] + number[at + 2 :]
    assume(swapped != number)
    with pytest.raises(NotNormalizable):
        RESIDENT(swapped)


@given(st.dates(date(1900, 1, 1), date(1999, 12, 31)), st.integers(0, 995))
def test_the_old_and_the_new_number_of_a_person_are_one(birth: date, sequence: int) -> None:
    new = resident_id("110101", birth, sequence)
    assert RESIDENT(new[:6] + new[8:17]) == new


def test_a_birth_date_that_never_was_is_refused() -> None:
    for wrong in ("19900230", "19901301", "17991231", "00000101"):
        digits = f"110101{wrong}001"
        with pytest.raises(NotNormalizable, match="birth date"):
            RESIDENT(digits + ric.calc_check_digit(digits + "0"))
    leap = resident_id("110101", date(1988, 2, 28) + timedelta(1), 1)
    assert RESIDENT(leap) == leap


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_case_and_width_do_not_matter_to_text(value: str) -> None:
    normal = TEXT(value)
    assert TEXT(unicodedata.normalize("NFD", value)) == normal
    assert TEXT(f"\t{value} ") == normal
    assert TEXT(value.casefold()) == normal


@pytest.mark.parametrize(
    "make", [normalize.phone_e164, normalize.resident_id, normalize.text, normalize.email, normalize.identity]
)
def test_normalisers_are_values(make: Callable[[], Normalizer]) -> None:
    assert make() == make()
    assert hash(make()) == hash(make())
    assert pickle.loads(pickle.dumps(make())) == make()


@pytest.mark.parametrize("normalizer", [*ALL, normalize.identity()], ids=lambda n: n.fingerprint)
def test_a_masked_value_is_never_looked_for(normalizer: Normalizer) -> None:
    with pytest.raises(NotNormalizable, match="masked"):
        normalizer(Masked.of("138****5678"))


@given(st.integers() | st.text() | st.binary() | st.none())
def test_identity_changes_nothing(value: Any) -> None:
    assert normalize.identity()(value) is value


def test_a_refusal_is_an_unsupported_operation_and_survives_pickling() -> None:
    refusal = NotNormalizable("text()", "why")
    again = pickle.loads(pickle.dumps(refusal))
    assert isinstance(again, UnsupportedOperation)
    assert (again.normalizer, again.reason, str(again)) == ("text()", "why", "text(): why")

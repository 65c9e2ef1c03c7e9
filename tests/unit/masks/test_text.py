"""Text as masks see it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.masks.text import clean, graphemes

ODD = st.text(st.characters()) | st.text(
    "a汉e\u0301\u0308 \t\u200d\u200b\u202e\ufe0f👨👩👧🏽🏴\U000e0067🇨🇳ﷺ㍿Å", max_size=30
)


@given(ODD)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(ODD)
def test_what_could_hide_or_reorder_text_is_gone(text: str) -> None:
    for char in clean(text).replace("\u200d", ""):
        assert unicodedata.category(char) not in ("Cc", "Cf", "Cs")
        assert char == " " or not char.isspace()


@given(ODD)
def test_characters_add_up_to_the_text(text: str) -> None:
    cleaned = clean(text)
    parts = graphemes(cleaned)
    assert all(len(part) <= 16 for part in parts)
    if "*" not in parts:
        assert "".join(parts) == cleaned


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("abc", 3),
        ("e\u0301\u0323", 1),
        ("👨\u200d👩\u200d👧", 1),
        ("👩🏽\u200d🚀", 1),
        ("❤\ufe0f", 1),
        ("🇨🇳🇩🇪", 2),
        ("🇨🇳🇩", 2),
        ("1\ufe0f\u20e3", 1),
        ("한국", 2),
        ("நி", 1),
        ("\u0301a", 2),
        ("🏴\U000e0067\U000e0062\U000e007f", 1),
        ("a\u200db\u200dc", 3),
    ],
)
def test_characters_are_what_a_person_counts(text: str, count: int) -> None:
    assert len(graphemes(clean(text))) == count


def test_piled_up_marks_carry_nothing_out() -> None:
    assert graphemes("a" + "\u0323" * 16) == ["*"]
    assert len(graphemes("a" + "\u0323" * 15)[0]) == 16

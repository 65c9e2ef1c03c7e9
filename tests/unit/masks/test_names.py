"""surname(): what is sure about a name, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore import masks
from vaultstore.masks import HIDDEN
from vaultstore.masks.lexicon import shipped

SURNAME = masks.surname()
DATA = shipped("surnames").data
SINGLE = "".join(DATA["han"])
COMPOUND = " ".join(DATA["compound"]).split()
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂"
OPENINGS = tuple(COMPOUND) + tuple(" ".join(DATA["unnamed"]).split())


@given(st.sampled_from(SINGLE), st.text(GIVEN, min_size=1, max_size=2))
def test_the_given_name_and_its_length_stay_hidden(family: str, given: str) -> None:
    if not (family + given).startswith(OPENINGS):
        assert SURNAME.mask(family + given) == f"{family}**"
        assert SURNAME.mask(f" {family} {given}\t") == f"{family}**"


@given(st.sampled_from(COMPOUND), st.text(GIVEN, min_size=1, max_size=2))
def test_a_compound_surname_is_shown_whole(family: str, given: str) -> None:
    assert SURNAME.mask(family + given) == f"{family}**"


@given(st.text(st.characters(), max_size=30))
def test_a_whole_name_is_never_shown(name: str) -> None:
    shown = SURNAME.mask(name)
    assert isinstance(shown, str)
    if shown != HIDDEN:
        assert shown.endswith("**")
        assert len(shown.removesuffix("**")) < len(name.strip())


WORD = st.from_regex(r"[A-Z][a-z]{1,8}", fullmatch=True)


@given(st.lists(WORD, min_size=2, max_size=4))
def test_of_a_latin_name_one_word_is_shown(words: list[str]) -> None:
    shown = SURNAME.mask(" ".join(words))
    assert shown == HIDDEN or shown in {f"{word}**" for word in words}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("張三豐", "張**"),
        ("司馬遷", "司馬**"),
        ("王先生", "王**"),
        ("欧阳", "欧**"),
        ("爱新觉罗溥仪", "爱新觉罗**"),
        ("安娜·穆勒", "穆勒**"),
        ("阿凡提·买买提·艾力", "艾力**"),
        ("J.K. Rowling", "Rowling**"),
        ("Ludwig van Beethoven", "Beethoven**"),
        ("Martin Luther King Jr.", "King**"),
        ("Mr. John Smith", "Smith**"),
        ("Mary Ann O’Neill", "O'Neill**"),
        ("Anna SCHMIDT", "SCHMIDT**"),
        ("WANG Wei", "WANG**"),
        ("Xiaoming Wang", "Wang**"),
        ("Nguyễn Thị Hà", "Nguyễn**"),
        ("Đỗ Mười", "Đỗ**"),
        ("Марина Иванова", "Иванова**"),
        ("Анна Петровна Ким", "Ким**"),
        ("Олена Шевченко", "Шевченко**"),
        ("남궁민수", "남궁**"),
    ],
)
def test_a_surname_is_found_where_the_name_tells(name: str, shown: str) -> None:
    assert SURNAME.mask(name) == shown


@pytest.mark.parametrize(
    "name",
    [
        "张",
        "欧阳娜娜娜娜",
        "赵钱孙李周",
        "甲乙",
        "古丽娜尔",
        "巴特尔",
        "安·泰勒",
        "买买提·",
        "·艾则孜",
        "Anna",
        "Dr. Anna",
        "Anna M.",
        "Lê Hoàng",
        "Phan Trần",
        "Thị Hoạ",
        "Lin Yang",
        "Lin Anderson",
        "Анна Герман",
        "Алексей Петрович",
        "Müller, Anna, Berlin",
        "call me at 5",
        "Anna_Müller",
        "anna@example.com",
        "王Anna",
        "أحمد محمد",
        "やまだ たろう",
        "佐々木希",
        "A" * 31 + " " + "B" * 31,
        "one two three four five six seven",
        "a " * 500,
        "-Anna -",
    ],
)
def test_a_name_that_is_not_sure_shows_nothing(name: str) -> None:
    assert SURNAME.mask(name) == HIDDEN

"""The files that canaries are planted from, and what is said where they are not right."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultstore.errors import SettingsError
from vaultstore.evidence.canaries import Number, Plot, Post, plan, read_numbers, read_posts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file.csv"


def test_numbers_are_read_with_what_goes_with_them(file: Path) -> None:
    file.write_text("# ours\n138 1234 5678, canary_1\n\n+8615912345678\n", encoding="utf-8-sig")
    assert read_numbers(file) == [Number(2, "+8613812345678", "canary_1"), Number(4, "+8615912345678")]
    assert "138" not in repr(read_numbers(file))


@pytest.mark.parametrize(
    ("text", "said"),
    [("13812345678\n12345\n", "line 2 is no"), ("13812345678\n+86 13812345678\n", "line 2 has the number of line 1")],
)
def test_a_line_of_numbers_that_is_wrong_is_named_without_its_value(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError, match=said) as raised:
        read_numbers(file)
    assert "138" not in str(raised.value)


def test_posts_are_read_once_each(file: Path) -> None:
    file.write_text("u-17,sh-01\nu-18,sh-01\nu-17,sh-01\n")
    assert read_posts(file) == [Post("sh-01", "u-17"), Post("sh-01", "u-18")]


@pytest.mark.parametrize("text", ["u-17\n", "u-17,\n", "u-17,sh-01,x\n"])
def test_a_post_without_actor_or_store_is_named(file: Path, text: str) -> None:
    file.write_text(f"u-16,sh-01\n{text}")
    with pytest.raises(SettingsError, match="line 2"):
        read_posts(file)


def test_every_post_gets_numbers_of_its_own() -> None:
    numbers = [Number(at, f"+86138000000{at:02d}") for at in range(5)]
    posts = [Post("sh-01", "u-17"), Post("sh-01")]
    plots = plan(posts, numbers, 2)
    assert [plot.post for plot in plots] == [posts[0], posts[0], posts[1], posts[1]]
    assert len({plot.number for plot in plots}) == 4
    assert isinstance(plots[0], Plot)


def test_too_few_numbers_are_refused() -> None:
    with pytest.raises(SettingsError, match="3 canaries take as many numbers; there are 1"):
        plan([Post("sh-01")], [Number(1, "+8613812345678")], 3)

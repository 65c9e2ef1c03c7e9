"""Options, terminals and tokens."""

from __future__ import annotations

import io
from datetime import timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.cli.common import DURATION, PAIR, console, duration, printable, read_token


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
    ],
)
def test_durations_are_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert DURATION.convert(text, None, None) == span


@given(st.integers(0, 10**7))
def test_a_duration_is_written_as_it_is_read(seconds: int) -> None:
    span = timedelta(seconds=seconds)
    assert DURATION.convert(duration(span), None, None) == span


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1.5h", "5w", "٥m", "1h30m", "9999999999s"])
def test_other_durations_are_usage_errors(text: str) -> None:
    with pytest.raises(click.UsageError, match="not a duration such as"):
        DURATION.convert(text, None, None)


def test_attributes_are_split_at_the_first_equals_sign() -> None:
    assert PAIR.convert("store=sh=01", None, None) == ("store", "sh=01")
    assert PAIR.convert("store=", None, None) == ("store", "")
    for text in ("store", "=x", ""):
        with pytest.raises(click.UsageError, match="is not NAME=VALUE"):
            PAIR.convert(text, None, None)


@given(st.text())
def test_nothing_printed_can_command_a_terminal(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text).isascii() or not text.isascii()


def test_printable_text_stays_as_it_is() -> None:
    assert printable("上海 Ω é") == "上海 Ω é"
    assert printable("a\x1b[31m\n\u202e\ud800") == "a\\x1b[31m\\n\\u202e\\ud800"


def test_a_token_comes_from_the_option_or_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_token("  a.b.c\n") == "a.b.c"
    monkeypatch.setattr("sys.stdin", io.StringIO("a.b.c\n"))
    assert read_token("-") == "a.b.c"
    for missing in (None, "", " "):
        with pytest.raises(click.UsageError, match="no token"):
            read_token(missing)


def test_output_into_a_pipe_is_neither_coloured_nor_wrapped() -> None:
    made = console()
    assert not made.is_terminal
    assert made.width >= 1000

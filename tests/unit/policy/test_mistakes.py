"""Each mistake a writer can make: the exact place, what is wrong, and the nearest word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from vaultstore.errors import PolicyError
from vaultstore.policy import Policy

from .catalogue import members
from .samples import SMALL, changed


@dataclass(frozen=True)
class Mistake:
    """One block of mistakes.txt."""

    old: str
    new: str
    when: str
    error: str


def mistakes(when: str) -> list[Mistake]:
    """The blocks whose error comes on loading (``load!``) or on binding (``bind!``)."""
    found = []
    for block in Path(__file__).with_name("mistakes.txt").read_text("utf-8").strip().split("\n\n"):
        lines = [line for line in block.split("\n") if not line.startswith("#")]
        if lines:
            old, new = ("\n".join(line[2:] for line in lines if line.startswith(sign)) for sign in ("- ", "+ "))
            found.append(Mistake(old, new, *lines[-1].split(" ", 1)))
    return [mistake for mistake in found if mistake.when == when]


def named(mistake: Mistake) -> str:
    return mistake.error.partition(": ")[2][:60]


@pytest.mark.parametrize("mistake", mistakes("load!"), ids=named)
def test_a_mistake_in_a_file_is_shown_at_its_place(mistake: Mistake) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(changed(mistake.old, mistake.new))
    assert str(caught.value) == f"policy.yaml:{mistake.error}"


@pytest.mark.parametrize("mistake", mistakes("bind!"), ids=named)
def test_a_mistake_about_the_models_is_shown_at_its_place(mistake: Mistake) -> None:
    policy = Policy.parse(changed(mistake.old, mistake.new))
    with pytest.raises(PolicyError) as caught:
        policy.bind(members())
    assert str(caught.value) == f"policy.yaml:{mistake.error}"


def test_every_block_of_mistakes_is_one_of_the_two_kinds() -> None:
    text = Path(__file__).with_name("mistakes.txt").read_text("utf-8")
    assert len(mistakes("load!")) + len(mistakes("bind!")) == text.count("\n\n") >= 70


def test_the_sample_itself_has_no_mistake() -> None:
    report = Policy.parse(SMALL).check(members())
    assert (report.errors, report.tests) == ((), 3)


def test_words_of_the_core_schema_alone_are_not_text() -> None:
    for word in ("NO", "yes", "off", "1_000", "12:30", "2021-11-01", "0b1", "="):
        policy = Policy.parse(changed("numbers stay in", word))
        assert policy.never[0].because == word
    for word in ("null", "~", "true", "FALSE", "10", "0x1f", "0o17", "1.5", ".inf", "-.INF", ".NaN", "1e3"):
        with pytest.raises(PolicyError, match="never, because: expected text, found"):
            Policy.parse(changed("numbers stay in", word))

"""Two processes with warm caches: what one writes down stops the very next disclosure of the other."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.consenting import fill, opened, token
from vaultstore import Store

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, str, Path]]:
    url = f"sqlite:///{tmp_path / 'members.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("pg_database")
    with opened(url, tmp_path) as store:
        store.create_all()
        yield store, url, tmp_path


@contextmanager
def reader(place: tuple[Store, str, Path], purpose: str) -> Iterator[Callable[[uuid.UUID], str]]:
    """A process that holds one session open and reads whom it is asked for."""
    store, url, folder = place
    command = [sys.executable, "-m", "tests.support.consenting", url, str(folder), token(store, purpose)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        def ask(person: uuid.UUID) -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{person}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield ask
        process.stdin.close()
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(("purpose", "shown"), [("sell", "*******0000"), ("dial", "13812340000")])
def test_a_withdrawal_stops_the_very_next_disclosure_of_another_process(
    place: tuple[Store, str, Path], purpose: str, shown: str
) -> None:
    store = place[0]
    one, other = fill(store, 2)
    for person in (one, other):
        for kind in ("marketing", "phone_consent"):
            store.consents.grant(person, kind, notice_version="1")
    with reader(place, purpose) as first, reader(place, purpose) as second:
        for ask in (first, second, first, second):  # warm: the second time no key is asked for
            assert ask(one) == shown
        for _ in range(5):
            store.consents.withdraw(one, "marketing")
            assert [ask(one) for ask in (first, second)] == ["consent.missing"] * 2
            assert first(other) != "consent.missing"
            store.consents.grant(one, "marketing", notice_version="2")
            assert first(one) == second(one) == shown
        if purpose == "dial":
            store.consents.withdraw(one, "phone_consent")
            assert [ask(one) for ask in (first, second)] == ["consent.missing"] * 2


def test_so_does_a_restriction(place: tuple[Store, str, Path]) -> None:
    store = place[0]
    [one] = fill(store, 1)
    with reader(place, "care") as ask:
        assert ask(one) == ask(one) == "13812340000"
        store.subjects.restrict(one, reason="asked")
        assert ask(one) == "gone"
        store.subjects.lift(one, reason="came back")
        assert ask(one) == "13812340000"

"""The exposé replayed: no abuse gets through, every promise is kept, and the script can fail."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.support.members import DATA
from vaultstore import errors
from vaultstore.cli import main
from vaultstore.cli.scenario import _embedded
from vaultstore.errors import AccessDenied, SettingsError
from vaultstore.members.scenario import run
from vaultstore.members.scenario.abuses import ABUSES
from vaultstore.members.scenario.play import replay
from vaultstore.members.scenario.promises import PROMISES
from vaultstore.members.scenario.scene import Scene, read_town, set_scene
from vaultstore.members.scenario.tries import Abuse, GotThrough, Promise, Try, attempt, keep

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with _embedded(tmp_path_factory.mktemp("scene")) as setting:
        yield set_scene(
            setting.store, setting.gate, None, planes=False, members=300, seed=7, progress=lambda kind, rows: None
        )


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.what)
def test_no_try_at_an_abuse_gets_through(scene: Scene, abuse: Abuse) -> None:
    assert [outcome for outcome in replay(scene, abuse) if not outcome.held] == []


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.what)
def test_each_promise_is_kept(scene: Scene, promise: Promise) -> None:
    kept = keep(scene, promise)
    assert kept.kept, kept.said


def test_it_plays_every_abuse_and_every_promise_of_the_story() -> None:
    assert [abuse.number for abuse in ABUSES] == list(range(1, 11))
    assert [promise.number for promise in PROMISES] == list(range(1, 10))


def got(scene: Scene) -> None:
    raise GotThrough("a number was shown")


def refused_otherwise(scene: Scene) -> None:
    raise AccessDenied("for another reason", reason="database.refused")


@pytest.mark.parametrize(
    "tried",
    [
        Try("library", "nothing refuses", lambda scene: None),
        Try("library", "it gets through", got),
        Try("library", "another error", refused_otherwise, (errors.TokenExpired,)),
        Try("gate", "another reason", refused_otherwise, (AccessDenied,), "not.granted"),
    ],
    ids=lambda tried: tried.what,
)
def test_what_is_not_refused_as_it_should_be_counts_as_through(scene: Scene, tried: Try) -> None:
    assert not attempt(scene, tried).held


def test_one_abuse_that_gets_through_fails_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leak = (Abuse(1, "leaks", (Try("library", "it gets through", got),)),)
    monkeypatch.setattr("vaultstore.members.scenario.play.ABUSES", leak)
    monkeypatch.setattr("vaultstore.members.scenario.play.PROMISES", ())
    screen = io.StringIO()
    with _embedded(tmp_path) as setting:
        assert not run(setting, Console(file=screen, width=200), data=None, members=300)
    assert "GOT THROUGH: a number was shown" in screen.getvalue()


def test_files_that_are_too_small_or_missing_are_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"members\.csv is missing"):
        read_town(tmp_path)
    done = CliRunner().invoke(main, ["scenario", "--data", str(DATA)])
    assert done.exit_code == 1
    assert "too few members who consented" in done.output


@pytest.mark.xdist_group("openbao")
def test_on_postgresql_and_openbao_every_plane_refuses_for_itself() -> None:
    done = CliRunner().invoke(main, ["scenario", "--vault"])
    assert done.exit_code == 0, done.output
    assert "0 got through" in done.output
    assert "permission denied for table members" in done.output
    assert f"{len(PROMISES)} promises: {len(PROMISES)} kept." in done.output

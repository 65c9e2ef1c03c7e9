from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from rich.console import Console

from vaultstore import LocalKeys, Policy, Store, errors
from vaultstore.cli import main
from vaultstore.members import Base
from vaultstore.members.demo import Setting, run
from vaultstore.members.demo.abuses import ABUSES, Abuse, GotThrough, attempt
from vaultstore.members.demo.dump import search_dump
from vaultstore.members.demo.stage import Stage, set_stage
from vaultstore.members.demo.trail import acts
from vaultstore.members.demo.views import FIELDS, at_rest, through
from vaultstore.members.resources import policies


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    folder = tmp_path_factory.mktemp("demo")
    gate = sa.create_engine(f"sqlite:///{folder / 'gate.db'}")
    keys = LocalKeys.open(folder / "keys.json")
    with Store.open(
        f"sqlite:///{folder / 'members.db'}", gate=gate, keys=keys, policy=Policy.load(policies()), models=Base
    ) as store:
        yield Setting(store=store, gate=gate, where="here", caveat="")
    gate.dispose()


@pytest.fixture(scope="module")
def stage(setting: Setting) -> Stage:
    return set_stage(setting.store, setting.gate, members=240, seed=2021, progress=lambda kind, rows: None)


def test_the_stage_has_enough_members_for_every_abuse(stage: Stage) -> None:
    assert all(abuse.needs(stage) for abuse in ABUSES)


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.what)
def test_the_abuse_is_refused_by_the_error_that_should_refuse_it(stage: Stage, abuse: Abuse) -> None:
    tried = attempt(stage, abuse)
    assert tried.held, tried
    again = attempt(stage, abuse)
    assert again.held, "an abuse must leave the store as it was"


def test_an_abuse_counts_as_refused_by_its_own_error_only(stage: Stage) -> None:
    def other(_: Stage) -> None:
        raise errors.TokenExpired("over")

    def gained(_: Stage) -> None:
        raise GotThrough("all of it")

    def defect(_: Stage) -> None:
        raise TypeError("ours")

    assert not attempt(stage, Abuse("x", "y", other, errors.SearchDenied)).held
    assert not attempt(stage, Abuse("x", "y", gained, errors.SearchDenied)).held
    assert not attempt(stage, Abuse("x", "y", lambda _: None, errors.SearchDenied)).held
    assert not attempt(stage, Abuse("x", "y", lambda _: None, None)).held
    assert attempt(stage, Abuse("x", "y", other, errors.TokenError)).held
    with pytest.raises(TypeError):
        attempt(stage, Abuse("x", "y", defect, errors.SearchDenied))


def test_four_readers_see_what_the_policy_gives_them(stage: Stage) -> None:
    member = stage.town.members[0]
    raw = at_rest(stage)
    assert {shown.how for shown in raw.values.values()} == {"raw"}
    sales = through(stage, "m", stage.matchmaker, "sales.outreach").values
    assert {name: shown.how for name, shown in sales.items()} == {
        "name": "masked", "id_number": "denied", "phone": "masked", "wechat": "masked", "address": "denied",
        "birth_date": "masked", "monthly_income": "masked", "wants": "denied", "message": "denied",
    }  # fmt: skip
    own = through(stage, "m", stage.member, "member.self").values
    assert set(own) == {*FIELDS, "message"}
    assert own["id_number"].text == member["id_number"]
    assert own["message"].text == stage.town.chats[0]["body"]


def test_the_search_of_the_dump_finds_what_lies_in_clear(stage: Stage) -> None:
    assert search_dump(stage).found == set()
    phone = "".join(c for c in stage.town.members[5]["wechat"] or "wx_000000")
    store = sa.text("UPDATE members SET city = :value WHERE id = :id")
    before = stage.town.members[0]["city"]
    with stage.store.engine.begin() as connection:
        connection.execute(store, {"value": phone, "id": stage.hero.hex})
    try:
        assert search_dump(stage).found == {"wechat"}
    finally:
        with stage.store.engine.begin() as connection:
            connection.execute(store, {"value": before, "id": stage.hero.hex})


def test_every_refusal_and_disclosure_is_among_the_acts(stage: Stage) -> None:
    through(stage, "m", stage.matchmaker, "sales.outreach")
    for abuse in ABUSES:
        attempt(stage, abuse)
    seen = {(act.purpose, act.kind, act.outcome) for act in acts(stage.gate)}
    assert ("sales.outreach", "disclose", "disclosed") in seen
    assert ("sales.outreach", "search", "refused:not.granted") in seen
    assert ("safety.investigation", "disclose", "refused:approval.missing") in seen


def test_the_demo_ends_well_and_shows_no_value_that_a_scene_does_not(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["demo", "--members", "20", "--dir", str(tmp_path / "kept")])
    assert result.exit_code == 0, result.output
    assert "11 abuses tried, 11 refused." in result.output
    assert "no defence against its own process" in result.output
    assert (tmp_path / "kept" / "vaultstore.toml").exists()
    again = CliRunner().invoke(main, ["demo", "--members", "20", "--dir", str(tmp_path / "kept")])
    assert again.exit_code == 1
    assert "holds a store already" in again.output


def test_the_demo_fails_when_an_abuse_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = Abuse("somebody", "walks in", lambda stage: None, errors.AccessDenied)
    monkeypatch.setattr("vaultstore.members.demo.play.ABUSES", (harmless,))
    result = CliRunner().invoke(main, ["demo", "--members", "10"])
    assert result.exit_code == 1
    assert "GOT THROUGH" in result.output
    assert "1 of 1 abuses were not refused" in result.output


def test_the_demo_says_how_many_unwraps_were_counted(tmp_path: Path) -> None:
    gate = sa.create_engine(f"sqlite:///{tmp_path / 'gate.db'}")
    out = io.StringIO()
    counted = iter((4, 5))
    with Store.open(
        f"sqlite:///{tmp_path / 'members.db'}",
        gate=gate,
        keys=LocalKeys.memory(),
        policy=Policy.load(policies()),
        models=Base,
    ) as store:
        setting = Setting(store=store, gate=gate, where="", caveat="", unwraps=lambda: next(counted))
        assert run(setting, Console(file=out, width=118), members=10)
    gate.dispose()
    assert ": 1 unwrap request, counted in OpenBao's own audit log" in out.getvalue()

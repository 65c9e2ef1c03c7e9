"""``vaultstore trace`` and ``vaultstore canary plant`` as they are called."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from vaultstore import Actor
from vaultstore.cli import main
from vaultstore.cli.store import open_store
from vaultstore.members.models import Lead, Member

Run = Callable[..., Result]
SELLER = Actor("u-17", role="matchmaker", attributes={"store": "sh-01"})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of forty members, ten of whom a seller has looked at. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("trace") / "store"
    assert run("init", "--dir", folder).exit_code == 0
    ids = [uuid.UUID(int=n + 1) for n in range(40)]
    with open_store(folder) as store:
        with store.begin(store.issue(Actor("r", "registrar"), "registration")) as session:
            session.add_all(
                Member(id=i, nickname="n", gender="f", city="上海", store="sh-01", grade="A", name="欧阳安娜",
                       phone=f"138{n:08d}", birth_date=date(1990, 5, 17))
                for n, i in enumerate(ids)
            )  # fmt: skip
        for i in ids[:10]:
            store.consents.grant(i, "matchmaking", notice_version="1")
        manager = Actor("m-1", role="store_manager", attributes={"store": "sh-01"})
        with store.begin(store.issue(manager, "sales.manage")) as session:
            session.add_all(_lead(i) for i in ids[:10])
        with store.session(store.issue(SELLER, "sales.outreach")) as session:
            assert len([m.phone for m in session.scalars(select(Member))]) == 10
    return folder


def _lead(member: uuid.UUID) -> Lead:
    from datetime import UTC, datetime, timedelta

    return Lead(member_id=member, actor_id="u-17", store="sh-01", expires_at=datetime.now(UTC) + timedelta(days=1))


@pytest.fixture
def copy(shop: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shop, tmp_path / "store"))


def token(folder: Path, *options: str) -> str:
    asked = options or ("--actor", "i-1", "--role", "investigator", "--purpose", "audit.trace")
    result = run("token", "issue", "--dir", folder, *asked)
    assert result.exit_code == 0, result.stderr
    return str(result.stdout).strip()


@pytest.fixture
def leaked(tmp_path: Path) -> Path:
    path = tmp_path / "leaked.csv"
    rows = ["姓名;手机", *(f"张三;138{n:08d}" for n in range(10)), "李四;无"]
    path.write_bytes("\r\n".join(rows).encode("gbk"))
    return path


def test_a_leak_is_traced_to_who_saw_it(copy: Path, leaked: Path) -> None:
    result = run("trace", "--dir", copy, leaked, "--token", token(copy))
    assert result.exit_code == 0, result.output
    assert "10 lines with 10 phone and 0 ID numbers (gb18030)" in result.output
    assert "not read: lines 12" in result.output
    assert "u-17 explains the leak: 10 of 10 were disclosed masked to them." in result.output
    assert "13800" not in result.output


def test_the_same_as_json_holds_no_number(copy: Path, leaked: Path) -> None:
    result = run("trace", "--dir", copy, leaked, "--token", token(copy), "--json")
    content = json.loads(result.stdout)
    assert content["masked"]["explanation"] == ["u-17"]
    assert content["unreadable"] == [12]
    assert content["actors"]["u-17"]["purposes"] == ["sales.outreach"]
    assert "13800" not in result.stdout


def test_the_search_is_audited_and_counted(copy: Path, leaked: Path) -> None:
    run("trace", "--dir", copy, leaked, "--token", token(copy))
    with open_store(copy) as store, store._gate_engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT json_extract(leaf, '$.kind'), json_extract(leaf, '$.counts') FROM vs_entries"
            " WHERE json_extract(leaf, '$.purpose') = 'audit.trace' ORDER BY seq"
        ).all()
        used = connection.exec_driver_sql("SELECT used FROM vs_limits WHERE purpose = 'audit.trace' AND per = 'day'")
        assert used.scalar_one() == 10
    assert [(kind, json.loads(counts)) for kind, counts in rows] == [
        ("search", {"needles": 10}),
        ("found", {"rows": 10, "subjects": 10}),
    ]


def test_a_token_for_something_else_is_refused(copy: Path, leaked: Path) -> None:
    other = token(copy, "--actor", "a", "--role", "auditor", "--purpose", "audit.review")
    result = run("trace", "--dir", copy, leaked, "--token", other)
    assert result.exit_code == 1
    assert "takes a token for audit.trace" in result.stderr


def test_a_list_without_a_number_is_refused(copy: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text("nothing\nat all\n")
    result = run("trace", "--dir", copy, empty, "--token", token(copy))
    assert result.exit_code == 1
    assert "not one line" in result.stderr


def test_a_planted_canary_is_named_by_a_trace(copy: Path, leaked: Path, tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text("17000000001\n17000000002,wx_canary\n17000000003\n")
    (tmp_path / "actors").write_text("u-17,sh-01\n")
    result = run("canary", "plant", "--dir", copy, "--numbers", tmp_path / "numbers", "--actors", tmp_path / "actors",
                 "--store", "sh-01")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 canaries planted" in result.output
    assert "handed out" in result.output
    leaked.write_text("17000000001\n17000000002\n")
    result = run("trace", "--dir", copy, leaked, "--token", token(copy))
    assert result.output.count("CANARY") == 2
    assert "for u-17 of store sh-01, is in the leak. The log has no disclosure of it" in result.output
    assert "for store sh-01" in result.output


def test_planting_takes_somebody_to_plant_for(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text("17000000001\n")
    result = run("canary", "plant", "--dir", copy, "--numbers", tmp_path / "numbers")
    assert result.exit_code == 2
    assert "--actors FILE, --store STORE" in result.stderr


def test_a_limit_that_is_used_up_is_said_with_how_far_it_came(copy: Path, leaked: Path) -> None:
    policy = copy / "policies" / "purposes" / "maintenance.yaml"
    policy.write_text(policy.read_text(encoding="utf-8").replace("max: 50000, per: day", "max: 5, per: day"), "utf-8")
    assert run("policy", "publish", "--dir", copy).exit_code == 0
    result = run("trace", "--dir", copy, leaked, "--token", token(copy))
    assert result.exit_code == 0, result.output
    assert "0 of 10 numbers were searched" in result.output

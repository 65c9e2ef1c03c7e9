"""A member's report out of the whole member store, on both profiles, through Python and the command line."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from tests.support.profiles import MATCHMAKER, Profile, embedded, standard
from vaultstore import Actor
from vaultstore.audit.log import AuditLog, note_keys
from vaultstore.cli import main
from vaultstore.errors import AccessDenied, SubjectErased, UnsupportedOperation
from vaultstore.evidence.check_report import CheckedReport, check_report
from vaultstore.evidence.report import Report
from vaultstore.members.models import Member
from vaultstore.testing import OpenBaoServer

pytestmark = pytest.mark.integration

ORIGIN = "vaultstore.local/vaultstore"


@pytest.fixture(params=["embedded", "standard"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profile]:
    if request.param == "embedded":
        with embedded(tmp_path) as made:
            yield made
    else:
        server: OpenBaoServer = request.getfixturevalue("openbao")
        with standard(tmp_path, server, request.getfixturevalue("pg_database")) as made:
            yield made


def signed(profile: Profile) -> None:
    from datetime import UTC, datetime

    AuditLog(profile.store._gate_engine, ORIGIN).checkpoint(profile.keys, datetime.now(UTC))


def checked(profile: Profile, report: Report) -> CheckedReport:
    return check_report(report.data, note_keys(profile.keys, ORIGIN))


def sales_read(profile: Profile, ids: list[uuid.UUID]) -> None:
    with profile.store.session(profile.token(MATCHMAKER, "sales.outreach")) as session:
        for member in session.scalars(select(Member)):
            assert member.phone is not None
    assert ids


def test_a_member_sees_who_read_their_card(profile: Profile) -> None:
    mine, other = profile.add_members(2)
    profile.claim([mine, other])
    sales_read(profile, [mine, other])
    signed(profile)
    own = profile.token(Actor(str(mine), role="member"), "member.self", subjects=[mine])
    report = profile.store.report(mine, own)
    told = checked(profile, report)
    assert told.gaps == ()
    text = report.text()
    assert "matchmaker (sells by phone, on commission), store sh-01, p-" in text
    assert "sales_card (what a matchmaker sees of a claimed lead): masked" in text
    assert MATCHMAKER.id not in text
    for form in (str(other), other.hex, str(other).upper()):
        assert form not in report.data.decode()
    with pytest.raises(AccessDenied):
        profile.store.report(other, own)


def test_others_get_none(profile: Profile) -> None:
    (mine,) = profile.add_members(1)
    profile.claim([mine])
    with pytest.raises(AccessDenied, match="makes no reports"):
        profile.store.report(mine, profile.token(MATCHMAKER, "sales.outreach"))
    with pytest.raises(UnsupportedOperation, match="under a token, or by an operator"):
        profile.store.report(mine)


def test_the_privacy_desk_makes_one_for_its_case(profile: Profile) -> None:
    (mine,) = profile.add_members(1)
    officer = Actor("po-1", role="privacy_officer")
    profile.store.cases.open("access", assigned_to="po-1", subjects=[mine], case_id="pr-1")
    token = profile.token(officer, "privacy.request", subjects=[mine], case="pr-1")
    last = checked(profile, profile.store.report(mine, token)).lines[-1].content
    assert last is not None
    assert (last["kind"], last["case"], last["role"]) == ("report", "pr-1", "privacy_officer")


def test_an_erased_member_has_none(profile: Profile) -> None:
    (mine,) = profile.add_members(1)
    profile.store.subjects.erase(mine, reason="asked")
    with pytest.raises(SubjectErased, match="certificate of erasure"):
        profile.store.report(mine, operator="root")


def test_the_command_line_makes_and_checks_one(tmp_path: Path) -> None:
    runner, shop = CliRunner(), tmp_path / "shop"
    assert runner.invoke(main, ["init", "--dir", str(shop)]).exit_code == 0
    csv = Path(__file__).parents[2] / "data" / "members.csv"
    few = tmp_path / "members.csv"
    few.write_text("".join(csv.read_text(encoding="utf-8").splitlines(keepends=True)[:5]), encoding="utf-8")
    assert runner.invoke(main, ["members", "import", "--dir", str(shop), str(few)]).exit_code == 0
    from vaultstore.cli.store import open_store

    with open_store(shop) as store, store._gate_engine.connect() as connection:
        from vaultstore.records.subjects import vs_subjects

        subject = connection.execute(select(vs_subjects.c.subject).limit(1)).scalar_one()
    mine, out, html = str(uuid.UUID(bytes=subject)), tmp_path / "r.json", tmp_path / "r.html"
    made = runner.invoke(
        main, ["subject", "report", "--dir", str(shop), mine, "--checkpoint", "--out", str(out), "--html", str(html)]
    )
    assert made.exit_code == 0, made.output
    keys = tmp_path / "log.keys"
    keys.write_text(runner.invoke(main, ["audit", "keys", "--dir", str(shop)]).output, encoding="utf-8")
    good = runner.invoke(main, ["audit", "check-report", str(out), "--keys", str(keys)])
    assert good.exit_code == 0, good.output
    assert "no number from 1 to" in good.output
    assert "not yet provable" in good.output
    again = runner.invoke(main, ["subject", "report", "--dir", str(shop), mine, "--json", "--as", "chen"])
    later = tmp_path / "later.json"
    later.write_text(again.stdout, encoding="utf-8")
    good = runner.invoke(main, ["audit", "check-report", str(later), "--keys", str(keys), "--earlier", str(out)])
    assert good.exit_code == 0, good.output
    content = json.loads(out.read_bytes())
    content["lines"][0]["number"] = 9
    out.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True), encoding="utf-8")
    bad = runner.invoke(main, ["audit", "check-report", str(out), "--keys", str(keys)])
    assert bad.exit_code == 1
    assert "order of their numbers" in bad.output or "line 9" in bad.output
    assert "<!DOCTYPE html>" in html.read_text(encoding="utf-8")
    assert (
        "a report like this one was made" in runner.invoke(main, ["subject", "report", "--dir", str(shop), mine]).output
    )

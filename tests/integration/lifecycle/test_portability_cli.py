"""The commands that copy a member, read a copy back, and give new keys."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.orm import Session

from tests.integration.lifecycle.test_portability import desk_token, own_token
from tests.integration.lifecycle.test_rekey import keys, rekey_token
from tests.support.profiles import SHIPPED_POLICY, Profile, embedded
from vaultstore import Actor
from vaultstore.cli import main
from vaultstore.members.models import Member
from vaultstore.records.keyring import vs_keyring


@pytest.fixture
def profile(tmp_path: Path) -> Iterator[Profile]:
    with embedded(tmp_path) as made:
        (tmp_path / "vaultstore.toml").write_text(f'[store]\npolicy = "{SHIPPED_POLICY}"\n', encoding="utf-8")
        yield made


def run(profile: Profile, *words: str) -> Result:
    return CliRunner().invoke(main, [words[0], words[1], "--dir", str(profile.folder), *words[2:]])


def test_a_copy_is_for_its_owner_alone_and_overwrites_nothing(profile: Profile) -> None:
    [mine] = profile.add_members(1)
    out, page = profile.folder / "copy.json", profile.folder / "copy.html"
    words = ("subject", "export", str(mine), "--out", str(out), "--html", str(page))
    done = run(profile, *words, "--token", own_token(profile.store, mine))
    assert done.exit_code == 0, done.output
    assert f"{out}: 1 of Member" in done.stdout
    assert "not in it: Lead: purpose member.self has nothing to do with it" in done.stderr
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out, page)] == [0o600, 0o600]
    assert json.loads(out.read_bytes())["subject"] == str(mine)
    assert "13800000000" in page.read_text("utf-8")
    again = run(profile, *words, "--token", own_token(profile.store, mine))
    assert again.exit_code == 1
    assert "is there already, and is not overwritten" in again.stderr


def test_a_refused_copy_leaves_no_file(profile: Profile) -> None:
    mine, other = profile.add_members(2)
    out = profile.folder / "copy.json"
    done = run(profile, "subject", "export", str(mine), "--out", str(out), "--token", own_token(profile.store, other))
    assert (done.exit_code, out.exists()) == (1, False)


def test_a_copy_is_read_back(profile: Profile) -> None:
    [mine] = profile.add_members(1)
    out = profile.folder / "copy.json"
    run(profile, "subject", "export", str(mine), "--out", str(out), "--token", own_token(profile.store, mine))
    token = desk_token(profile.store, mine)
    here = run(profile, "subject", "import", str(out), "--leave-out", "--token", token)
    assert "is here already, exactly so: nothing was written" in here.stdout, here.output
    with Session(profile.store.engine) as session, session.begin():
        session.execute(Member.__table__.delete())
        session.execute(vs_keyring.delete())
    done = run(profile, "subject", "import", str(out), "--leave-out", "--token", token)
    assert f"{mine}: 1 of Member written" in done.stdout, done.output
    out.write_bytes(out.read_bytes().replace(b"nick-0", b"nick-9"))
    wrong = run(profile, "subject", "import", str(out), "--leave-out", "--token", token)
    assert (wrong.exit_code, "it was altered since" in wrong.stderr) == (1, True)


def test_keys_are_rotated(profile: Profile) -> None:
    [mine] = profile.add_members(1)
    old = keys(profile.store, mine)
    done = run(profile, "subject", "rotate-keys", str(mine), "--token", rekey_token(profile.store, mine))
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{len(old)} new keys, {len(old)} old ones destroyed; sealed anew: 1 of Member\n"
    assert not old & keys(profile.store, mine)


def test_projections_are_told_and_rebuilt(profile: Profile) -> None:
    profile.add_members(3)
    fine = run(profile, "projections", "status")
    assert (fine.exit_code, "projections are as they should be" in fine.stdout) == (0, True), fine.output
    with profile.store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vs_projections SET fingerprint = 'old()' WHERE projection = 'pool_card'")
    stale = run(profile, "projections", "status")
    assert stale.exit_code == 1
    assert "vaultstore projections rebuild Member profile" in stale.stderr
    store, operator = profile.store, Actor("op-1", role="operator")
    request = store.request_access(operator, "maintenance.projection")
    for auditor in ("au-1", "au-2"):
        store.approve(request, store.issue(Actor(auditor, role="auditor"), "audit.review"))
    token = store.issue(operator, "maintenance.projection")
    done = run(profile, "projections", "rebuild", "Member", "profile", "--token", token)
    assert (done.exit_code, "3 masked anew" in done.stdout) == (0, True), done.output
    assert run(profile, "projections", "status").exit_code == 0
    nothing = run(profile, "projections", "rebuild", "Member", "profile", "--token", token)
    assert "every mask of profile of Member is as it should be" in nothing.stdout

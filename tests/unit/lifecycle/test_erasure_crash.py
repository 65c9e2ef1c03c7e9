"""A process that is killed in the middle of an erasure leaves nothing, or an erasure that is finished by the next."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.support.erasing import chat, shop_in, verified, view
from tests.support.profiles import MATCHER, SHIPPED_POLICY, Profile
from vaultstore import LocalKeys, Policy, Store
from vaultstore.errors import SubjectErased
from vaultstore.members.models import Base, Lead, Member

ROOT = Path(__file__).parents[3]


def filled(shop: Profile) -> tuple[uuid.UUID, uuid.UUID]:
    """Two members, with everything that an erasure touches."""
    anna, ben = shop.add_members(2)
    shop.claim([anna, ben])
    chat(shop, anna, ben)
    view(shop, anna, ben)
    return anna, ben


def started(shop: Profile, subject: uuid.UUID, step: str) -> subprocess.Popen[str]:
    """Another process that erases the subject, up to `step`."""
    program = [sys.executable, "-m", "tests.unit.lifecycle.erasing_process", shop.url]
    return subprocess.Popen(
        [*program, str(shop.folder / "keys.json"), str(subject), step], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def remains(shop: Profile, subject: uuid.UUID) -> tuple[str | None, bool, bool, bool]:
    """(state, whether the name is there, the lead, any key)."""
    with Session(shop.store.engine) as session:
        named = session.execute(select(Member.nickname).where(Member.id == subject)).scalar_one() != ""
        lead = session.scalar(select(func.count()).select_from(Lead).where(Lead.member_id == subject)) == 1
        keys = session.execute(sa.text("SELECT count(*) FROM vs_keyring WHERE subject = :s"), {"s": subject.bytes})
        return shop.store.subjects.state(subject), named, lead, keys.scalar_one() > 0


ALL, NOTHING = ("active", True, True, True), ("erased", False, False, False)


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("in the middle", ALL),
        ("before the gate's commit", ALL),
        ("between the commits", ("erased", True, True, True)),
        ("after both", NOTHING),
    ],
)
def test_killed_at_a_step_it_left_nothing_or_is_finished_by_the_next(
    tmp_path: Path, step: str, left: tuple[object, ...]
) -> None:
    with shop_in(tmp_path) as shop:
        anna, ben = filled(shop)
        killed = started(shop, anna, step)
        assert killed.wait(timeout=60) == -9, killed.stderr.read()  # type: ignore[union-attr]
        assert remains(shop, anna) == left
        if left != ALL:  # sealed values are out of reach at once, whatever the members' file still says
            with shop.store.session(shop.token(MATCHER, "matching")) as session, pytest.raises(SubjectErased):
                session.get(Member, anna).wants  # type: ignore[union-attr]
        erased = shop.store.subjects.erase(anna, reason="once more")
        assert remains(shop, anna) == NOTHING
        assert [body["act"] for body in erased.bodies] == ["erased"]
        assert erased.keys == 11
        assert {(d["model"], d["rows"]) for d in erased.bodies[0]["deleted"]} >= {("Lead", 1), ("ProfileView", 1)}
        assert remains(shop, ben) == ALL
        assert verified(shop).findings == []


def test_opening_the_store_finishes_it(tmp_path: Path) -> None:
    with shop_in(tmp_path) as shop:
        anna, _ = filled(shop)
        started(shop, anna, "between the commits").wait(timeout=60)
        policy, keys = Policy.load(SHIPPED_POLICY), LocalKeys.open(tmp_path / "keys.json")
        with Store.open(shop.url, keys=keys, policy=policy, models=Base) as store:
            assert remains(shop, anna) == NOTHING
            assert store.subjects.finish_interrupted() == 0


@pytest.mark.parametrize("seed", [pytest.param(n, marks=[] if n < 3 else pytest.mark.soak) for n in range(20)])
def test_killed_at_any_time_it_is_nothing_or_all(tmp_path: Path, seed: int) -> None:
    with shop_in(tmp_path) as shop:
        anna, ben = filled(shop)
        killed = started(shop, anna, "never")
        time.sleep(random.Random(seed).uniform(0.4, 1.6))
        killed.kill()
        killed.wait(timeout=60)
        policy, keys = Policy.load(SHIPPED_POLICY), LocalKeys.open(tmp_path / "keys.json")
        with Store.open(shop.url, keys=keys, policy=policy, models=Base):
            assert remains(shop, anna) in (ALL, NOTHING)
        assert remains(shop, ben) == ALL
        shop.store.subjects.erase(anna, reason="once more")
        assert remains(shop, anna) == NOTHING
        assert verified(shop).findings == []

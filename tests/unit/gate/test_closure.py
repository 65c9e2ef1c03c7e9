"""What a published closure grants, read strictly."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from tests.unit.gate.world import PURPOSES, Published
from vaultstore.canonical import canonical_json
from vaultstore.gate.closure import Closure, parse_closure, window_start
from vaultstore.policy.model import Limit


def closure(name: str) -> Closure:
    policy = Published(PURPOSES)
    parsed = parse_closure(canonical_json(policy.closure(name)).decode(), policy.digest(name))
    assert parsed is not None
    return parsed


def test_reading_needs_every_category_and_at_least_one() -> None:
    care = closure("care")
    assert care.may_read("Member", ["identity", "contact"])
    assert not care.may_read("Member", ["identity", "profile"])
    assert not care.may_read("Message", ["identity"])
    assert not care.may_read("Member", [])


def test_writing_a_source_brings_its_projections_and_indexes_along() -> None:
    register, care = closure("register"), closure("care")
    assert register.may_seal("Member", ["identity"], ["identity", "card"], [])
    assert care.may_seal("Member", ["contact"], ["contact"], ["members.phone", "members.email"])
    assert not care.may_seal("Member", ["contact"], ["card"], [])
    assert not register.may_seal("Message", ["conversation"], ["conversation"], ["members.phone"])
    assert not register.may_seal("Member", [], [], [])


def test_a_mask_of_a_field_is_no_source_to_collide_on() -> None:
    assert closure("care").may_collide("Member", "phone")
    assert not closure("care").may_collide("Member", "name")
    assert not closure("cards").may_collide("Member", "name")


def test_a_text_that_is_not_its_digests_is_no_closure() -> None:
    text = canonical_json(Published(PURPOSES).closure("care")).decode()
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert parse_closure(text, digest) is not None
    assert parse_closure(text.replace("contact", "profile"), digest) is None


@pytest.mark.parametrize(
    ("now", "zone", "midnight"),
    [
        ("2026-03-29T12:00:00+00:00", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),  # summer time began at 01:00
        ("2026-03-28T23:00:00+00:00", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
        ("2026-10-25T23:30:00+00:00", "Europe/Berlin", "2026-10-25T23:00:00+00:00"),
        ("2026-01-01T15:59:59+00:00", "Asia/Shanghai", "2025-12-31T16:00:00+00:00"),
        ("2026-01-01T16:00:00+00:00", "Asia/Shanghai", "2026-01-01T16:00:00+00:00"),
    ],
)
def test_a_day_begins_at_midnight_where_the_policy_lives(now: str, zone: str, midnight: str) -> None:
    since = window_start(Limit(1, "day", "actor"), datetime.fromisoformat(now).astimezone(UTC), ZoneInfo(zone))
    assert since == (datetime.fromisoformat(midnight), True)

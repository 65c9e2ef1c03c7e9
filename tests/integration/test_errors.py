"""What a database says when it refuses a row: not the row."""

from __future__ import annotations

import traceback
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.support.profiles import MATCHER, REGISTRAR, Profile, member
from vaultstore.members.models import ProfileView

pytestmark = pytest.mark.integration


def test_a_violated_constraint_shows_neither_the_row_nor_the_digest(profile: Profile) -> None:
    viewer = profile.add_members(1)[0]
    token = profile.token(MATCHER, "matching")

    def view() -> ProfileView:
        from datetime import UTC, datetime

        return ProfileView(viewer_id=viewer, viewed_id=uuid.UUID(int=7), viewed_at=datetime.now(UTC), event="the same")

    with profile.store.begin(token) as session:
        session.add(view())
    with pytest.raises(IntegrityError) as twice, profile.store.begin(token) as session:
        session.add(view())
    with (
        pytest.raises(IntegrityError) as lacking,
        profile.store.begin(profile.token(REGISTRAR, "registration")) as session,
    ):
        session.add(member(3, city=None, nickname="nick-very-own"))
    with profile.store.engine.connect() as connection:
        digest = connection.execute(text("SELECT event_bidx FROM profile_views")).scalar_one()
    with profile.store._gate_engine.connect() as connection:
        kinds = connection.execute(text("SELECT kind FROM vs_entries")).scalars().all()
    assert kinds.count("search") == 1, "a collision tells that the value is there: it is audited as a search"
    for caught in (twice, lacking):
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.params) + repr(caught.value.orig)
        assert "nick-very-own" not in shown
        assert bytes(digest).hex() not in shown
        assert "DETAIL" not in shown

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from vaultstore.members.ids import conversation_id, view_event


@given(st.uuids(), st.uuids())
def test_a_conversation_has_one_id_whoever_writes(one: uuid.UUID, other: uuid.UUID) -> None:
    made = conversation_id(one, other)
    assert made == conversation_id(other, one)
    assert (made.version, made.variant) == (8, uuid.RFC_4122)


@given(st.uuids(), st.uuids(), st.uuids())
def test_other_people_have_other_conversations(a: uuid.UUID, b: uuid.UUID, c: uuid.UUID) -> None:
    assert (conversation_id(a, b) == conversation_id(a, c)) == (b == c)


def test_the_id_of_a_conversation_never_changes() -> None:
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    assert conversation_id(one, other) == uuid.UUID("1a7530f7-eaeb-88e8-9ad7-36bc235fa687")


def test_an_event_is_the_same_at_the_same_instant_in_any_offset() -> None:
    at = datetime(2021, 11, 5, 15, 2, 21, tzinfo=UTC)
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    event = view_event(one, other, at)
    assert event == f"{one}|{other}|2021-11-05T15:02:21+00:00"
    assert view_event(one, other, at.astimezone(timezone(timedelta(hours=8)))) == event
    assert view_event(other, one, at) != event

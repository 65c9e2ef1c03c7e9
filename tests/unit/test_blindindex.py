"""Blind indexes: equal values have equal messages, others have not, and some types have none."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore import normalize
from vaultstore.blindindex import BlindIndex, blind_index
from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.masks import Masked

PLAIN = blind_index()
TYPES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(st.characters(exclude_categories=["Cs"])),
    "bytes": st.binary(),
    "int": st.integers(),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30),
    "uuid": st.uuids(),
    "datetime": st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones()),
}


class Level(IntEnum):
    LOW = 1


@pytest.mark.parametrize("kind", sorted(TYPES))
@given(data=st.data())
def test_messages_are_equal_where_values_are(kind: str, data: st.DataObject) -> None:
    one, other = data.draw(TYPES[kind]), data.draw(TYPES[kind])
    if kind == "datetime":  # Python compares times in one zone by the clock on the wall, folds and all
        one, other = one.astimezone(UTC), other.astimezone(UTC)
    assert (PLAIN.message(one) == PLAIN.message(other)) == (one == other)
    assert PLAIN.message(one) == PLAIN.message(one)


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_a_number_has_one_message_however_it_is_written(number: int, zeros: int) -> None:
    written = Decimal(f"{number}.{'0' * zeros}") if zeros else Decimal(number)
    assert PLAIN.message(written) == PLAIN.message(number) == str(number).encode()
    assert PLAIN.message(Decimal(number).normalize()) == PLAIN.message(number)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_time_has_one_message_in_every_zone(utc: datetime, minutes: int) -> None:
    aware = utc.replace(tzinfo=UTC)
    there = aware.astimezone(timezone(timedelta(minutes=minutes)))
    assert PLAIN.message(there) == PLAIN.message(aware)
    assert datetime.fromisoformat(PLAIN.message(aware).decode()) == aware


def test_the_normaliser_comes_first() -> None:
    index = blind_index(normalize=normalize.phone_e164(region="CN"))
    assert index.message("138 1234 5678") == index.message("+8613812345678") == b"+8613812345678"
    with pytest.raises(normalize.NotNormalizable):
        index.message("不方便")


def test_its_fingerprint_says_how_it_indexes() -> None:
    assert PLAIN.fingerprint == "blind_index(normalize=identity(),unique=false)"
    index = blind_index(normalize.phone_e164("CN"), unique=True)
    assert index.fingerprint == "blind_index(normalize=phone_e164(region=CN),unique=true)"
    assert index == BlindIndex(normalize.phone_e164("CN"), True)
    assert pickle.loads(pickle.dumps(index)) == index
    assert blind_index(normalize.identity()) == PLAIN


def test_types_with_too_few_values_are_refused_at_definition() -> None:
    for kind in ("enum", "bool", "date"):
        with pytest.raises(ModelError, match="cannot be indexed: too few values"):
            PLAIN.check(kind)
    with pytest.raises(ModelError, match="cannot be indexed"):
        PLAIN.check("json")
    for kind in TYPES:
        PLAIN.check(kind)
    assert PLAIN.accepts == frozenset(TYPES)


def test_a_normaliser_of_text_is_for_fields_of_text() -> None:
    index = blind_index(normalize.text())
    index.check("str")
    assert index.accepts == {"str"}
    with pytest.raises(ModelError, match=r"text\(\)"):
        index.check("int")


class Colour(Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        True,
        Colour.RED,
        Level.LOW,
        datetime(2021, 11, 1),
        datetime(2021, 11, 1).date(),
        1.5,
        None,
        [1],
        {"a": 1},
        object(),
        memoryview(b"a"),
    ],
)
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(UnsupportedOperation):
        PLAIN.message(value)


def test_a_masked_value_is_refused() -> None:
    with pytest.raises(UnsupportedOperation, match="masked"):
        PLAIN.message(Masked.of("x"))


@pytest.mark.parametrize("wrong", ["text", normalize.text, str.lower, 5])
def test_what_is_no_normaliser_is_refused_at_definition(wrong: object) -> None:
    with pytest.raises(ModelError, match="normalis"):
        blind_index(cast(normalize.Normalizer, wrong))


def test_a_uuid_is_its_sixteen_bytes() -> None:
    assert PLAIN.message(UUID(int=1)) == bytes(15) + b"\x01"

"""A copy that was built by hand reads as it says, and each of its values has one form."""

from __future__ import annotations

import importlib.util
import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.errors import BundleError
from vaultstore.lifecycle.portable import digest_of, read_bundle, read_value, written

VECTORS = Path(__file__).parents[2] / "vectors"
VECTOR: dict[str, Any] = json.loads((VECTORS / "export.json").read_text("utf-8"))


class Colour(Enum):
    RED = 1


def test_the_vector_is_what_its_generator_writes() -> None:
    spec = importlib.util.spec_from_file_location("generate_export", VECTORS / "generate_export.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.vectors() == VECTOR


def test_the_file_says_what_it_says() -> None:
    data, says = VECTOR["file"].encode(), VECTOR["says"]
    bundle = read_bundle(data)
    assert digest_of(data) == bundle.sha256 == VECTOR["sha256"]
    assert (bundle.origin, str(bundle.subject), bundle.seal) == (says["origin"], says["subject"], None)
    assert bundle.made_at == datetime(2021, 11, 2, 10, tzinfo=UTC)
    assert {model: list(rows) for model, rows in bundle.rows.items()} == says["rows"]
    assert bundle.schema == says["schema"]
    assert list(bundle.withheld) == says["withheld"]
    [row] = bundle.rows["Person"]
    read = {key: read_value(kind, row[key], key) for key, kind in bundle.schema["Person"].items()}
    assert read == {
        "id": bundle.subject,
        "town": "上海",
        "born": date(1988, 2, 29),
        "seen_at": datetime(2021, 11, 2, 9, 30, tzinfo=UTC),
        "income": Decimal("12000.50"),
        "height": 168,
        "big": 2**53 + 1,
        "photo": b"\x00\x01\x02",
        "prefs": {"tags": ["a", 1, None]},
        "phone": None,
    }
    assert {key: written(value) for key, value in read.items()} == row


@given(st.integers(0, len(VECTOR["file"].encode()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(at: int, change: int) -> None:
    data = bytearray(VECTOR["file"].encode())
    data[at] ^= change
    if bytes(data).rpartition(b'\n"sha256":"')[1] and bytes(data).strip() == VECTOR["file"].encode().strip():
        return  # white space after the end
    with pytest.raises(BundleError):
        read_bundle(bytes(data))


@given(st.integers(0, len(VECTOR["file"].encode()) - 3))
def test_a_file_that_was_cut_off_is_none(at: int) -> None:
    with pytest.raises(BundleError):
        read_bundle(VECTOR["file"].encode()[:at])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("str", 5), ("str", "\ud800"), ("bytes", "AAE"), ("bytes", "AAE!"), ("int", "007"), ("int", "5"),
        ("int", True), ("int", 1.0), ("int", "9" * 20_000), ("bool", 1), ("decimal", 1), ("decimal", "NaN"),
        ("date", "2021-1-1"), ("date", "20210101"), ("date", "2021-02-30"), ("datetime", "2021-11-02T09:30:00Z"),
        ("datetime", "2021-11-02T09:30:00.000000+00:00"), ("uuid", "{76cc0573-08ec-479a-a025-33dc0a68013d}"),
        ("uuid", "76CC0573-08EC-479A-A025-33DC0A68013D"), ("other", "x"), ("secret", "x"), ("str", None),
        ("float", "1"), ("enum", "RED"),
    ],
)  # fmt: skip
def test_another_form_of_a_value_is_refused_at_its_place(kind: str, value: Any) -> None:
    with pytest.raises(BundleError) as refused:
        read_value(kind, value, "rows.Person[0].x")
    assert refused.value.place == "rows.Person[0].x"
    assert str(value)[:50] not in str(refused.value) or value is None or len(str(value)) < 4


def test_an_enumeration_is_read_by_the_names_of_its_members() -> None:
    assert read_value("enum", written(Colour.RED), "x", Colour) is Colour.RED
    with pytest.raises(BundleError, match="x: is not the name of one of the values"):
        read_value("enum", "BLUE", "x", Colour)


@given(
    st.one_of(
        st.tuples(st.just("uuid"), st.uuids()),
        st.tuples(st.just("date"), st.dates()),
        st.tuples(st.just("datetime"), st.datetimes(timezones=st.just(UTC))),
        st.tuples(st.just("int"), st.integers(-(2**200), 2**200)),
        st.tuples(st.just("bytes"), st.binary()),
        st.tuples(st.just("bool"), st.booleans()),
        st.tuples(st.just("decimal"), st.decimals(allow_nan=False, allow_infinity=False)),
        st.tuples(st.just("str"), st.text(st.characters(exclude_categories=["Cs"]))),
    )
)
def test_values_come_back_as_they_went(pair: tuple[str, Any]) -> None:
    kind, value = pair
    back = read_value(kind, json.loads(json.dumps(written(value))), "x")
    assert (back, str(back)) == (value, str(value))


def test_a_bundle_shows_no_value() -> None:
    assert "上海" not in repr(read_bundle(VECTOR["file"].encode()))
    assert isinstance(read_bundle(VECTOR["file"].encode()).subject, uuid.UUID)

"""What holds for every mask and every value of the types that it takes."""

from __future__ import annotations

import dataclasses
import json
import pickle
import string
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore import masks
from vaultstore.errors import UnsupportedOperation
from vaultstore.masks import HIDDEN, Mask
from vaultstore.masks.base import EVERY_TYPE, type_name
from vaultstore.masks.text import clean, graphemes


class Colour(Enum):
    RED = 1
    GREEN = 2


class Text(str):
    __slots__ = ()


MASKS: tuple[Mask, ...] = (
    masks.keep(last=4),
    masks.keep(first=3, last=4),
    masks.keep(first=20),
    masks.keep(),
    masks.surname(),
    masks.initial(),
    masks.age_band(5),
    masks.age_band(7),
    masks.year(),
    masks.band(0, 5000, 10000),
    masks.email_domain(),
    masks.region("province"),
    masks.region("city"),
    masks.region("district"),
    masks.present(),
    masks.constant("x"),
    masks.one_of("有", "无"),
    masks.flags("chat-safety"),
)

# Any code point, lone surrogates too, with those that masks look for more often than chance has it.
TEXT = st.text(st.characters()) | st.text(
    "王欧阳·• AnnaНгЁ市省区南京北路@.,。1３٣+-\u200d\u0301\ufe0f👨👩🏽🇨🇳\ud800\t\n转账", max_size=40
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT | TEXT.map(Text),
    "bytes": st.binary(),
    "int": st.integers() | st.integers(-(10**400), 10**400),
    "bool": st.booleans(),
    "decimal": st.decimals() | st.sampled_from([Decimal("sNaN"), Decimal("-Infinity"), Decimal("1E+999999")]),
    "date": st.dates(),
    "datetime": st.datetimes(timezones=st.timezones()) | st.datetimes(),
    "uuid": st.uuids(),
    "enum": st.sampled_from(Colour),
    "json": st.dictionaries(st.text(), st.integers()) | st.lists(st.text()) | st.floats(),
}


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.fingerprint[:30])
@given(data=st.data())
def test_it_never_raises_and_gives_json(mask: Mask, data: st.DataObject) -> None:
    value = data.draw(st.one_of([VALUES[kind] for kind in sorted(mask.accepts)]))
    shown = mask.mask(value)
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
    assert mask.mask(value) == shown


@pytest.mark.parametrize("kind", sorted(EVERY_TYPE))
@given(data=st.data())
def test_types_are_named_as_the_codec_names_them(kind: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    assert type_name(value) == kind
    refusing = [mask for mask in MASKS if kind not in mask.accepts]
    for mask in refusing:
        with pytest.raises(UnsupportedOperation):
            mask.mask(value)


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: mask.fingerprint[:30])
def test_it_is_frozen_and_known_by_its_fingerprint(mask: Mask) -> None:
    assert mask.fingerprint.startswith(f"{mask.name}(")
    assert mask.fingerprint.endswith(")")
    assert mask.accepts <= EVERY_TYPE
    assert hash(mask) == hash(mask)
    field = dataclasses.fields(mask)[0].name if dataclasses.fields(mask) else "extra"  # type: ignore[arg-type]  # each is a dataclass
    with pytest.raises((AttributeError, TypeError)):
        setattr(mask, field, 1)


def test_different_masks_have_different_fingerprints() -> None:
    assert len({mask.fingerprint for mask in MASKS}) == len(MASKS)
    assert masks.band(0, 5000).fingerprint == masks.band(Decimal("0.0"), Decimal("5E+3")).fingerprint
    assert masks.keep(last=4) == masks.keep(0, 4)
    assert masks.one_of("a", "b").fingerprint != masks.one_of('a","b').fingerprint


def test_masks_survive_pickling() -> None:
    for mask in MASKS:
        again = pickle.loads(pickle.dumps(mask))
        assert again == mask
        assert again.fingerprint == mask.fingerprint


@given(TEXT, st.integers(0, 6), st.integers(0, 6))
def test_keep_has_a_fixed_width_and_shows_no_more_than_it_says(value: str, first: int, last: int) -> None:
    shown = masks.keep(first, last).mask(value)
    assert isinstance(shown, str)
    width = max(11, first + last + 4)
    assert len(graphemes(shown)) == width
    assert shown in ("*" * width, shown[: len(shown) - len(shown.lstrip("*"))] + shown.lstrip("*"))
    characters = graphemes(clean(value))
    visible = [char for char in graphemes(shown) if char != "*"]
    assert len(visible) <= first + last
    assert len(characters) - len(visible) >= min(len(visible), 4)


@given(st.text(string.ascii_letters, min_size=1), st.integers(0, 12), st.integers(0, 12))
def test_keep_never_shows_the_whole_value(value: str, first: int, last: int) -> None:
    assert value not in str(masks.keep(first, last).mask(value))


@given(TEXT)
def test_initial_shows_at_most_one_letter(value: str) -> None:
    shown = masks.initial().mask(value)
    assert isinstance(shown, str)
    assert shown.endswith(HIDDEN)
    letter = graphemes(shown.removesuffix(HIDDEN))
    assert len(letter) <= 1
    assert not letter or len(graphemes(clean(value))) > 1


@given(st.text(st.characters(categories=["L", "N", "S"])), st.text(string.ascii_lowercase, min_size=1))
def test_email_domain_shows_nothing_before_the_at(local: str, domain: str) -> None:
    assert masks.email_domain().mask(f"{local}@{domain}.com") in (f"***@{domain}.com", HIDDEN)


@given(st.dates(), st.integers(1, 100))
def test_a_birth_year_lies_in_its_band(value: Any, width: int) -> None:
    low, high = str(masks.age_band(width).mask(value)).split("-")
    assert int(low) <= value.year <= int(high)
    assert int(high) - int(low) < width
    assert masks.age_band(width).mask(value.year) == f"{low}-{high}"


def test_a_time_that_utc_cannot_hold_has_the_year_it_shows() -> None:
    east, west = timezone(timedelta(hours=8)), timezone(timedelta(hours=-8))
    assert masks.year().mask(datetime(1, 1, 1, tzinfo=east)) == 1
    assert masks.year().mask(datetime(9999, 12, 31, 23, tzinfo=west)) == 9999


@given(st.datetimes(timezones=st.timezones()))
def test_equal_times_have_equal_years(value: Any) -> None:
    try:
        utc = value.astimezone(UTC)
    except OverflowError:
        return
    assert masks.year().mask(value) == masks.year().mask(utc) == utc.year


@given(
    st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=6, unique=True).map(sorted),
    st.integers() | st.decimals(allow_nan=False),
)
def test_a_number_lies_in_the_band_that_is_shown(edges: list[int], value: Any) -> None:
    shown = masks.band(*edges).mask(value)
    below = [edge for edge in edges if edge <= value]
    above = [edge for edge in edges if edge > value]
    if not below:
        assert shown == f"<{edges[0]}"
    elif not above:
        assert shown == f">={edges[-1]}"
    else:
        assert shown == f"{below[-1]}-{above[0]}"

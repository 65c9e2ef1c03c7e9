"""Values come back as they were, in blocks, and malformed bytes are refused."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, MutableSequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal, localcontext
from enum import Enum, Flag, IntEnum, StrEnum, auto
from typing import Annotated, Any, NewType, Optional, TypedDict, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.codec import JSON, Codec, FrozenDict, FrozenList, codec_for, mask_codec
from vaultstore.errors import DecryptionError, ModelError, UnsupportedOperation


class Colour(Enum):
    RED = 1
    GREEN = 2
    VERT = GREEN  # an alias


class Town(StrEnum):
    SHANGHAI = "上海"


class Level(IntEnum):
    ONE = 1


class Masklike(str):
    __slots__ = ()


class House(TypedDict):
    rooms: int


zones = st.timedeltas(timedelta(hours=-14), timedelta(hours=14)).map(timezone)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner | st.none(), max_size=3) | st.dictionaries(st.text(), inner | st.none(), max_size=3),
    max_leaves=8,
)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text() | st.text(alphabet="\0\x80a"),
    bytes: st.binary() | st.lists(st.sampled_from([b"\0", b"\x80", b"a"])).map(b"".join),
    int: st.integers(),
    bool: st.booleans(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    date: st.dates(),
    datetime: st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones),
    uuid.UUID: st.uuids(),
    Colour: st.sampled_from(Colour),
    Any: json_values,
}
TAGS = {"str": 1, "bytes": 2, "int": 3, "bool": 4, "decimal": 5, "date": 6, "datetime": 7, "uuid": 8, "enum": 9}
each_type = pytest.mark.parametrize("kind", VALUES, ids=lambda kind: codec_for(kind).name)


@each_type
@given(data=st.data())
def test_a_value_comes_back_equal_and_of_its_type(kind: Any, data: st.DataObject) -> None:
    value, pad = data.draw(VALUES[kind]), data.draw(st.sampled_from([None, 1, 7, 16, 128]))
    codec = codec_for(kind, pad=pad)
    encoded = codec.encode(value)
    decoded = codec.decode(encoded)
    assert decoded == value
    assert isinstance(decoded, type(value)) or kind is Any
    assert len(encoded) % codec.pad == 0
    assert encoded[0] == TAGS.get(codec.name, 10)
    assert codec.encode(decoded) == encoded


@each_type
@given(data=st.data())
def test_reading_does_not_depend_on_the_padding_it_was_written_with(kind: Any, data: st.DataObject) -> None:
    value, pad = data.draw(VALUES[kind]), data.draw(st.integers(1, 200))
    assert codec_for(kind).decode(codec_for(kind, pad=pad).encode(value)) == value


@given(st.text(), st.text())
def test_texts_of_one_block_have_the_same_length(one: str, other: str) -> None:
    blocks = [(len(text.encode()) + 2 + 15) // 16 for text in (one, other)]
    lengths = [len(codec_for(str).encode(text)) for text in (one, other)]
    assert lengths == [16 * count for count in blocks]


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_keeps_its_digits_exponent_and_sign(value: Decimal) -> None:
    codec = codec_for(Decimal)
    assert codec.decode(codec.encode(value)).as_tuple() == value.as_tuple()


@given(st.decimals(allow_nan=False, allow_infinity=False) | st.just(Decimal("1.5E+9")))
def test_a_decimal_does_not_depend_on_the_context(value: Decimal) -> None:
    codec = codec_for(Decimal)
    encoded = codec.encode(value)
    with localcontext(Context(prec=2, capitals=0, traps=[])):
        assert codec.encode(value) == encoded
        assert codec.decode(encoded).as_tuple() == value.as_tuple()
        with pytest.raises(DecryptionError):
            codec.decode(b"\x05secret\x80")


@given(VALUES[datetime], zones)
def test_one_moment_in_two_zones_has_one_encoding(moment: datetime, zone: timezone) -> None:
    codec = codec_for(datetime)
    assert codec.encode(moment) == codec.encode(moment.astimezone(zone))
    assert codec.decode(codec.encode(moment)).tzinfo is UTC


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_json_numbers_that_are_equal_have_one_encoding(number: int) -> None:
    if float(number) == number:
        assert mask_codec.encode(number) == mask_codec.encode(float(number))
    assert mask_codec.encode(0.0) == mask_codec.encode(-0.0)


def test_the_first_and_the_last_moment_come_back() -> None:
    codec = codec_for(datetime)
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        assert codec.decode(codec.encode(moment)) == moment


def test_a_moment_outside_the_years_of_utc_is_refused() -> None:
    for moment, hours in ((datetime.min, 8), (datetime.max, -8)):
        with pytest.raises(UnsupportedOperation, match="years 1 to 9999"):
            codec_for(datetime).encode(moment.replace(tzinfo=timezone(timedelta(hours=hours))))


def test_an_alias_of_a_member_is_that_member() -> None:
    codec = codec_for(Colour)
    assert codec.encode(Colour.VERT) == codec.encode(Colour.GREEN)


def test_members_of_text_and_integer_enumerations_fit_where_their_values_do() -> None:
    assert codec_for(str).encode(Town.SHANGHAI) == codec_for(str).encode("上海")
    assert codec_for(int).encode(Level.ONE) == codec_for(int).encode(1)
    assert codec_for(Any).encode([Town.SHANGHAI]) == codec_for(Any).encode(["上海"])
    assert codec_for(Town).decode(codec_for(Town).encode(Town.SHANGHAI)) is Town.SHANGHAI


WRONG: dict[Any, list[Any]] = {
    str: [b"secret", 13812345678, None, Masklike("secret"), ["secret"]],
    bytes: ["secret", bytearray(b"secret"), None],
    int: [True, "13812345678", 13812345678.0, Decimal(13812345678), None],
    bool: [0, 1, "secret", None],
    Decimal: [13812345678, 13812345678.0, "secret", None],
    date: [datetime(2024, 3, 1, tzinfo=UTC), "secret", None],
    datetime: [date(2024, 3, 1), datetime(2024, 3, 1), "secret", None],
    uuid.UUID: ["018df9a0-1111-7000-8000-000000000001", b"secret", None],
    Colour: ["RED", 1, Level.ONE, None],
    dict: [["secret"], "secret", None, {"a": b"secret"}, {"a": Masklike("secret")}, {1: "secret"}, {"a": math.nan}],
    list: [{"a": "secret"}, "secret", None, [object()], [2**60]],
    Any: [None, b"secret", {"secret"}, math.inf, Masklike("secret"), 2**60],
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, wrong in WRONG.items() for value in wrong])
def test_a_value_of_another_type_is_refused_without_showing_it(kind: Any, value: Any) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        codec_for(kind).encode(value)
    message = str(caught.value)
    assert "secret" not in message
    assert "13812345678" not in message
    assert str(2**60) not in message
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")])
def test_a_decimal_that_is_no_number_is_refused(value: Decimal) -> None:
    with pytest.raises(UnsupportedOperation, match="finite"):
        codec_for(Decimal).encode(value)


@pytest.mark.parametrize(("kind", "value"), [(str, "secret\ud800"), (Any, ["secret\ud800"])])
def test_a_lone_surrogate_is_refused_without_showing_the_text(kind: Any, value: Any) -> None:
    with pytest.raises(UnsupportedOperation, match="UTF-8") as caught:
        codec_for(kind).encode(value)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


@each_type
@given(garbage=st.binary(max_size=40), tagged=st.booleans(), closed=st.booleans())
def test_garbage_raises_nothing_but_decryption_error(kind: Any, garbage: bytes, tagged: bool, closed: bool) -> None:
    codec = codec_for(kind)
    data = (bytes([TAGS.get(codec.name, 10)]) if tagged else b"") + garbage + (b"\x80\0\0" if closed else b"")
    try:
        value = codec.decode(data)
    except DecryptionError:
        return
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (str, b"\x01secret\xff\x80"),
        (int, b"\x03\0\0secret\x80"),
        (Decimal, b"\x05secret\x80"),
        (date, b"\x06secret\x80"),
        (datetime, b"\x07secret\x80"),
        (uuid.UUID, b"\x08secret\x80"),
        (Colour, b"\x09secret\x80"),
        (Any, b"\x0asecret\x80"),
        (str, b"\x02secret\x80"),
    ],
)
def test_a_refusal_carries_nothing_of_what_was_opened(kind: Any, data: bytes) -> None:
    with pytest.raises(DecryptionError) as caught:
        codec_for(kind).decode(data)
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_deeply_nested_json_is_a_decryption_error() -> None:
    for depth in (5_000, 200_000):
        with pytest.raises(DecryptionError):
            codec_for(list).decode(b"\x0a" + b"[" * depth + b"]" * depth + b"\x80")


@each_type
@given(data=st.data())
def test_bytes_of_another_type_are_refused(kind: Any, data: st.DataObject) -> None:
    other = data.draw(st.sampled_from([other for other in VALUES if other is not kind]))
    with pytest.raises(DecryptionError):
        codec_for(kind).decode(codec_for(other).encode(data.draw(VALUES[other])))


def repadded(change: Callable[[bytes], bytes]) -> bytes:
    return change(codec_for(str).encode("138"))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: bytes(16),
        lambda data: b"\x80".ljust(16, b"\0"),
        lambda data: b"\x01",
        lambda data: data.rstrip(b"\0").rstrip(b"\x80"),
        lambda data: data[:-1] + b"\x01",
        lambda data: data.replace(b"\x80", b"\x81"),
        lambda data: data.replace(b"\x80", b"\0"),
        lambda data: data[1:],
        lambda data: b"\0" + data,
        lambda data: data.replace(b"\x80", b"\x80\x80"),
    ],
)
def test_padding_other_than_one_0x80_and_zeros_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DecryptionError):
        codec_for(str).decode(repadded(change))


@given(st.text(), st.data())
def test_a_change_of_any_padding_byte_is_refused(text: str, data: st.DataObject) -> None:
    encoded = bytearray(codec_for(str, pad=32).encode(text))
    start = 1 + len(text.encode())
    at = data.draw(st.integers(start, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255).filter(lambda mask: encoded[at] ^ mask != 0x80))
    try:
        decoded = codec_for(str).decode(bytes(encoded))
    except DecryptionError:
        return
    # Only where the text itself ended in what now reads as padding is there another text: and it is another one.
    assert decoded != text
    assert text.encode().rstrip(b"\0").endswith(b"\x80")


ALIAS = NewType("ALIAS", str)
TYPES: dict[Any, str] = {
    str: "str",
    Optional[str]: "str",  # noqa: UP045 (models may still be written so)
    str | None: "str",
    Union[None, date]: "date",  # noqa: UP007 (as above)
    Annotated[int, "years"]: "int",
    Annotated[Decimal | None, "yuan"]: "decimal",
    ALIAS: "str",
    datetime | None: "datetime",
    bool: "bool",
    uuid.UUID: "uuid",
    Colour | None: "enum",
    Town: "enum",
    dict: "json",
    dict[str, int]: "json",
    list[str] | None: "json",
    Mapping[str, Any]: "json",
    MutableSequence[int]: "json",
    House: "json",
    dict[str, int] | list[int]: "json",
    Any: "json",
    JSON: "json",
}


@pytest.mark.parametrize(("annotation", "name"), TYPES.items(), ids=str)
def test_an_annotation_has_its_codec(annotation: Any, name: str) -> None:
    codec = codec_for(annotation)
    assert codec.name == name
    assert codec.pad == (128 if name == "json" else 16)
    assert codec_for(annotation, pad=32).pad == 32


def test_json_fields_keep_to_the_shape_they_are_annotated_with() -> None:
    assert type(codec_for(dict[str, int]).decode(codec_for(House).encode({"rooms": 3}))) is FrozenDict
    assert type(codec_for(list[int]).decode(codec_for(list).encode((1, 2)))) is FrozenList
    assert codec_for(dict | list).decode(codec_for(list).encode([1])) == [1]
    with pytest.raises(DecryptionError, match="JSON object"):
        codec_for(dict).decode(codec_for(list).encode([1]))


class Rights(Flag):
    READ = auto()


class Nobody(Enum):
    pass


@pytest.mark.parametrize(
    "annotation",
    [float, complex, tuple, set, object, type(None), "str", int | str, Rights, Nobody, Masklike, list | int],
)
def test_a_type_without_a_codec_is_a_model_error(annotation: Any) -> None:
    with pytest.raises(ModelError):
        codec_for(annotation)


def test_float_is_pointed_to_decimal() -> None:
    with pytest.raises(ModelError, match="use Decimal"):
        codec_for(float)


@pytest.mark.parametrize("pad", [0, -16, 65_537, True, 1.5, "16"])
def test_a_padding_that_makes_no_sense_is_a_model_error(pad: Any) -> None:
    with pytest.raises(ModelError, match="pad="):
        codec_for(str, pad=pad)


def test_masks_are_json_in_blocks_of_16() -> None:
    assert (mask_codec.name, mask_codec.pad) == ("json", 16)
    assert len(mask_codec.encode("*******5678")) == 16
    assert mask_codec.decode(mask_codec.encode({"surname": "张"})) == {"surname": "张"}


def test_codecs_of_one_type_are_equal_and_show_no_function() -> None:
    assert codec_for(str) == codec_for(str | None) != codec_for(str, pad=32)
    assert len({codec_for(str), codec_for(str), codec_for(bytes)}) == 2
    assert isinstance(codec_for(str), Codec)
    assert "function" not in repr(codec_for(str))

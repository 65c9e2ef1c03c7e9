"""PAE and canonical JSON, and the frozen values that come back."""

from __future__ import annotations

import copy
import json
import math
import pickle
import struct
from collections.abc import Callable
from enum import IntEnum, StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from vaultstore.canonical import FrozenDict, FrozenList, canonical_json, freeze, pae, parse_json, thaw
from vaultstore.errors import UnsupportedOperation, VaultstoreError

SAFE = 2**53 - 1
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-SAFE, SAFE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
parts = st.lists(st.binary(max_size=20), max_size=6)


@given(parts, parts)
def test_two_lists_of_parts_share_no_encoding(one: list[bytes], other: list[bytes]) -> None:
    assert (pae(*one) == pae(*other)) == (one == other)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=4), st.data())
def test_moving_a_border_between_parts_changes_the_encoding(one: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(one)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(joined)), min_size=len(one) - 1, max_size=len(one) - 1)))
    other = [joined[a:b] for a, b in zip([0, *cuts], [*cuts, len(joined)], strict=True)]
    assert (pae(*one) == pae(*other)) == (one == other)


@given(parts)
def test_the_parts_can_be_read_back(one: list[bytes]) -> None:
    data, read, at = pae(*one), [], 8
    for _ in range(struct.unpack("<Q", data[:8])[0]):
        (size,) = struct.unpack_from("<Q", data, at)
        read.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    assert (read, at) == (one, len(data))


def test_pae_gives_what_the_paseto_specification_lists() -> None:
    assert pae() == bytes(8)
    assert pae(b"") == b"\x01" + bytes(15)
    assert pae(b"test") == b"\x01" + bytes(7) + b"\x04" + bytes(7) + b"test"


# RFC 8785 appendix B: IEEE 754 double in hexadecimal -> JSON.
APPENDIX_B = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), APPENDIX_B.items())
def test_numbers_are_written_as_rfc_8785_appendix_b_lists(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()
    assert parse_json(text.encode()) == number


@given(json_values)
def test_json_comes_back_equal_and_frozen(value: Any) -> None:
    read = parse_json(canonical_json(value))
    assert read == value
    assert not has_plain_container(read)
    assert canonical_json(read) == canonical_json(value)


@given(st.text())
def test_the_short_way_for_text_writes_and_reads_the_same(text: str) -> None:
    written = canonical_json(text)
    assert written == rfc8785.dumps(text)
    assert parse_json(written) == text == json.loads(written)


@given(st.text(alphabet='"\\ \x00\x1f\x7fa\u2028/ud8', max_size=12))
def test_text_in_quotes_reads_exactly_where_json_reads_it(inner: str) -> None:
    data = f'"{inner}"'.encode()
    try:
        read = json.loads(data)
    except ValueError:
        with pytest.raises(ValueError):
            parse_json(data)
    else:
        assert parse_json(data) == read


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    assert canonical_json({"\ufb33": 1, "😀": 2, "a": 3}) == '{"a":3,"😀":2,"\ufb33":1}'.encode()


@given(st.integers())
def test_an_integer_is_written_only_within_the_i_json_range(number: int) -> None:
    if abs(number) <= SAFE:
        assert canonical_json(number) == str(number).encode()
    else:
        with pytest.raises(UnsupportedOperation, match="keep it as text"):
            canonical_json(number)


def recursive_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


REFUSED: dict[str, Any] = {
    "NaN": math.nan,
    "infinity": [math.inf],
    "an integer beyond the range": {"n": 987654321987654321},
    "a lone surrogate": "secret\ud800",
    "a lone surrogate in a list": ["secret\ud800"],
    "a lone surrogate in a key": {"secret\ud800": 1},
    "a key that is no text": {987654321987654321: 1},
    "bytes": b"secret",
    "a set": {"secret"},
    "an object": object(),
    "a list in itself": recursive_list(),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_what_json_cannot_carry_is_refused_without_showing_it(value: Any) -> None:
    with pytest.raises(UnsupportedOperation) as caught:
        canonical_json(value)
    assert "secret" not in str(caught.value)
    assert "987654321987654321" not in str(caught.value)
    assert caught.value.__context__ is None
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b" 1", b"1 ", b"1 2", b'"', b"'a'", b'"a""', b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"01"),
        *(b'{"a":1,"a":2}', b'{"a":', b"[" * 100_000, b"\xff", b'"\x01"'),
    ],
)
def test_what_is_not_one_json_value_is_not_read(data: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_json(data)


def has_plain_container(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) is not FrozenDict or any(map(has_plain_container, value.values()))
    if isinstance(value, list):
        return type(value) is not FrozenList or any(map(has_plain_container, value))
    return False


CHANGES: dict[str, Callable[[Any], Any]] = {
    "d[k] = v": lambda d: d.__setitem__("a", 1),
    "del d[k]": lambda d: d.__delitem__("a"),
    "d |= ": lambda d: d.__ior__({}),
    "d.clear": lambda d: d.clear(),
    "d.pop": lambda d: d.pop("a"),
    "d.popitem": lambda d: d.popitem(),
    "d.setdefault": lambda d: d.setdefault("a", 1),
    "d.update": lambda d: d.update(a=1),
    "x[0] = v": lambda d: d["x"].__setitem__(0, 1),
    "x[:] = v": lambda d: d["x"].__setitem__(slice(None), [1]),
    "del x[0]": lambda d: d["x"].__delitem__(0),
    "x += ": lambda d: d["x"].__iadd__([1]),
    "x *= ": lambda d: d["x"].__imul__(2),
    "x.append": lambda d: d["x"].append(1),
    "x.clear": lambda d: d["x"].clear(),
    "x.extend": lambda d: d["x"].extend([1]),
    "x.insert": lambda d: d["x"].insert(0, 1),
    "x.pop": lambda d: d["x"].pop(),
    "x.remove": lambda d: d["x"].remove(1),
    "x.reverse": lambda d: d["x"].reverse(),
    "x.sort": lambda d: d["x"].sort(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_frozen_value_refuses_every_change(change: Callable[[Any], Any]) -> None:
    value = parse_json(b'{"a":0,"x":[1,2]}')
    with pytest.raises(UnsupportedOperation, match="change a copy"):
        change(value)
    assert value == {"a": 0, "x": [1, 2]}


def test_no_mutating_method_of_dict_and_list_was_forgotten() -> None:
    harmless = {"__init__", "__new__", "__getattribute__", "__setattr__", "__delattr__", "__class_getitem__"}
    harmless |= {"copy", "count", "fromkeys", "get", "index", "items", "keys", "values"}
    for frozen, plain in ((FrozenDict, dict), (FrozenList, list)):
        added = {name for name in vars(plain) if name not in vars(object) and name not in harmless}
        reading = {"__contains__", "__getitem__", "__iter__", "__len__", "__reversed__", "__or__", "__ror__"}
        reading |= {"__add__", "__mul__", "__rmul__"}
        assert added - reading <= set(vars(frozen))


@given(json_values)
def test_a_frozen_value_copies_pickles_and_dumps_like_a_plain_one(value: Any) -> None:
    frozen = freeze(value)
    assert copy.copy(frozen) == copy.deepcopy(frozen) == frozen == value
    assert copy.deepcopy(frozen) is frozen or not isinstance(value, (dict, list))
    unpickled = pickle.loads(pickle.dumps(frozen))
    assert unpickled == value
    assert not has_plain_container(unpickled)
    assert json.loads(json.dumps(frozen)) == value


@given(json_values)
def test_thawing_gives_a_plain_copy_that_may_change(value: Any) -> None:
    thawed = thaw(freeze(value))
    assert thawed == value
    assert json.dumps(thawed) == json.dumps(value)
    if isinstance(thawed, dict):
        thawed["new"] = 1
    assert freeze(value) == value


def test_a_later_change_does_not_reach_a_frozen_copy() -> None:
    inner = [1]
    frozen = freeze({"a": inner, "b": (inner,)})
    inner.append(2)
    assert frozen == {"a": [1], "b": [[1]]}


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    ONE = 1


class Label(str):
    __slots__ = ()


def test_members_of_text_and_integer_enumerations_freeze_to_their_values() -> None:
    frozen = freeze([Colour.RED, Level.ONE])
    assert [type(item) for item in frozen] == [str, int]
    assert frozen == ["red", 1]


@pytest.mark.parametrize("value", [Label("secret"), [Label("secret")], {"a": Label("secret")}, {Label("secret"): 1}])
def test_another_kind_of_text_is_not_frozen_into_plain_text(value: Any) -> None:
    with pytest.raises(UnsupportedOperation, match="Label") as caught:
        freeze(value)
    assert "secret" not in str(caught.value)


def test_a_value_of_more_than_64_levels_is_refused() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert parse_json(canonical_json(freeze(value))) == value
    with pytest.raises(VaultstoreError, match="64 levels"):
        freeze([value])
    with pytest.raises(VaultstoreError, match="64 levels"):
        freeze(recursive_list())

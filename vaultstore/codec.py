"""Values as the bytes that are sealed: a type byte, a canonical encoding, and ISO/IEC 7816-4 padding.

docs/formats/values.md gives the tables. A codec is a pair of plain functions, since both run once a cell.
"""

from __future__ import annotations

import collections.abc
import struct
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Annotated, Any, NewType, TypeAlias, Union, get_args, get_origin, is_typeddict

from vaultstore.canonical import FrozenDict, FrozenList, canonical_json, freeze, parse_json, thaw
from vaultstore.errors import DecryptionError, ModelError, UnsupportedOperation

__all__ = ["JSON", "Codec", "FrozenDict", "FrozenList", "codec_for", "freeze", "mask_codec", "thaw"]

JSON: TypeAlias = Any
"""Annotation of a field that holds any JSON value but null at its top."""

_PAD, _JSON_PAD, _LARGEST_PAD = 16, 128, 65_536
_INT32, _INT64 = struct.Struct(">i"), struct.Struct(">q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

# What reading malformed bytes may raise on the way; each may carry the value, so none gets out.
_MALFORMED = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, struct.error)


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of one Python type become bytes and come back.

    `encode(value) -> bytes` raises UnsupportedOperation that names the expected type, never the value;
    `decode(bytes) -> value` raises DecryptionError for bytes that `encode` did not make. Neither takes None: a NULL
    is stored as NULL.
    """

    name: str
    """str, bytes, int, bool, decimal, date, datetime, uuid, enum or json."""
    python_type: Any
    """The type of what `encode` takes; Any for any JSON value."""
    pad: int
    """Encoded values are a whole multiple of this many bytes. Reading does not depend on it."""
    encode: Callable[[Any], bytes] = field(repr=False, compare=False)
    decode: Callable[[bytes], Any] = field(repr=False, compare=False)


def codec_for(python_type: Any, *, pad: int | None = None) -> Codec:
    """The codec of a field annotated with `python_type`.

    Takes str, bytes, int, bool, Decimal, date, datetime, UUID, Enum classes, dict, list and their typing forms
    (`dict[str, int]`, `Mapping[...]`, TypedDict), Any or JSON for any JSON value; `T | None`, Annotated and NewType
    stand for what they hold. `pad` (bytes, 1 to 65,536) is 16, and 128 for JSON, where it is not given.

    Raises ModelError where the type has no codec.
    """
    if pad is not None and (type(pad) is not int or not 1 <= pad <= _LARGEST_PAD):
        raise ModelError(f"pad= is a whole number of bytes from 1 to {_LARGEST_PAD:,}")
    bare = _bare(python_type)
    if bare in _SCALARS:
        name, expected, tag, coerce, to_bytes, from_bytes = _SCALARS[bare]
        return _codec(name, expected, tag, bare, coerce, to_bytes, from_bytes, pad or _PAD)
    if isinstance(bare, type) and issubclass(bare, Enum):
        return _enum_codec(bare, pad or _PAD)
    if bare is Any or bare in _OBJECTS or bare in _ARRAYS or is_typeddict(bare):
        return _json_codec(bare, pad or _JSON_PAD)
    hint = ": use Decimal" if bare is float else ""
    raise ModelError(f"no encrypted field can hold {getattr(python_type, '__name__', python_type)}{hint}")


def _codec(
    name: str,
    expected: str,
    tag: int,
    exact: type,
    coerce: Callable[[Any], Any],
    to_bytes: Callable[[Any], bytes],
    from_bytes: Callable[[bytes], Any],
    pad: int,
    python_type: Any = None,
) -> Codec:
    """Tie one type's conversions to its type byte and padding.

    `coerce` sees only values whose type is not `exact`: it returns one `to_bytes` takes, or None to refuse it.
    """
    head = bytes((tag,))

    def encode(value: Any) -> bytes:
        if type(value) is not exact:
            found, value = type(value).__name__, coerce(value)
            if value is None:
                raise UnsupportedOperation(f"expected {expected}, not {found}")
        try:
            body = head + to_bytes(value) + b"\x80"
            return body.ljust(len(body) + -len(body) % pad, b"\0")
        except UnicodeError:
            pass
        raise UnsupportedOperation(f"expected {expected} that is encodable as UTF-8: it holds a lone surrogate")

    def decode(data: bytes) -> Any:
        body = data.rstrip(b"\0")
        if body[:1] == head and body[-1:] == b"\x80":
            try:
                return from_bytes(body[1:-1])
            except _MALFORMED:
                pass
        raise DecryptionError(f"the opened bytes are not {expected}: another type's, or malformed")

    return Codec(name, python_type or exact, pad, encode, decode)


def _refuse(value: Any) -> None:
    return None


def _text(value: Any) -> str | None:
    # Of str's subclasses only enumerations pass: a Masked stored as text would overwrite the value it masks.
    return str(value.value) if isinstance(value, str) and isinstance(value, Enum) else None


def _subclass_of(base: type, *, but: type | None = None) -> Callable[[Any], Any]:
    def coerce(value: Any) -> Any:
        return value if isinstance(value, base) and (but is None or not isinstance(value, but)) else None

    return coerce


def _int_to_bytes(value: int) -> bytes:
    return int.to_bytes(value, (value if value >= 0 else ~value).bit_length() // 8 + 1, "big", signed=True)


def _int_from_bytes(data: bytes) -> int:
    value = int.from_bytes(data, "big", signed=True)
    if _int_to_bytes(value) != data:
        raise ValueError("not the shortest form")
    return value


_BOOLS = {b"\0": False, b"\x01": True}


def _bool_to_bytes(value: bool) -> bytes:
    return b"\x01" if value else b"\0"


def _decimal_text(value: Decimal) -> str:
    return str(value).upper()  # a decimal context may ask for a small e


def _decimal_to_bytes(value: Decimal) -> bytes:
    if not value.is_finite():
        raise UnsupportedOperation("expected a finite Decimal, not NaN or Infinity")
    return _decimal_text(value).encode()


def _decimal_from_bytes(data: bytes) -> Decimal:
    text = data.decode("ascii")
    value = Decimal(text)
    if not value.is_finite() or _decimal_text(value) != text:
        raise ValueError("not the canonical form")
    return value


def _date_to_bytes(value: date) -> bytes:
    return _INT32.pack(value.toordinal() - _EPOCH_DAY)


def _date_from_bytes(data: bytes) -> date:
    return date.fromordinal(_INT32.unpack(data)[0] + _EPOCH_DAY)


def _datetime_to_bytes(value: datetime) -> bytes:
    if value.utcoffset() is None:
        raise UnsupportedOperation("expected an aware datetime, not one without a time zone: give it a tzinfo")
    delta = value - _EPOCH
    microseconds = (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    if not _FIRST <= microseconds <= _LAST:
        raise UnsupportedOperation("expected a datetime that lies in the years 1 to 9999 in UTC")
    return _INT64.pack(microseconds)


def _datetime_from_bytes(data: bytes) -> datetime:
    return _EPOCH + timedelta(0, 0, _INT64.unpack(data)[0])


def _uuid_to_bytes(value: uuid.UUID) -> bytes:
    return value.bytes


def _uuid_from_bytes(data: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=data)


_Scalar = tuple[str, str, int, Callable[[Any], Any], Callable[[Any], bytes], Callable[[bytes], Any]]

# Python type -> name, what a refusal says it expects, type byte, coerce, to bytes, from bytes.
_SCALARS: dict[Any, _Scalar] = {
    str: ("str", "a str", 0x01, _text, str.encode, bytes.decode),
    bytes: ("bytes", "bytes", 0x02, _subclass_of(bytes), bytes, bytes),
    int: ("int", "an int", 0x03, _subclass_of(int, but=bool), _int_to_bytes, _int_from_bytes),
    bool: ("bool", "a bool", 0x04, _refuse, _bool_to_bytes, _BOOLS.__getitem__),
    Decimal: ("decimal", "a Decimal", 0x05, _subclass_of(Decimal), _decimal_to_bytes, _decimal_from_bytes),
    date: ("date", "a date", 0x06, _subclass_of(date, but=datetime), _date_to_bytes, _date_from_bytes),
    datetime: ("datetime", "an aware datetime", 0x07, _subclass_of(datetime), _datetime_to_bytes, _datetime_from_bytes),
    uuid.UUID: ("uuid", "a UUID", 0x08, _subclass_of(uuid.UUID), _uuid_to_bytes, _uuid_from_bytes),
}
_ENUM, _JSON = 0x09, 0x0A
_OBJECTS = {dict, FrozenDict, collections.abc.Mapping, collections.abc.MutableMapping}
_ARRAYS = {list, FrozenList, collections.abc.Sequence, collections.abc.MutableSequence}


class _Nothing:
    """The type of no value."""


def _enum_codec(kind: type[Enum], pad: int) -> Codec:
    if issubclass(kind, Flag) or not len(kind):
        raise ModelError(f"{kind.__name__} is no enumeration of single members, and a member is stored by its name")
    members = {member.name.encode(): member for member in kind}

    def to_bytes(value: Enum) -> bytes:
        return value.name.encode()

    return _codec("enum", f"a member of {kind.__name__}", _ENUM, kind, _refuse, to_bytes, members.__getitem__, pad)


def _json_codec(kind: Any, pad: int) -> Codec:
    shape: tuple[type, ...]
    if kind is Any:
        shape, expected = (dict, list, str, int, float, bool), "a JSON value other than null"
    elif kind in _ARRAYS:
        shape, expected = (list, tuple), "a JSON array (list)"
    else:
        shape, expected = (dict,), "a JSON object (dict)"

    def coerce(value: Any) -> Any:
        return freeze(value) if isinstance(value, shape) else None

    def from_bytes(data: bytes) -> Any:
        value = parse_json(data)
        if not isinstance(value, shape):
            raise TypeError("another kind of JSON value")
        return value

    # Text skips `freeze` where any JSON value may come: nothing in it can change or nest. The rest never skips it.
    exact = str if kind is Any else _Nothing
    return _codec("json", expected, _JSON, exact, coerce, canonical_json, from_bytes, pad, python_type=kind)


def _bare(annotation: Any) -> Any:
    """The class (or Any) that `annotation` stands for, without None, Annotated, NewType and parameters."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        kinds = {_bare(part) for part in get_args(annotation) if part is not types.NoneType}
        if len(kinds) == 1:
            return kinds.pop()
        if kinds <= _OBJECTS | _ARRAYS:
            return Any
        raise ModelError(f"an encrypted field has one type, not {annotation}: each value must know how it is read")
    if isinstance(annotation, NewType):
        return _bare(annotation.__supertype__)
    return annotation if origin is None else origin


mask_codec = _json_codec(Any, _PAD)
"""The codec of projections: any JSON value, padded to 16 bytes."""

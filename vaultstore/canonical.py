"""Canonical bytes: PASETO's pre-authentication encoding, RFC 8785 JSON, and JSON values that nobody changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from enum import Enum
from json.encoder import encode_basestring
from struct import Struct
from typing import Any, Never

import rfc8785

from vaultstore.errors import UnsupportedOperation

__all__ = ["FrozenDict", "FrozenList", "NotCanonical", "canonical_json", "freeze", "pae", "parse_json", "thaw"]

_LE64 = Struct("<Q").pack
_SAFE_INTEGER = 2**53 - 1
_DEEPEST = 64


class NotCanonical(UnsupportedOperation, ValueError):
    """A value that canonical JSON can't carry; a ValueError too, for callers to whom it is malformed input."""


def pae(*parts: bytes) -> bytes:
    """Join `parts` so that no other list of parts gives the same bytes.

    LE64(count), then LE64(length) and the bytes of each part: PAE as PASETO defines it
    (paseto-spec, docs/01-Protocol-Versions/Common.md).
    """
    pieces = [_LE64(len(parts))]
    for part in parts:
        pieces.append(_LE64(len(part)))
        pieces.append(part)
    return b"".join(pieces)


def canonical_json(value: Any) -> bytes:
    """UTF-8 bytes of `value` (None, bool, int, float, str, list, tuple, dict) in the form of RFC 8785 (JCS).

    Raises NotCanonical for what JSON on every platform can't carry (RFC 7493, I-JSON): integers beyond ±(2^53 - 1),
    NaN, infinities, lone surrogates, keys that are not text, other types, endless nesting.
    """
    try:
        if type(value) is str:  # the usual mask: the same bytes, ten times as fast
            return encode_basestring(value).encode()
        return rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        reason = "an integer beyond ±(2^53 - 1) does not survive JSON: keep it as text"
    except rfc8785.FloatDomainError:
        reason = "JSON has no NaN and no infinity"
    except RecursionError:
        reason = "the value is nested too deeply, or contains itself"
    except (rfc8785.CanonicalizationError, UnicodeError):
        reason = "JSON takes None, bool, int, float, str, list and dict with text keys, all text encodable as UTF-8"
    # Raised here and not in the handlers, so that no cause hangs on the error: theirs carry the value.
    raise NotCanonical(reason)


def _no_change(self: object, *_: Any, **__: Any) -> Never:
    raise UnsupportedOperation(
        "a stored JSON value is not changed in place: change a copy (vaultstore.codec.thaw) and assign it to the field"
    )


class FrozenDict(dict[str, Any]):
    """A JSON object as it was stored: a dict whose methods refuse to change it."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = _no_change
    clear = pop = popitem = setdefault = update = _no_change

    def __copy__(self) -> FrozenDict:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A JSON array as it was stored: a list whose methods refuse to change it."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _no_change
    append = clear = extend = insert = pop = remove = reverse = sort = _no_change

    def __copy__(self) -> FrozenList:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenList:
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return FrozenList, (list(self),)


def freeze(value: Any, _levels: int = _DEEPEST) -> Any:
    """An immutable deep copy of a JSON value; later changes to `value` don't reach it.

    Tuples become lists, members of str and int enumerations their values. Raises UnsupportedOperation for other
    types, for other subclasses of str (Masked is one: a mask must not be stored as if it were the value), and for
    more than 64 levels; the message names the type and never the value.
    """
    kind = type(value)
    if kind is str or kind is int or kind is bool or kind is float or value is None:
        return value
    if not _levels:
        raise UnsupportedOperation(f"a JSON value has at most {_DEEPEST} levels")
    if isinstance(value, dict):
        return FrozenDict((_key(key), freeze(item, _levels - 1)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return FrozenList(freeze(item, _levels - 1) for item in value)
    if isinstance(value, Enum) and isinstance(value, (str, int)):
        return freeze(value.value, _levels - 1)
    raise UnsupportedOperation(f"expected a JSON value, found {kind.__name__} in it")


def _key(key: Any) -> str:
    if type(key) is str:
        return key
    raise UnsupportedOperation(f"expected a JSON value, found a {type(key).__name__} as a key")


def thaw(value: Any) -> Any:
    """A deep copy of a JSON value made of plain dicts and lists, free to change."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in value]
    return value


def parse_json(data: bytes) -> Any:
    """The JSON value that `data` holds, frozen.

    Integers beyond ±(2^53 - 1) read as float, which is what RFC 8785 wrote them from. Raises ValueError (or
    RecursionError) for anything that is not one JSON value without space around it; the error may carry the text,
    so let it go no further.
    """
    text = data.decode()
    inner = text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == '"' and inner.isprintable() and "\\" not in inner and '"' not in inner:
        return inner  # the usual mask, text without escapes: a third of the parser's time
    value, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("more than one value")
    return _frozen(value)


def _frozen(value: Any) -> Any:
    return FrozenList(map(_frozen, value)) if type(value) is list else value


def _object(pairs: Iterable[tuple[str, Any]]) -> FrozenDict:
    items = [(key, _frozen(value)) for key, value in pairs]
    frozen = FrozenDict(items)
    if len(frozen) != len(items):
        raise ValueError("a key appears twice")
    return frozen


def _integer(text: str) -> int | float:
    if len(text) <= 17:  # sign and 16 digits, so that no long text is parsed in quadratic time
        number = int(text)
        if -_SAFE_INTEGER <= number <= _SAFE_INTEGER:
            return number
    return _float(text)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("out of range")
    return number


def _constant(name: str) -> Never:
    raise ValueError("not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)

"""Blind indexes: equality search over a field that the database can't read.

The index of a value is HMAC-SHA-256 under the field's own key, over the message that `BlindIndex.message` makes of it.
This module makes the message; the key service computes the HMAC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.normalize import Normalizer, NotNormalizable, identity

__all__ = ["BlindIndex", "blind_index"]

_IDENTITY = identity()
_INDEXABLE = frozenset({"str", "bytes", "int", "decimal", "uuid", "datetime"})
_MOST_DIGITS = 4096  # before and after the point: an exponent could ask for gigabytes of zeros
_TOO_FEW = frozenset({"bool", "date", "enum"})


@dataclass(frozen=True, slots=True)
class BlindIndex:
    """How a field is indexed; see `blind_index`."""

    normalize: Normalizer = _IDENTITY
    unique: bool = False
    forever: bool = False

    @property
    def fingerprint(self) -> str:
        """E.g. ``blind_index(normalize=phone_e164(region=CN),unique=false)``."""
        forever = ",forever=true" if self.forever else ""
        unique = "true" if self.unique else "false"
        return f"blind_index(normalize={self.normalize.fingerprint},unique={unique}{forever})"

    @property
    def accepts(self) -> frozenset[str]:
        """Names of the types it can index, as codec.py names them: only text where there is a normaliser."""
        return _INDEXABLE if self.normalize == _IDENTITY else frozenset({"str"})

    def check(self, type_name: str) -> None:
        """Check at definition that a field of this type (as codec.py names it) can have this index.

        Raises:
            ModelError: it can't. Enum, bool and date have so few values that whoever reads the column could count and
                guess them.
        """
        if type_name in _TOO_FEW:
            raise ModelError(f"a field of type {type_name} cannot be indexed: too few values")
        if type_name not in self.accepts:
            raise ModelError(
                f"a field of type {type_name} cannot be indexed with {self.normalize.fingerprint}: "
                f"it takes {', '.join(sorted(self.accepts))}"
            )

    def message(self, value: object) -> bytes:
        """The bytes of `value` that go under the HMAC: of equal values the same, of others different ones.

        Text is UTF-8 of its normal form, bytes as they are, an int or Decimal its digits without exponent, leading and
        trailing zeros (so that 5 and 5.00 are equal), a UUID its 16 bytes, an aware datetime RFC 3339 in UTC with
        microseconds (``2021-11-01T00:00:00.000000Z``).

        Raises:
            NotNormalizable: the value has no normal form.
            UnsupportedOperation: its type can't be indexed.
        """
        normal = self.normalize(value)
        if isinstance(normal, Enum | bool):
            raise UnsupportedOperation("a blind index takes no Enum or bool: too few values")
        if isinstance(normal, str):
            try:
                return normal.encode()
            except UnicodeEncodeError:
                raise NotNormalizable(self.normalize.fingerprint, "a lone surrogate is no character") from None
        if isinstance(normal, bytes):
            return bytes(normal)
        if isinstance(normal, UUID):
            return normal.bytes
        if isinstance(normal, datetime):
            return _time(normal)
        if isinstance(normal, int | Decimal):
            return _number(Decimal(normal))
        raise UnsupportedOperation("a blind index takes str, bytes, int, Decimal, UUID or an aware datetime")


def blind_index(normalize: Normalizer | None = None, unique: bool = False, *, forever: bool = False) -> BlindIndex:
    """A blind index for an encrypted column: finds values that are equal after `normalize` (default: the same).

    It tells whoever reads the database which rows hold equal values. `unique` lets the database refuse a second one.
    `forever` keeps every version of its key: tags are made with it (`PurposeSession.tags`) of values that nobody keeps,
    so they can't be made anew under another.

    Raises:
        ModelError: `normalize` is no normaliser (a function with a `fingerprint`).
    """
    if normalize is None:
        normalize = _IDENTITY
    if not callable(normalize) or not isinstance(getattr(normalize, "fingerprint", None), str):
        raise ModelError("blind_index() takes a normaliser such as normalize.text(): a function with a fingerprint")
    return BlindIndex(normalize, bool(unique), bool(forever))


def _time(value: datetime) -> bytes:
    if value.utcoffset() is None:
        raise UnsupportedOperation("a blind index takes aware datetimes only")
    try:
        utc = value.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise NotNormalizable("identity()", "in UTC the time is outside the years 1 to 9999") from None
    return f"{utc.isoformat(timespec='microseconds')}Z".encode()


def _number(value: Decimal) -> bytes:
    if not value.is_finite():
        raise NotNormalizable("identity()", "a number that is not finite equals nothing")
    if not value:
        return b"0"
    if value.adjusted() >= _MOST_DIGITS or int(value.as_tuple().exponent) <= -_MOST_DIGITS:
        raise NotNormalizable("identity()", "a number of more than 4,096 digits can't be indexed")
    text = f"{value:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()

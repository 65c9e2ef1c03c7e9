"""A copy of a member's data as a file: how values are written in it, and how it is read back, strictly.

The file is one JSON object, written line by line so that a long one needs no memory. docs/formats/export.md.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from enum import Enum
from hashlib import sha256
from typing import Any

from sqlalchemy.orm import ColumnProperty

from vaultstore.canonical import parse_json, thaw
from vaultstore.errors import BundleError, ProofError, UnsupportedOperation
from vaultstore.orm.registry import ModelInfo
from vaultstore.records.base import rfc3339
from vaultstore.signed_note import Note

__all__ = ["FORMAT", "Bundle", "Kind", "clear_columns", "digest_of", "kinds_of", "read_bundle", "read_value", "written"]

FORMAT = "vaultstore/export/v1"

Kind = str
"""Name of a value's type, as in docs/formats/values.md, and ``float``, ``other``; with ``?`` where it may be null."""

_TOP = (
    "format", "origin", "subject", "made_at", "made_for", "schema", "states", "consents", "cases", "rows", "withheld",
    "counts", "sha256", "seal",
)  # fmt: skip
_MARK = b'\n"sha256":"'
_SAFE = 2**53 - 1
_MODEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_KINDS: tuple[tuple[type, Kind], ...] = (
    (Enum, "enum"),
    (bool, "bool"),
    (datetime, "datetime"),
    (date, "date"),
    (str, "str"),
    (bytes, "bytes"),
    (int, "int"),
    (float, "float"),
    (Decimal, "decimal"),
    (uuid.UUID, "uuid"),
    (dict, "json"),
    (list, "json"),
)


# ------------------------------------------------------------------------------------------------------- writing


def clear_columns(info: ModelInfo) -> dict[str, ColumnProperty[Any]]:
    """Attribute key -> property of a model's columns that are not encrypted."""
    hidden = {*info.sealed_keys, *info.computed_keys}
    return {p.key: p for p in info.mapper.column_attrs if p.key not in hidden}


def kinds_of(info: ModelInfo) -> dict[str, Kind]:
    """Attribute key -> kind of what it holds: clear columns, then encrypted fields."""
    found = {}
    for key, prop in clear_columns(info).items():
        column: Any = prop.columns[0]
        python_type = _python_type(column.type)
        kind = next((name for base, name in _KINDS if issubclass(python_type, base)), "other")
        found[key] = kind + "?" * bool(getattr(column, "nullable", False))
    for f in info.fields:
        found[f.name] = f.codec.name + "?" * bool(getattr(f.prop.columns[0], "nullable", False))
    return found


def _python_type(kind: Any) -> type[Any]:
    try:
        found: type[Any] = kind.python_type
    except NotImplementedError:
        found = object
    impl = getattr(kind, "impl_instance", None)  # of a TypeDecorator: what it is kept as
    return _python_type(impl) if found is object and impl is not None else found


def written(value: Any) -> Any:
    """A value as JSON data. What has no form of its own is written as its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, int):
        return value if abs(value) <= _SAFE else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is None else rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict | list):
        return thaw(value)
    return str(value)


def digest_of(data: bytes) -> str | None:
    """SHA-256, in hex, of all lines of a file before the one that names it; None where no line does."""
    body, mark, _ = data.rpartition(_MARK)
    return sha256(body + b"\n").hexdigest() if mark else None


# ------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Bundle:
    """A copy as its file says it; its digest holds, and its form is right. Whose seal it bears is not yet checked."""

    origin: str
    subject: uuid.UUID
    made_at: datetime
    made_for: Mapping[str, Any]
    schema: Mapping[str, Mapping[str, Kind]]
    states: tuple[Mapping[str, Any], ...] = field(repr=False)
    consents: tuple[Mapping[str, Any], ...] = field(repr=False)
    cases: tuple[Mapping[str, Any], ...] = field(repr=False)
    rows: Mapping[str, tuple[Mapping[str, Any], ...]] = field(repr=False)
    """Model -> rows, attribute -> value as JSON data."""
    withheld: tuple[Mapping[str, Any], ...]
    sha256: str
    seal: Note | None


def read_bundle(data: bytes) -> Bundle:
    """Read a file. Raises BundleError that says what is wrong with it, and where."""
    digest = digest_of(data)
    if digest is None:
        raise BundleError(f"the file is no copy of a member's data in the form {FORMAT}")
    try:
        content = parse_json(data.strip())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BundleError("the file is not JSON: it was cut off, or altered")
    if content.get("format") != FORMAT:
        raise BundleError(f"the file is not in the form {FORMAT}", place="format")
    for name in sorted({*_TOP} ^ content.keys()):
        raise BundleError("is missing" if name in _TOP else "is not known to this version", place=_shown(name))
    if content["sha256"] != digest:
        raise BundleError("the file is not the one that was written: it was altered since", place="sha256")
    read = _Reader()
    rows = read.rows(content)
    return Bundle(
        read.text(content["origin"], "origin"),
        read_value("uuid", content["subject"], "subject"),
        read_value("datetime", content["made_at"], "made_at"),
        read.table(content["made_for"], "made_for"),
        read.schema(content["schema"]),
        read.tables(content["states"], "states"),
        read.tables(content["consents"], "consents"),
        read.tables(content["cases"], "cases"),
        rows,
        read.tables(content["withheld"], "withheld"),
        digest,
        read.seal(content["seal"]),
    )


class _Reader:
    """Reads parts of the content, each with its place."""

    def text(self, value: object, place: str) -> str:
        if not isinstance(value, str) or not value.isprintable():
            raise BundleError("is not text of one line", place=place)
        return value

    def table(self, value: object, place: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise BundleError("is not an object", place=place)
        return value

    def items(self, value: object, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise BundleError("is not a list", place=place)
        return value

    def tables(self, value: object, place: str) -> tuple[Mapping[str, Any], ...]:
        return tuple(self.table(item, f"{place}[{n}]") for n, item in enumerate(self.items(value, place)))

    def models(self, value: object, place: str) -> list[tuple[str, Any]]:
        found = list(self.table(value, place).items())
        for model, _ in found:
            if not _MODEL.fullmatch(model):
                raise BundleError("is not the name of a model", place=f"{place}.{_shown(model)}")
        return found

    def schema(self, value: object) -> dict[str, Mapping[str, Kind]]:
        found: dict[str, Mapping[str, Kind]] = {}
        for model, kinds in self.models(value, "schema"):
            place = f"schema.{model}"
            found[model] = {
                key: self.text(kind, f"{place}.{_shown(key)}") for key, kind in self.table(kinds, place).items()
            }
        return found

    def rows(self, content: Mapping[str, Any]) -> dict[str, tuple[Mapping[str, Any], ...]]:
        schema, counts = self.table(content["schema"], "schema"), self.table(content["counts"], "counts")
        found = {}
        for model, items in self.models(content["rows"], "rows"):
            place = f"rows.{model}"
            if model not in schema:
                raise BundleError("is a model that the schema does not have", place=place)
            rows = self.items(items, place)
            if counts.get(model) != len(rows):
                raise BundleError("does not have as many rows as the file says", place=place)
            found[model] = tuple(self.table(row, f"{place}[{n}]") for n, row in enumerate(rows))
        return found

    def seal(self, value: object) -> Note | None:
        if value is None:
            return None
        try:
            return Note.parse(self.text_of_note(value))
        except ProofError as flaw:
            raise BundleError(str(flaw), place="seal") from None

    def text_of_note(self, value: object) -> str:
        if not isinstance(value, str):
            raise BundleError("is not text", place="seal")
        return value


def read_value(kind: Kind, value: Any, place: str, enum: type[Enum] | None = None) -> Any:
    """A value of `kind` from JSON data. Raises BundleError at `place`."""
    bare = kind.removesuffix("?")
    if value is None:
        if kind.endswith("?"):
            return None
        raise BundleError("is null, and must have a value", place=place)
    read = _READ.get(bare)
    if bare == "enum" and enum is not None:
        read = _member(enum)
    if read is None:
        raise BundleError(f"is of the type {_shown(bare)}, which can't be read back", place=place)
    try:
        found = read(value)
    except (ValueError, TypeError, ArithmeticError, KeyError, InvalidOperation, UnsupportedOperation):
        found = None
    if found is None or (bare in _EXACT and written(found) != value):
        raise BundleError(f"is not {_A[bare]}", place=place)
    return found


def _of(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if type(value) is kind else None


def _text(value: Any) -> str | None:
    if type(value) is not str:
        return None
    value.encode()  # a lone surrogate is a ValueError
    return value


def _integer(value: Any) -> int | None:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and len(value) < 10_000 else None


def _bytes(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return None


def _decimal(value: Any) -> Decimal | None:
    found = Decimal(value) if isinstance(value, str) else None
    return found if found is not None and found.is_finite() else None


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC) if value.endswith("Z") else datetime.fromisoformat(value)


def _member(enum: type[Enum]) -> Callable[[Any], Any]:
    return lambda value: enum[value] if isinstance(value, str) else None


_READ: Mapping[str, Callable[[Any], Any]] = {
    "str": _text,
    "bytes": _bytes,
    "int": _integer,
    "bool": _of(bool),
    "float": lambda value: float(value) if type(value) in (int, float) else None,
    "decimal": _decimal,
    "date": date.fromisoformat,
    "datetime": _moment,
    "uuid": uuid.UUID,
    "json": thaw,
}
_EXACT = frozenset({"bytes", "int", "date", "datetime", "uuid"})
"""Kinds whose values have one form only."""
_A = {
    "str": "text",
    "bytes": "bytes in base64",
    "int": "a whole number",
    "bool": "true or false",
    "float": "a number",
    "decimal": "a decimal number as text",
    "date": "a date (YYYY-MM-DD)",
    "datetime": "a time (RFC 3339, UTC, microseconds)",
    "uuid": "a UUID",
    "enum": "the name of one of the values that there are",
    "json": "JSON",
}


def _shown(name: str) -> str:
    """A name out of the file, cut short: it may be anything."""
    return ascii(name)[1:-1][:40]

"""Digests of blind indexes, under every version of a key that rows may have them of."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.exc import IntegrityError

from vaultstore.errors import KeyServiceUnavailable
from vaultstore.gate.opened import OpenGrant
from vaultstore.keys import VersionGone
from vaultstore.records.index_versions import FIRST, Place, Versions

__all__ = ["ToWrite", "collision", "digests", "former_digests", "rotated", "to_write", "versions_of"]


def versions_of(indexes: Iterable[str], known: Mapping[str, Versions]) -> dict[str, Versions]:
    """Index name -> versions, also of those that were never rotated."""
    return {name: known.get(name, FIRST) for name in indexes}


def digests(opened: OpenGrant, index: str, values: Sequence[bytes], version: int) -> list[bytes]:
    """Digests of `values` under one version of the index's key; one request at the key service, or a few."""
    return opened.ask(lambda service: service.hmac(index, values, version=version)) if values else []


def former_digests(opened: OpenGrant, index: str, values: Sequence[bytes], versions: Versions) -> list[bytes]:
    """Digests of `values` that rows may have as well while the key is being rotated; none else."""
    return [] if versions.former is None else digests(opened, index, values, versions.former)


class ToWrite(NamedTuple):
    """Digests for rows that are being written, by index."""

    written: Mapping[str, list[bytes]]
    former: Mapping[str, list[bytes]]
    """Of unique indexes whose key is being rotated: those that other rows may have of the same values."""
    gone: VersionGone | None = None
    """There are none: a rotation ended meanwhile, or the key lacks what the database says of it."""


def to_write(
    opened: OpenGrant, values: Mapping[str, Sequence[bytes]], versions: Mapping[str, Versions], unique: Collection[str]
) -> ToWrite:
    """Digests of `values` to write, where `versions` are their indexes'."""
    try:
        written = {name: digests(opened, name, items, versions[name].written) for name, items in values.items()}
        doubtful = [name for name in values if name in unique and versions[name].former is not None]
        former = {name: former_digests(opened, name, values[name], versions[name]) for name in doubtful}
    except VersionGone as gone:
        return ToWrite({}, {}, gone)
    return ToWrite(written, former)


def rotated(what: str) -> KeyServiceUnavailable:
    """The error of who was overtaken by a rotation's beginning or end: what it did would not hold."""
    return KeyServiceUnavailable(f"{what}: the key of the blind index was changed meanwhile; do it again")


def collision(dialect: str, place: Place) -> IntegrityError:
    """What the database raises for a value that is taken, for one that it could not know of.

    The row that has the value has a digest of it under another version of the key.
    """
    if dialect == "postgresql":
        from psycopg.errors import UniqueViolation

        text = f'duplicate key value violates unique constraint "{place.table}_{place.column}_key"'
        return IntegrityError(None, None, UniqueViolation(text))
    return IntegrityError(None, None, sqlite3.IntegrityError(f"UNIQUE constraint failed: {place.table}.{place.column}"))

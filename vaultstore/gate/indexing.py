"""Digests of blind indexes, under every version of a key that rows may have them of."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.exc import IntegrityError

from vaultstore.errors import KeyServiceUnavailable
from vaultstore.gate.opened import OpenGrant
from vaultstore.records.index_versions import FIRST, Place, Versions

__all__ = ["collision", "digests", "former_digests", "rotated", "versions_of"]


def versions_of(indexes: Iterable[str], known: Mapping[str, Versions]) -> dict[str, Versions]:
    """Index name -> versions, also of those that were never rotated."""
    return {name: known.get(name, FIRST) for name in indexes}


def digests(opened: OpenGrant, index: str, values: Sequence[bytes], version: int) -> list[bytes]:
    """Digests of `values` under one version of the index's key; one request at the key service, or a few."""
    return opened.ask(lambda service: service.hmac(index, values, version=version)) if values else []


def former_digests(opened: OpenGrant, index: str, values: Sequence[bytes], versions: Versions) -> list[bytes]:
    """Digests of `values` that rows may have as well while the key is being rotated; none else."""
    return [] if versions.former is None else digests(opened, index, values, versions.former)


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

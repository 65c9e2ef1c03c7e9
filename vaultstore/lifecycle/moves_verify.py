"""Looking at every row of a move: does what is sealed open to just what the plaintext column holds?"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass

from vaultstore.errors import UnsupportedOperation
from vaultstore.lifecycle.moves_open import opened
from vaultstore.lifecycle.moves_table import MovedRow, MovingTable
from vaultstore.lifecycle.moves_work import Holder
from vaultstore.lifecycle.parts import Parts
from vaultstore.lifecycle.work import Failure, Progress

__all__ = ["Looked", "look"]

_PAGE = _TOLD = 1000


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at every row came to."""

    rows: int
    failed: int
    """How many rows are not sealed, do not open, or hold something else."""
    failures: tuple[Failure, ...]
    """The first thousand of them. Never a value."""
    high: str | None
    """The key of the last row."""
    digest: str
    """Hex HMAC-SHA-256 over (row key, encoded value) of every sealed value, in the order of keys."""
    same: bool
    """Whether the plaintexts have the same digest under the same key, which is random and gone by now."""


def look(
    parts: Parts,
    holder: Holder,
    moving: MovingTable,
    on_progress: Callable[[Progress], None],
    *,
    plaintext: bool = True,
) -> Looked:
    """Open every sealed value; with `plaintext`, compare it with what it was sealed from."""
    key = os.urandom(32)
    sealed, plain = hmac.new(key, digestmod=hashlib.sha256), hmac.new(key, digestmod=hashlib.sha256)
    failures: list[Failure] = []
    seen, failed, after = 0, 0, None
    with parts.engine.connect() as connection:
        total = moving.count(connection, moving.filled)
    while True:
        with parts.engine.connect() as connection:
            rows = moving.page(connection, moving.filled, after, None, _PAGE)
        if not rows:
            break
        after, found = rows[-1].key, {row.id: value for row, value in opened(parts, holder.grant(), moving, rows)}
        for row in rows:
            there, told = found.get(row.id), _plain(moving, row) if plaintext else None
            if isinstance(there, bytes):
                _add(sealed, row, there)
            if isinstance(told, bytes):
                _add(plain, row, told)
            reason = _why_not(there, told) if plaintext else there if isinstance(there, str) else None
            if not plaintext and row.plain is not None:
                reason = "it still holds plaintext"
            if reason is not None:
                failed += 1
                if len(failures) < _TOLD:
                    failures.append(Failure(row.key, reason))
        holder.forget()
        seen += len(rows)
        on_progress(Progress(max(total, seen), seen - failed, failed))
    same = not plaintext or hmac.compare_digest(sealed.digest(), plain.digest())
    return Looked(seen, failed, tuple(failures), after, sealed.hexdigest(), same)


def _plain(moving: MovingTable, row: MovedRow) -> bytes | str | None:
    if row.plain is None:
        return None
    try:
        return moving.plain_bytes(row)
    except UnsupportedOperation as error:
        return str(error)


def _why_not(sealed: bytes | str | None, plain: bytes | str | None) -> str | None:
    if isinstance(plain, str):
        return plain
    if isinstance(sealed, str):
        return sealed
    if sealed is None:
        return "it is not sealed"
    if plain is None:
        return "it is sealed, and its plaintext is gone"
    return None if hmac.compare_digest(sealed, plain) else "its sealed value differs from its plaintext"


def _add(digest: hmac.HMAC, row: MovedRow, value: bytes) -> None:
    digest.update(row.id.bytes + len(value).to_bytes(8, "little") + value)

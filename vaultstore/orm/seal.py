"""Writing: assigned values become ciphertext, projections and digests, with one question to the gate for a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from vaultstore.codec import mask_codec
from vaultstore.envelope import AadTemplate, seal
from vaultstore.errors import UnsupportedOperation, WriteDenied
from vaultstore.gate.protocol import KeyNeed
from vaultstore.orm.plaintext import Plain
from vaultstore.orm.registry import FieldInfo, ModelInfo
from vaultstore.orm.types import Cell, Digest

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["Row", "seal_rows"]

_NONCE = 12

Put = Callable[[str, Any], None]
"""(attribute key, value) -> None: where a sealed value goes."""


@dataclass(slots=True)
class Row:
    """One row to seal: its ids, the fields that were assigned with their cells (None for NULL), and where they go."""

    values: Any
    """Attribute key -> value: the ids of the row are taken from it."""
    fields: Sequence[Any]
    """Flat: field, cell, field, cell, ... (FieldInfo, Cell or None): a tuple for each would be one more for the GC."""
    put: Put


def seal_rows(session: PurposeSession, info: ModelInfo, rows: Sequence[Row], connection: Connection) -> None:
    """Seal `rows`, all of one model. `connection` is that of the rows' own transaction, where new keys are stored.

    Raises WriteDenied (and what else the gate raises) before anything is sealed.
    """
    jobs: list[Any] = []  # flat, seven items a cell: no tuple for each one
    needs: dict[KeyNeed, None] = {}
    sources: dict[str, None] = {}
    messages: dict[str, list[bytes]] = {}
    indexed: dict[str, list[tuple[Put, str, bytes]]] = {}
    plans = {field.name: _plan(field) for field in info.fields}
    for row in rows:
        put = row.put
        subject, row_id, scope = _ids(info, row.values)
        middle = AadTemplate.middle(row_id, subject)
        known: dict[str, KeyNeed] = {}
        pairs = iter(row.fields)
        for field, cell in zip(pairs, pairs, strict=True):
            source, projections, plain_key = plans[field.name]
            category = field.category
            sources[category] = None
            if plain_key is not None:  # the table moves: old code still reads the plaintext column
                put(plain_key, None if cell is None else Plain(cell))
            if cell is None:
                for _, key, _ in projections:
                    put(key, None)
                if field.index is not None:
                    put(field.index_key, None)
                continue
            need = known.get(category)
            if need is None:
                need = known[category] = (category, subject, scope)
                needs[need] = None
            jobs += (need, source, middle, scope, cell.plain, cell, None)
            for aad, key, mask in projections:
                need = known.get(aad.category)
                if need is None:
                    need = known[aad.category] = (aad.category, subject, scope)
                    needs[need] = None
                jobs += (need, aad, middle, scope, mask_codec.encode(mask(cell.v)), key, put)
            if field.index is not None:
                messages.setdefault(field.context, []).append(field.index.message(cell.v))
                indexed.setdefault(field.context, []).append((put, field.index_key, row_id))
    if not sources:
        return
    sealed = session.gate.seal(session.opened, info.name, list(sources), list(needs), messages, connection)
    session.minted(sealed.minted)
    _encrypt(jobs, sealed.keys)
    for name, places in indexed.items():
        for (put, key, _), digest in zip(places, sealed.digests[name], strict=True):
            put(key, Digest(digest))
    for name, former in sealed.former.items():
        doubtful = [(digest, row_id) for digest, (_, _, row_id) in zip(former, indexed[name], strict=True)]
        session.gate.check_free(session.opened, sealed.entry, name, doubtful, connection)


_Sealing = tuple[AadTemplate, tuple[tuple[AadTemplate, str, Callable[[Any], Any]], ...], str | None]


def _plan(field: FieldInfo) -> _Sealing:
    projections = tuple((AadTemplate(p.context, p.category), p.key, p.mask.mask) for p in field.projections)
    return AadTemplate(field.context, field.category), projections, field.plain_key


def _encrypt(jobs: list[Any], keys: Any) -> None:
    count = len(jobs) // 7
    pool = os.urandom(_NONCE * count)  # in one call; every value takes its own 96 bits
    cells = iter(jobs)
    start = 0
    last = None
    for need, aad, middle, scope, plain, target, put in zip(
        cells, cells, cells, cells, cells, cells, cells, strict=True
    ):
        if need is not last:
            last = need
            key_id, aead = keys[need]
        ct = seal(aead, key_id, pool[start : start + _NONCE], plain, aad.head + middle + aad.tail(scope))
        start += _NONCE
        if put is None:
            target.ct = ct
            del target.plain
        else:
            put(target, Cell.sealed(ct))


def _ids(info: ModelInfo, values: Any) -> tuple[bytes, bytes, bytes]:
    """Subject, row key and scope of a row, as bytes."""
    subject = _id(info, values, info.subject_key)
    row = subject if info.row_key == info.subject_key else _id(info, values, info.row_key)
    return subject, row, b"" if info.scope_key is None else _id(info, values, info.scope_key)


def _id(info: ModelInfo, values: Any, key: str) -> bytes:
    value = values.get(key)
    if value is None:
        raise WriteDenied(f"{info.name}.{key} is not set: a sealed value is bound to it", reason="unbound.write")
    try:
        return value.bytes  # type: ignore[no-any-return] # a UUID; anything else has no `bytes`
    except AttributeError:
        raise UnsupportedOperation(f"{info.name}.{key} has to be a uuid.UUID, not {type(value).__name__}") from None

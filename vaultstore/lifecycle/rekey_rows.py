"""The rows of one subject and scope sealed under new keys, page by page, on the connection that replaced the keys."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vaultstore.codec import mask_codec
from vaultstore.envelope import AadTemplate, key_id_of, open_sealed, seal
from vaultstore.errors import DecryptionError, UnsupportedOperation
from vaultstore.gate.protocol import KeyRef
from vaultstore.gate.rekeying import Overtaken
from vaultstore.orm.registry import FieldInfo, ModelInfo
from vaultstore.orm.types import Cell, SealedType

__all__ = ["NotWhole", "OldKeys", "ScopeRows", "Sealing", "rows_of"]

_PAGE = 500
_NONCE = 12

OldKeys = Mapping[KeyRef, AESGCM | None]
"""Keys that were asked for; None: the keyring has it no more, or it does not unwrap."""


class NotWhole(Exception):
    """A scope that can't be sealed anew; the reason has no value in it."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """One field of a model, and which of its columns are sealed anew."""

    field: FieldInfo
    source: bool
    projections: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ScopeRows:
    """The rows of one subject and scope, with what opens them and what seals them anew."""

    subject: uuid.UUID
    scope: bytes
    old: OldKeys = field(repr=False)
    keys: Mapping[str, tuple[int, AESGCM]] = field(repr=False)
    """Category -> (key id, key) of the new ones."""

    def seal(self, connection: sa.Connection, info: ModelInfo, sealings: Sequence[Sealing]) -> int:
        """Seal the rows of one model anew, page by page; how many there were.

        Raises NotWhole, and Overtaken for a value under a key that came after the others were handed out.
        """
        row_key = _column(info, info.row_key)
        sources: list[Any] = [s.field.prop.columns[0] for s in sealings]
        query = sa.select(row_key, *(sa.type_coerce(c, sa.LargeBinary) for c in sources)).order_by(row_key).limit(_PAGE)
        query = query.where(*rows_of(info, self.subject, self.scope))
        last, count = None, 0
        while True:
            page = connection.execute(query if last is None else query.where(row_key > last)).all()
            for at, sealing in enumerate(sealings, 1):
                self._write(
                    connection, info, sealing, [(row[0], bytes(row[at])) for row in page if row[at] is not None]
                )
            count += len(page)
            if len(page) < _PAGE:
                return count
            last = page[-1][0]

    def _write(
        self, connection: sa.Connection, info: ModelInfo, sealing: Sealing, rows: Sequence[tuple[uuid.UUID, bytes]]
    ) -> None:
        f, subject = sealing.field, self.subject.bytes
        targets = [(f.name, f.category, AadTemplate(f.context, f.category), None)] if sealing.source else []
        targets += [(p.key, p.category, AadTemplate(p.context, p.category), p.mask) for p in sealing.projections]
        targets = [target for target in targets if target[1] in self.keys]
        if not rows or not targets:
            return
        values = []
        for row, ct in rows:
            plain = self._opened(info, f, row, ct)
            found: dict[str, Any] = {"vs_row": row, "vs_source": Cell.sealed(ct)}
            for key, category, aad, mask in targets:
                body = plain if mask is None else _masked(info, f, row, category, mask, plain)
                key_id, aead = self.keys[category]
                sealed = seal(aead, key_id, os.urandom(_NONCE), body, aad.of(row.bytes, subject, self.scope))
                found[f"vs_{key}"] = Cell.sealed(sealed)
            values.append(found)
        source: Any = f.prop.columns[0]
        new = {_column(info, key): sa.bindparam(f"vs_{key}", type_=SealedType()) for key, *_ in targets}
        here = _in_table(info, source.table) == sa.bindparam("vs_row")
        as_read = source == sa.bindparam("vs_source", type_=SealedType())
        connection.execute(sa.update(source.table).where(here, as_read).values(new), values)

    def _opened(self, info: ModelInfo, f: FieldInfo, row: uuid.UUID, ct: bytes) -> bytes:
        subject = self.subject.bytes
        try:
            ref = (f.category, subject, self.scope, key_id_of(ct))
            if ref not in self.old:
                raise Overtaken
            key = self.old[ref]
            if key is not None:
                return open_sealed(key, ct, AadTemplate(f.context, f.category).of(row.bytes, subject, self.scope))
        except DecryptionError:
            pass
        raise NotWhole(f"{info.name}.{f.name} of row {row} does not open")


def rows_of(info: ModelInfo, subject: uuid.UUID, scope: bytes) -> list[sa.ColumnElement[bool]]:
    """The condition on the rows of one subject and scope."""
    found: list[sa.ColumnElement[bool]] = [_column(info, info.subject_key) == subject]
    if info.scope_key is not None:
        found.append(_column(info, info.scope_key) == uuid.UUID(bytes=scope))
    return found


def _masked(info: ModelInfo, f: FieldInfo, row: uuid.UUID, category: str, mask: Any, plain: bytes) -> bytes:
    try:
        return mask_codec.encode(mask.mask(f.codec.decode(plain)))
    except Exception as error:  # noqa: BLE001 - a mask of the application's own raises what it likes, value and all
        name = type(error).__name__
    raise NotWhole(f"{info.name}.{f.name} of row {row}: its mask for {category} raised {name}")


def _column(info: ModelInfo, key: str) -> Any:
    return info.mapper.attrs[key].columns[0]


def _in_table(info: ModelInfo, table: Any) -> Any:
    """The column that tells the rows of `table` apart by the row key."""
    found = next((c for c in info.mapper.attrs[info.row_key].columns if c.table is table), None)
    if found is None:
        raise UnsupportedOperation(f"{info.name}: {table.name} has no row key of its own")
    return found

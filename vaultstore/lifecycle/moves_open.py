"""What the sealed values of a page of rows decrypt to: asked of the gate, like any disclosure, and compared here.

Nothing that is opened leaves this module but as bytes to compare with the plaintext's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptography.exceptions import InvalidTag

from vaultstore.envelope import AadTemplate, key_id_of
from vaultstore.errors import AccessDenied, DecryptionError
from vaultstore.gate import OpenGrant
from vaultstore.gate.protocol import KeyRef
from vaultstore.lifecycle.moves_table import MovedRow, MovingTable
from vaultstore.lifecycle.parts import Parts

__all__ = ["opened"]


def opened(
    parts: Parts, grant: OpenGrant, moving: MovingTable, rows: Sequence[MovedRow]
) -> Iterator[tuple[MovedRow, bytes | str]]:
    """Each row that holds something sealed, with its encoded plaintext; where it does not open, with the reason.

    In batches of the purpose's size, a disclosure each: it is admitted, limited and audited as one. Raises what the
    gate refuses as a whole.
    """
    sealed = [row for row in rows if row.sealed is not None]
    size = grant.grant.purpose.batch
    for start in range(0, len(sealed), size):
        yield from _batch(parts, grant, moving, sealed[start : start + size])


def _batch(
    parts: Parts, grant: OpenGrant, moving: MovingTable, rows: Sequence[MovedRow]
) -> Iterator[tuple[MovedRow, bytes | str]]:
    info, field = moving.info, moving.field
    aad = AadTemplate(field.context, field.category)
    refs: list[KeyRef | None] = [_ref(moving, row) for row in rows]
    answer = parts.gate.disclose(grant, info.name, [field.category], [ref for ref in refs if ref is not None])
    for row, ref in zip(rows, refs, strict=True):
        if ref is None:
            yield row, "it is no ciphertext"
            continue
        refused = answer.refused.get(ref[1])
        if isinstance(refused, AccessDenied):
            yield row, f"it was not disclosed: {refused.reason}"
            continue
        key, ct = answer.keys.get(ref), row.sealed
        assert ct is not None
        try:
            if key is None:
                raise InvalidTag
            plain = key.decrypt(ct[5:17], ct[17:], aad.of(row.id.bytes, ref[1], ref[2]))
            field.codec.decode(plain)
        except (InvalidTag, ValueError, DecryptionError):
            yield row, "its sealed value does not open"
        else:
            yield row, plain


def _ref(moving: MovingTable, row: MovedRow) -> KeyRef | None:
    info = moving.info
    subject, scope = row.values[info.subject_key], row.values[info.scope_key] if info.scope_key else None
    try:
        key_id = key_id_of(row.sealed or b"")
    except DecryptionError:
        return None
    return moving.field.category, subject.bytes, b"" if scope is None else scope.bytes, key_id

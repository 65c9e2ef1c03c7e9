"""Reading rows that are not sealed yet, while their table moves: the gate is asked first, as for a sealed value.

What is admitted is then read from the plaintext column and stands in the object as a disclosed value does: the object
holds a token of bytes that names nothing, and the batch's Plaintexts the value under it. So it closes with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select, tuple_
from sqlalchemy.orm import InstanceState

from vaultstore.errors import AccessDenied, DecryptionError, UnsupportedOperation
from vaultstore.gate.protocol import KeyRef
from vaultstore.orm.access import ReadPlan
from vaultstore.orm.plaintext import reading, value_of
from vaultstore.orm.registry import FieldInfo
from vaultstore.orm.types import NOTHING, OPEN_KEY, Plaintexts, Shut, plaintext_of

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["Unsealed", "in_order", "read_unsealed", "unsealed_of", "waiting"]

_CHUNK = 500
_TOKEN: Final = b"\0not sealed"
"""What stands for a value that is not sealed. No ciphertext begins with this byte, and the database's CHECKs take none
that does."""
_NO_KEY = 0
"""A key id that no key has: the gate admits the subject and hands nothing out."""

Unsealed = tuple[int, InstanceState[Any], FieldInfo, KeyRef]
"""An object and its place in the batch, a field that holds nothing sealed there, and what the gate is asked for it."""


def unsealed_of(plan: ReadPlan, state: InstanceState[Any]) -> list[FieldInfo]:
    """The fields of an object that the plan reads in clear, and that hold nothing sealed as far as is known."""
    values, found = state.dict, []
    for field in plan.moving:
        cell = values.get(field.name, NOTHING)
        shut = cell.__class__ is bytes and cell[:1] == b"\0" and plaintext_of(values, cell) is NOTHING
        if (cell is None or shut) and state.key is not None and field.name not in state.committed_state:
            found.append(field)
    return found


def waiting(plan: ReadPlan, states: Sequence[InstanceState[Any]]) -> list[Unsealed]:
    """What of `states` is not sealed, as far as is known."""
    found: list[Unsealed] = []
    info = plan.info
    for position, state in enumerate(states):
        for field in unsealed_of(plan, state):
            values, before = state.dict, state.committed_state
            values[field.name] = None  # it may be a token whose value is closed: unpickled, or of another session
            subject = before.get(info.subject_key) or values.get(info.subject_key)
            scope = None if info.scope_key is None else before.get(info.scope_key) or values.get(info.scope_key)
            if subject is None or (info.scope_key is not None and scope is None):
                continue
            ref = (field.category, subject.bytes, b"" if scope is None else scope.bytes, _NO_KEY)
            found.append((position, state, field, ref))
    return found


def in_order(unsealed: Sequence[Unsealed], refs: Mapping[KeyRef, None]) -> dict[KeyRef, None]:
    """All that the gate is asked for, the subject that was touched first: limits are spent in this order."""
    touched = [ref for position, _, _, ref in unsealed if position == 0]
    return dict.fromkeys([*touched, *refs, *(ref for _, _, _, ref in unsealed)])


def read_unsealed(
    session: PurposeSession,
    plan: ReadPlan,
    unsealed: Sequence[Unsealed],
    batch: Plaintexts,
    refusal: Callable[[KeyRef], AccessDenied | DecryptionError],
) -> list[InstanceState[Any]]:
    """Read what was admitted from the plaintext columns; `refusal` says why something was not.

    Gives the objects whose values turn out to be sealed by now: their ciphertext is loaded, to be opened as any.
    """
    wanted: dict[InstanceState[Any], list[FieldInfo]] = {}
    for _, state, field, ref in unsealed:
        refused = refusal(ref)
        if isinstance(refused, AccessDenied):
            state.dict[field.name] = Shut(_TOKEN, refused)
        else:
            wanted.setdefault(state, []).append(field)
    sealed: dict[InstanceState[Any], None] = {}
    fields = list(dict.fromkeys(field for each in wanted.values() for field in each))
    for state, found in _rows(session, plan, fields, list(wanted)):
        for field, (ct, plain) in found.items():
            if field not in wanted[state]:
                continue
            if ct is not None:
                state.dict[field.name] = bytes(ct)
                sealed[state] = None
            else:
                _show(state, field, plain, batch)
    return list(sealed)


_Found = dict[FieldInfo, tuple[bytes | None, Any]]
"""Field -> its ciphertext if it is sealed by now, and its plaintext."""


def _rows(
    session: PurposeSession, plan: ReadPlan, fields: Sequence[FieldInfo], states: Sequence[InstanceState[Any]]
) -> Iterator[tuple[InstanceState[Any], _Found]]:
    """Each object whose row is there and still its subject's, with what the row holds."""
    mapper = plan.info.mapper
    keys = mapper.primary_key
    plains: list[Any] = [field.prop.plain_column for field in fields]
    first = len(keys) + 1
    columns = (
        *keys,
        mapper.attrs[plan.info.subject_key].columns[0],
        *(field.prop.columns[0] for field in fields),
        *map(value_of, plains),
    )
    # Beside the session's own statements, which speak of no such column. Its transaction and its role are the same.
    connection = session.connection(bind_arguments={"mapper": mapper})
    by_key = {tuple(state.key[1]): state for state in states if state.key is not None}
    for start in range(0, len(by_key), _CHUNK):
        wanted = list(by_key)[start : start + _CHUNK]
        chosen = keys[0].in_([k[0] for k in wanted]) if len(keys) == 1 else tuple_(*keys).in_(wanted)
        result = connection.execute(select(*columns).select_from(mapper.selectable).where(chosen))
        read = [reading(result, first + len(fields) + at, plain) for at, plain in enumerate(plains)]
        for row in result.all():
            state = by_key[tuple(row[: len(keys)])]
            before = state.committed_state.get(plan.info.subject_key)
            if row[len(keys)] == (before or state.dict.get(plan.info.subject_key)):
                stored = row[first + len(fields) :]
                cts = row[first : first + len(fields)]
                yield state, {f: (ct, r(s)) for f, ct, r, s in zip(fields, cts, read, stored, strict=True)}


def _show(state: InstanceState[Any], field: FieldInfo, plain: Any, batch: Plaintexts) -> None:
    """Put a value where a disclosed one would be. None too: that there is none was asked for as well."""
    values = state.dict
    if plain is not None:
        try:
            plain = field.codec.decode(field.codec.encode(plain))
        except (UnsupportedOperation, DecryptionError):
            why = DecryptionError("the row has not been moved yet, and what it holds is no value of this field")
            values[field.name] = Shut(_TOKEN, why)
            return
    plaintexts = values.get(OPEN_KEY)
    if plaintexts is None:
        plaintexts = values[OPEN_KEY] = batch
    token = bytes(bytearray(_TOKEN))  # an object of its own: values are known by it
    values[field.name] = token
    plaintexts.by[id(token)] = plain
    plaintexts.held.append(token)

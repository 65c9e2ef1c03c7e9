"""Reading: which objects are disclosed with the one that was touched, and opening their values.

The inner loops run once a cell. They keep to dictionary lookups, one join for the AAD and one decryption, and leave
no object behind that the garbage collector has to follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from sqlalchemy import select
from sqlalchemy.orm import InstanceState, Mapper, load_only
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.util.concurrency import in_greenlet

from vaultstore.errors import AccessDenied, DecryptionError, NotDisclosed, UnsupportedOperation
from vaultstore.gate.protocol import Disclosed, KeyRef
from vaultstore.masks import Masked
from vaultstore.orm.access import ReadPlan
from vaultstore.orm.loads import load_of
from vaultstore.orm.types import NOTHING, OPEN_KEY, Shut, plaintext_of
from vaultstore.orm.unsealed import in_order, read_unsealed, unsealed_of, waiting

if TYPE_CHECKING:
    from vaultstore.orm.properties import EncryptedAttribute
    from vaultstore.orm.session import PurposeSession

__all__ = ["disclose", "reveal"]

_CHUNK = 500
_HEADER = 5  # version byte and key id
_LENGTH_OF_ID = (16).to_bytes(8, "little")
_key_id = int.from_bytes


def reveal(attribute: EncryptedAttribute, instance: Any) -> Any:
    """The value of a field that is not open yet: disclose the object's batch, or say why not."""
    state = instance_state(instance)
    values = instance.__dict__
    session = _session_of(attribute, state, values)
    if session is None:
        return None
    session.check_alive()
    name = attribute.key
    plan = session.access.plan(state.manager.mapper)
    readable = plan.fields[name]
    where = f"{plan.info.name}.{name}"
    if readable is None:
        raise NotDisclosed(f"{where}: purpose {session.access.purpose.name} does not read it", reason="not.granted")
    key = readable.key
    cell = values.get(key, NOTHING)
    moving = readable.moving is not None
    if cell.__class__ is bytes or cell is NOTHING or (cell is None and moving and not readable.masked):
        if session.is_async and not in_greenlet():
            raise NotDisclosed(f"{where}: not disclosed yet; await session.disclose(objects) first", reason="async")
        _open_batch(session, plan, state, key if cell is NOTHING else None)
        cell = values.get(key, NOTHING)
    shown = plaintext_of(values, cell)
    if shown is not NOTHING:
        return shown if key == name else Masked.of(shown)
    if cell is None and not moving:
        return None
    if cell is None and readable.masked:
        raise NotDisclosed(f"{where}: there is none, or the row has not been moved yet", reason="not.moved")
    if cell.__class__ is Shut:
        cell.raise_again(where)
    raise NotDisclosed(f"{where}: the row is gone, or outside the rows that the purpose sees", reason="row.gone")


def _session_of(attribute: EncryptedAttribute, state: InstanceState[Any], values: Any) -> PurposeSession | None:
    """The session to ask; None for an object of which the database knows nothing yet: there the field is None."""
    session: Any = state.session
    if session is None:
        if state.key is None and attribute.key not in values:
            return None
        raise NotDisclosed(f"{attribute}: the object is detached from its session", reason="detached")
    if not hasattr(session, "access"):
        raise UnsupportedOperation(f"{attribute}: a plain Session discloses nothing; use store.session(token)")
    if state.key is None:
        return None
    return session  # type: ignore[no-any-return] # any session with these rights is ours


def _open_batch(session: PurposeSession, plan: ReadPlan, touched: InstanceState[Any], missing: str | None) -> None:
    load = load_of(touched)
    states = [touched]
    if load is not None:
        others = load.closed(touched, plan, missing, session.hash_key, session.epoch)
        states.extend(islice(others, session.access.purpose.batch - 1))
    if missing is not None:
        _fetch(session, plan, states, (missing,))
    open_cells(session, plan, states)


def disclose(session: PurposeSession, instances: Iterable[Any]) -> None:
    """Open every field that the purpose reads of `instances`, in batches of the purpose's size, in the order given."""
    by_class: dict[Mapper[Any], list[InstanceState[Any]]] = {}
    for instance in instances:
        state = instance_state(instance)
        if state.key is not None and state.session is session:
            by_class.setdefault(state.manager.mapper, []).append(state)
    for mapper, states in by_class.items():
        plan = session.access.plan(mapper)
        if not plan.keys:
            continue
        closed = [s for s in dict.fromkeys(states) if any(_is_closed(s.dict, k) for k in plan.keys)]
        if plan.moving:
            known = set(closed)
            closed = [s for s in dict.fromkeys(states) if s in known or unsealed_of(plan, s)]
        size = session.access.purpose.batch
        for start in range(0, len(closed), size):
            batch = closed[start : start + size]
            _fetch(session, plan, batch, plan.keys)
            open_cells(session, plan, batch)


def _is_closed(values: Any, key: str) -> bool:
    cell = values.get(key, NOTHING)
    return cell is NOTHING or (cell.__class__ is bytes and plaintext_of(values, cell) is NOTHING)


def _fetch(session: PurposeSession, plan: ReadPlan, states: Sequence[InstanceState[Any]], keys: Sequence[str]) -> None:
    """Load what is missing of `keys`, and all that expired, in one statement for each 500 objects."""
    wanted: dict[str, None] = {}
    lacking = []
    mapper = states[0].manager.mapper
    columns = {p.key for p in mapper.column_attrs}
    for state in states:
        absent = {k for k in keys if k not in state.dict}
        if absent and state.key is not None:
            # a row that is reloaded is reloaded whole: its other columns would cost a statement each later
            absent |= (
                {k for k in (*state.expired_attributes, *plan.keys, *plan.info.fixed) if k not in state.dict}
                if (state.expired_attributes)
                else {k for k in plan.info.fixed if k not in state.dict}
            )
            wanted.update(dict.fromkeys(sorted(absent & columns)))
            lacking.append(state)
    if not lacking:
        return
    class_ = mapper.class_
    primary = mapper.primary_key
    options = load_only(*(getattr(class_, key) for key in wanted), raiseload=True)
    with session.no_autoflush:
        for start in range(0, len(lacking), _CHUNK):
            keys_of = [state.key[1] for state in lacking[start : start + _CHUNK] if state.key is not None]
            statement = select(class_).options(options).execution_options(vaultstore_fetch=True)
            if len(primary) == 1:
                statement = statement.where(primary[0].in_([k[0] for k in keys_of]))
            else:
                from sqlalchemy import tuple_

                statement = statement.where(tuple_(*primary).in_(keys_of))
            session.scalars(statement).unique().all()


def open_cells(session: PurposeSession, plan: ReadPlan, states: Sequence[InstanceState[Any]]) -> None:
    """Open every loaded ciphertext of `states` (all of the plan's model) with one question to the gate."""
    work: list[Any] = []  # flat, seven items a cell: no tuple for each one
    batch = session.new_plaintexts()
    refs: dict[KeyRef, None] = {}
    categories: dict[str, None] = {}
    info = plan.info
    subject_key, row_key, scope_key = info.subject_key, info.row_key, info.scope_key
    same = row_key == subject_key
    groups = [(g.category, g.tail, g.tail(b""), g.columns) for g in plan.groups]
    scope = b""
    unsealed = waiting(plan, states) if plan.moving else ()
    for state in states:
        values = state.dict
        if state.committed_state:
            values = _as_stored(state, values, info.fixed)
        subject_id = values.get(subject_key)
        if subject_id is None:
            continue
        subject = subject_id.bytes
        if same:
            row = subject
        else:
            row_id = values.get(row_key)
            if row_id is None:
                continue
            row = row_id.bytes
        if scope_key is not None:
            scope_id = values.get(scope_key)
            if scope_id is None:
                continue
            scope = scope_id.bytes
        middle = _LENGTH_OF_ID + row + _LENGTH_OF_ID + subject
        get = values.get
        target = state.dict
        plaintexts = target.get(OPEN_KEY)
        if plaintexts is None:
            plaintexts = target[OPEN_KEY] = batch
        by = plaintexts.by  # an object keeps what it has: what was disclosed before stays open
        for category, tail, unscoped, columns in groups:
            known = None
            for key, head, decode in columns:
                ct = get(key)
                if ct.__class__ is not bytes or id(ct) in by:
                    continue
                header = ct[:_HEADER]
                if header != known:
                    known = header
                    ref = (category, subject, scope, _key_id(header[1:], "big"))
                    refs[ref] = None
                    categories[category] = None
                    ending = tail(scope) if scope else unscoped
                work += (target, plaintexts, key, ct, ref, head + middle + ending, decode)
    if unsealed:
        refs = in_order(unsealed, refs)
        categories |= dict.fromkeys(ref[0] for ref in refs)
    if not refs:
        return
    answer = session.gate.disclose(session.opened, info.name, list(categories), list(refs))
    _decrypt(work, answer)
    if unsealed:
        sealed = read_unsealed(session, plan, unsealed, batch, lambda ref: _why_not(ref, answer))
        if sealed:  # meanwhile
            open_cells(session, plan, sealed)


def _as_stored(state: InstanceState[Any], values: Any, fixed: Sequence[str]) -> Any:
    """The values with the row's stored ids: an assigned one is refused by the flush, and opens nothing until then."""
    changed = {key: state.committed_state[key] for key in fixed if key in state.committed_state}
    changed = {key: value for key, value in changed.items() if value is not None and hasattr(value, "bytes")}
    return {**values, **changed} if changed else values


def _decrypt(work: list[Any], answer: Disclosed) -> None:
    keys, cells = answer.keys, iter(work)
    known = decrypt = None
    for values, plaintexts, key, ct, ref, aad, decode in zip(
        cells, cells, cells, cells, cells, cells, cells, strict=True
    ):
        if ref is not known:
            known = ref
            aead = keys.get(ref)
            decrypt = None if aead is None else aead.decrypt
        if decrypt is None:
            values[key] = Shut(ct, _why_not(ref, answer))
            continue
        try:
            plaintexts.by[id(ct)] = decode(decrypt(ct[5:17], ct[17:], aad))
            plaintexts.held.append(ct)
        except (InvalidTag, ValueError, DecryptionError):
            values[key] = Shut(ct, _does_not_open())


def _why_not(ref: KeyRef, answer: Disclosed) -> AccessDenied | DecryptionError:
    refusal = answer.refused.get(ref[1])
    return _does_not_open() if refusal is None else refusal


def _does_not_open() -> DecryptionError:
    return DecryptionError("the value does not open: tampered with, moved from another place, or the wrong key")

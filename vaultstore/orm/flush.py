"""The unit of work: what is sealed before a flush, what may not change, and keys that a rollback takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, event
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.orm.attributes import instance_state

from vaultstore.errors import UnsupportedOperation, WriteDenied
from vaultstore.orm.model import EncryptedModel
from vaultstore.orm.properties import BY_GATE
from vaultstore.orm.registry import FieldInfo, ModelInfo, info_of
from vaultstore.orm.seal import Put, Row, seal_rows
from vaultstore.orm.types import NOTHING, OPEN_KEY, Cell, Shut, plaintext_of

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["client_default", "seal_pending"]


def seal_pending(session: PurposeSession) -> None:
    """Seal whatever was assigned to the session's objects, one question to the gate for each model.

    A row takes a purpose that lists its model under `write`, and a grant that is live: where nothing is to be sealed,
    which asks the gate anyhow, the gate is asked just that.
    """
    rows: dict[ModelInfo, list[Row]] = {}
    access = session.access
    written = False
    for instance in session.new:
        state = instance_state(instance)
        info = info_of(state.manager.mapper)
        if state.manager.mapper not in access.written:
            access.check_write(state.manager.mapper)
        written = True
        if not info.fields:
            continue
        _fill(state, info)
        fields = _of_new(state, info)
        # A child's subject may come by its relationship, during the flush: then `_inserting` seals it.
        if fields and all(state.dict.get(key) is not None for key in info.fixed):
            rows.setdefault(info, []).append(Row(state.dict, fields, state.dict.__setitem__))
    for instance in session.dirty:
        state = instance_state(instance)
        info = info_of(state.manager.mapper)
        if state.manager.mapper not in access.written and session.is_modified(instance):
            access.check_write(state.manager.mapper)
        _check_fixed(state, info)
        fields = _of_changed(state, info)
        if fields:
            _load_ids(state, info)
            rows.setdefault(info, []).append(Row(state.dict, fields, _setter(state)))
    for instance in session.deleted:
        access.check_write(instance_state(instance).manager.mapper)
        written = True
    for info, batch in rows.items():
        seal_rows(session, info, batch, session.connection(bind_arguments={"mapper": info.mapper}))
    if not rows and (written or any(session.is_modified(i) for i in session.dirty)):
        session.gate.check(session.opened.grant)


def _info(state: InstanceState[Any]) -> ModelInfo | None:
    info = info_of(state.manager.mapper)
    return info if info.fields else None


def _of_new(state: InstanceState[Any], info: ModelInfo) -> list[Any]:
    values = state.dict
    fields: list[Any] = []  # as Row takes them
    for field in info.fields:
        cell = values.get(field.name)
        if cell is not None:
            fields += (field, _assigned(info, field, values, cell))
    return fields


def _of_changed(state: InstanceState[Any], info: ModelInfo) -> list[Any]:
    values, before = state.dict, state.committed_state
    fields: list[Any] = []
    for field in info.fields:
        if field.name not in before:
            continue
        cell = values.get(field.name)
        if cell is None:
            values[field.name] = None  # it may have been deleted, which SQLAlchemy can't write
            fields += (field, None)
        elif cell is not before[field.name]:
            fields += (field, _assigned(info, field, values, cell))
    return fields


def _assigned(info: ModelInfo, field: FieldInfo, values: Any, cell: Any) -> Cell:
    """The cell to seal; anew where a flush that was rolled back had sealed it, since its data key may be gone."""
    shown = plaintext_of(values, cell)
    if shown is not NOTHING:
        if cell.__class__ is bytes or cell.ct is not None:
            cell = values[field.name] = Cell.assigned(shown, field.codec.encode(shown))
        return cell  # type: ignore[no-any-return] # a Cell, as the lines above saw to
    raise WriteDenied(
        f"{info.name}.{field.name}: a sealed value can't be written again; assign the plaintext", reason="sealed.write"
    )


def _setter(state: InstanceState[Any]) -> Put:
    manager, values = state.manager, state.dict

    def put(key: str, value: Any) -> None:
        manager[key].impl.set(state, values, value, BY_GATE)

    return put


def _load_ids(state: InstanceState[Any], info: ModelInfo) -> None:
    """An expired object has no ids in memory; reading the attributes loads them."""
    for key in info.fixed:
        if key not in state.dict:
            getattr(state.obj(), key)


def _fill(state: InstanceState[Any], info: ModelInfo) -> None:
    """Row key, subject and scope are made by the client, and declared defaults are assigned, before sealing."""
    instance, values = state.obj(), state.dict
    for field in info.with_default:
        if field.name not in values:
            default = field.prop.spec.default
            setattr(instance, field.name, default() if callable(default) else default)
    mapper = state.manager.mapper
    for key in info.fixed:
        if values.get(key) is None:
            value = client_default(mapper, key)
            if value is not None:
                setattr(instance, key, value)
    if values.get(info.row_key) is None and info.row_key != info.subject_key and _is_own(mapper, info.row_key):
        raise UnsupportedOperation(f"{info.name}.{info.row_key}: row keys are made by the client: default=uuid7")


def _is_own(mapper: Mapper[Any], key: str) -> bool:
    """Whether nothing but the client can set the attribute: it is no foreign key."""
    return not mapper.attrs[key].columns[0].foreign_keys


def client_default(mapper: Mapper[Any], key: str) -> Any:
    """What the column's client-side default gives for the attribute, or None."""
    for column in mapper.attrs[key].columns:
        default: Any = column.default if isinstance(column, Column) else None
        if default is None:
            continue
        if default.is_callable:
            return default.arg(None)
        if default.is_scalar:
            return default.arg
    return None


def _check_fixed(state: InstanceState[Any], info: ModelInfo) -> None:
    before = state.committed_state
    for key in info.unmoved:
        if before.get(key) is not None and before[key] != state.dict.get(key):
            why = "the row's sealed values are bound to it" if key in info.fixed else "it is the row's primary key"
            raise WriteDenied(f"{info.name}.{key} can't change: {why}", reason="moved.write")


@event.listens_for(EncryptedModel, "before_insert", propagate=True, raw=True)
def _inserting(mapper: Mapper[Any], connection: Connection, state: InstanceState[Any]) -> None:
    """Seal children whose subject was copied from a relationship in this flush: all of the model that wait, at once."""
    info = _info(state)
    session: Any = state.session
    if info is None or not hasattr(session, "access"):
        return
    if not _waits(state, info):
        return
    rows = []
    for instance in list(session.new):
        other = instance_state(instance)
        if other.manager.mapper is not mapper or not _waits(other, info):
            continue
        _fill(other, info)
        if other is state or all(other.dict.get(key) is not None for key in info.fixed):
            rows.append(Row(other.dict, _of_new(other, info), other.dict.__setitem__))
    seal_rows(session, info, rows, connection)


def _waits(state: InstanceState[Any], info: ModelInfo) -> bool:
    return any(
        cell.__class__ is Cell and cell.ct is None for field in info.fields if (cell := state.dict.get(field.name))
    )


@event.listens_for(EncryptedModel, "before_update", propagate=True, raw=True)
def _updating(mapper: Mapper[Any], connection: Connection, state: InstanceState[Any]) -> None:
    """Foreign keys are copied from relationships only now; and seal what later listeners assigned."""
    info = info_of(state.manager.mapper)
    session: Any = state.session
    if info.fields or hasattr(session, "access"):  # a plain Session may do with plain models what it likes
        _check_fixed(state, info)
    if hasattr(session, "access") and _waits(state, info):
        seal_rows(session, info, [Row(state.dict, _of_changed(state, info), _setter(state))], connection)


@event.listens_for(EncryptedModel, "expire", propagate=True, raw=True)
def _expired(state: InstanceState[Any], attrs: Any) -> None:
    """An expired field takes its refusals and projections along, whichever of its columns was named."""
    if not attrs:
        state.dict.pop(OPEN_KEY, None)
        return
    info = _info(state)
    if info is None:
        return
    for field in info.fields:
        if field.name in attrs:
            for key in field.keys:
                if state.dict.get(key).__class__ in (bytes, Cell, Shut):
                    del state.dict[key]

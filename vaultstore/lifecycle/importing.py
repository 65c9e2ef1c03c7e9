"""Reading a copy of a member's data back: as rows of a member that was not here, all of them or none."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from vaultstore.audit.log import note_keys
from vaultstore.errors import BundleError, ProofError, UnsupportedOperation, WriteDenied
from vaultstore.grants import Grant
from vaultstore.lifecycle.exporting import seal_text
from vaultstore.lifecycle.parts import Parts, Token, token_of
from vaultstore.lifecycle.portable import Bundle, clear_columns, kinds_of, read_bundle, read_value, written
from vaultstore.lifecycle.rights import refuse
from vaultstore.orm import PurposeSession
from vaultstore.orm.registry import ModelInfo

__all__ = ["Imported", "import_bundle"]

_FLUSHED = 1000
_Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was read back."""

    subject: uuid.UUID
    rows: Mapping[str, int]
    """Model -> rows that were written; none where the member is here already, exactly so."""
    identical: bool
    left: Mapping[str, str]
    """What was not read back, and why."""


def import_bundle(
    parts: Parts, data: bytes, token: Token, *, unsealed: bool = False, leave_out: bool = False
) -> Imported:
    """Write the rows of a copy. See `Portability.import_`."""
    grant = parts.verify(token_of(token))
    parts.gate.check(grant)
    bundle = read_bundle(data)
    _check_seal(parts, bundle, unsealed=unsealed)
    infos = {info.name: info for info in parts.models if info.subject_key}
    read = {model: _rows(infos, bundle, model) for model in bundle.rows}
    left = {"states, consents, cases": "the store keeps its own: a consent is given, not copied"}
    chosen = []
    for info in _in_order(infos, read):
        unwritten = _unwritten(grant, info, read[info.name])
        if unwritten is None:
            chosen.append(info)
        elif not leave_out:
            refuse(parts, grant, info.name, unwritten, write=True)
        else:
            named = ", ".join(sorted(unwritten))
            left[info.name] = f"purpose {grant.purpose.name} does not write {named or 'its rows'}"
    if not any(read[info.name] for info in chosen):
        raise UnsupportedOperation(f"the copy has no row that purpose {grant.purpose.name} writes")
    with parts.session(token_of(token)) as session:
        present = _present(session, chosen, bundle.subject)
        if any(present.values()):
            _require_identical(session, chosen, read, bundle.subject, grant)
            return Imported(bundle.subject, {}, True, left)
    return Imported(bundle.subject, _write(parts, token, chosen, read, bundle.subject), False, left)


def _check_seal(parts: Parts, bundle: Bundle, *, unsealed: bool) -> None:
    """Raise BundleError unless this store's key sealed the file, or nobody is asked to have."""
    if unsealed:
        return
    if bundle.seal is None:
        raise BundleError("nobody has sealed this file: take it only if you know where it is from", place="seal")
    if bundle.origin != parts.origin:
        raise BundleError(f"the file is of another store, {bundle.origin[:80]}", place="origin")
    try:
        bundle.seal.verify(note_keys(parts.keys, parts.origin))
    except ProofError as flaw:
        raise BundleError(str(flaw), place="seal") from None
    if bundle.seal.text != seal_text(parts.origin, bundle.sha256):
        raise BundleError("the seal is that of another file", place="seal")


def _rows(infos: Mapping[str, ModelInfo], bundle: Bundle, model: str) -> list[_Values]:
    """The rows of one model as values; every one is checked before any is written."""
    info = infos.get(model)
    if info is None:
        raise BundleError("is no model of this store that is about a member", place=f"rows.{model}")
    kinds = kinds_of(info)
    for key, kind in bundle.schema[model].items():
        if key in kinds and kind != kinds[key]:
            raise BundleError(f"is {kind} in the file and {kinds[key]} here", place=f"schema.{model}.{key}")
    seen: dict[Any, int] = {}
    primary = [info.mapper.get_property_by_column(c).key for c in info.mapper.primary_key]
    found = []
    for number, row in enumerate(bundle.rows[model]):
        place = f"rows.{model}[{number}]"
        values = _row(info, kinds, row, place)
        if values[info.subject_key] != bundle.subject:
            raise BundleError("is about another subject than the file is", place=f"{place}.{info.subject_key}")
        first = seen.setdefault(tuple(values[key] for key in primary), number)
        if first != number:
            raise BundleError(f"has the id of row {first}", place=place)
        found.append(values)
    return found


def _row(info: ModelInfo, kinds: Mapping[str, str], row: _Values, place: str) -> _Values:
    for key in row.keys() - kinds.keys():
        raise BundleError("is no attribute of the model", place=f"{place}.{ascii(key)[1:-1][:40]}")
    values = {}
    for key, kind in kinds.items():
        if key in row:
            values[key] = read_value(kind, row[key], f"{place}.{key}", _enum(info, key))
        elif not kind.endswith("?"):
            raise BundleError("is missing", place=f"{place}.{key}")
    return values


def _enum(info: ModelInfo, key: str) -> Any:
    field = info.by_name.get(key)
    if field is not None:
        return field.codec.python_type
    column: Any = clear_columns(info)[key].columns[0]
    return getattr(column.type, "enum_class", None)


def _in_order(infos: Mapping[str, ModelInfo], read: Mapping[str, Any]) -> list[ModelInfo]:
    """Models so that rows stand before those that point to them."""
    tables: dict[Any, int] = {}
    for info in infos.values():
        metadata = getattr(info.mapper.local_table, "metadata", None)
        for table in () if metadata is None else metadata.sorted_tables:
            tables.setdefault(table, len(tables))
    chosen = [infos[model] for model in read]
    return sorted(chosen, key=lambda info: tables.get(info.mapper.local_table, 0))


def _unwritten(grant: Grant, info: ModelInfo, rows: list[_Values]) -> frozenset[str] | None:
    """Categories of the rows that the purpose does not write; None where it writes them all, empty: no row at all."""
    purpose, lineage = grant.purpose, (info.name, *info.bases)
    if not any(name in purpose.write for name in lineage):
        return frozenset()
    given = {key for row in rows for key, value in row.items() if value is not None}
    lacking = frozenset(f.category for f in info.fields if f.name in given) - purpose.writes(*lineage)
    return lacking or None


def _mine(info: ModelInfo, subject: uuid.UUID) -> Any:
    class_ = info.mapper.class_
    return sa.select(class_).where(getattr(class_, info.subject_key) == subject)


def _present(session: PurposeSession, infos: list[ModelInfo], subject: uuid.UUID) -> dict[str, bool]:
    """Model -> whether the member has rows of it."""
    found = {}
    for info in infos:
        key = getattr(info.mapper.class_, info.subject_key)
        found[info.name] = session.execute(sa.select(key).where(key == subject).limit(1)).first() is not None
    return found


def _require_identical(
    session: PurposeSession, infos: list[ModelInfo], read: Mapping[str, list[_Values]], subject: uuid.UUID, grant: Grant
) -> None:
    """Raise unless the member's rows are those of the file, to the last value."""
    for info in infos:
        plan = session.access.plan(info.mapper)
        for f in info.fields:
            readable = plan.fields[f.name]
            if readable is None or readable.masked:
                raise WriteDenied(
                    f"subject {subject} is here already, and purpose {grant.purpose.name} can't read"
                    f" {info.name}.{f.name} to compare it with the file",
                    reason="subject.present",
                    subject=subject,
                )
        primary = [info.mapper.get_property_by_column(c).key for c in info.mapper.primary_key]
        given = {tuple(values[key] for key in primary): (n, values) for n, values in enumerate(read[info.name])}
        rows = session.scalars(_mine(info, subject)).all()
        session.disclose(rows)
        for row in rows:
            found = given.pop(tuple(getattr(row, key) for key in primary), None)
            if found is None:
                raise _differs(subject, f"it has rows of {info.name} that the file has not")
            number, values = found
            for key, value in values.items():
                if written(getattr(row, key)) != written(value):
                    raise _differs(subject, f"rows.{info.name}[{number}].{key} is another")
        if given:
            raise _differs(subject, f"the file has rows of {info.name} that it has not")


def _differs(subject: uuid.UUID, how: str) -> WriteDenied:
    return WriteDenied(
        f"subject {subject} is here already and is not as in the file: {how}", reason="subject.present", subject=subject
    )


def _write(
    parts: Parts, token: Token, infos: list[ModelInfo], read: Mapping[str, list[_Values]], subject: uuid.UUID
) -> dict[str, int]:
    """Write all rows in one transaction."""
    try:
        with parts.session(token_of(token)) as session, session.begin():
            for info in infos:
                rows = read[info.name]
                for start in range(0, len(rows), _FLUSHED):
                    session.add_all(_made(info, values) for values in rows[start : start + _FLUSHED])
                    session.flush()
    except IntegrityError:
        taken = True
    else:
        taken = False
    if taken:
        raise WriteDenied(
            f"an id or a unique value of the rows of {subject} is taken by others: nothing was written",
            reason="subject.present",
            subject=subject,
        )
    return {info.name: len(read[info.name]) for info in infos}


def _made(info: ModelInfo, values: _Values) -> Any:
    make: Callable[[], Any] = info.mapper.class_manager.new_instance
    instance = make()
    for key, value in values.items():
        setattr(instance, key, value)
    return instance

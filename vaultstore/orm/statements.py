"""What happens to each statement of a purpose's session: rights, row scopes, sealing of bulk inserts, searches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Result, Select, Table, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Mapper, ORMExecuteState
from sqlalchemy.sql.util import find_tables

from vaultstore.errors import AccessDenied, KeyServiceUnavailable, UnsupportedOperation, WriteDenied
from vaultstore.masks import is_masked
from vaultstore.orm.flush import client_default
from vaultstore.orm.plaintext import refuse_mentions
from vaultstore.orm.properties import OpenColumns, refuse_bare
from vaultstore.orm.registry import FieldInfo, ModelInfo, info_of
from vaultstore.orm.scopes import RowCriteria, apart
from vaultstore.orm.seal import Row, seal_rows
from vaultstore.orm.search import Search
from vaultstore.orm.types import Carried, Cell, running_search

if TYPE_CHECKING:
    from vaultstore.orm.session import PurposeSession

__all__ = ["listen"]

_ATTEMPTS = 3
"""How often a search is made: once, and again where the rotation of an index's key began or ended meanwhile."""


def listen(session_class: type[PurposeSession]) -> None:
    """Put the rules on every statement that sessions of this class execute."""
    event.listen(session_class, "do_orm_execute", _execute)


def _execute(execution: ORMExecuteState) -> Result[Any]:
    session: Any = execution.session
    session.check_alive()
    if session.models.replaced:
        refuse_mentions(execution.statement, session.models.replaced)
    writing = execution.is_insert or execution.is_update or execution.is_delete
    if writing:
        _check_write(session, execution)
    if execution.is_orm_statement:
        _restrict(session, execution)
    elif isinstance(execution.statement, Select):
        refuse_bare(execution.statement._raw_columns)
    if execution.is_update:
        _check_update(session, execution)
    for _ in range(_ATTEMPTS):
        search = Search(session, execution.statement)
        token = running_search.set(search)
        try:
            if execution.is_insert:
                _prepare_insert(session, execution)
            result = execution.invoke_statement()
        except Carried as carried:
            raise carried.error from None
        except IntegrityError as error:
            session.report_collision(error)
            raise
        except DBAPIError as error:
            session.refuse(error, writing=writing)
            raise
        finally:
            running_search.reset(token)
        if not search.asked:
            return result
        result = search.audited(result)
        if not search.outdated:
            return result
        if writing:
            break  # it may have changed some rows and missed others: whoever asked has to roll back
    raise KeyServiceUnavailable(
        "the key of a blind index was changed while the statement ran, so it may have missed rows: do it again"
    )


def _restrict(session: PurposeSession, execution: ORMExecuteState) -> None:
    _check_listed(session, execution)
    statement: Any = execution.statement
    kept = tuple(o for o in statement._with_options if not isinstance(o, RowCriteria | OpenColumns))
    if len(kept) != len(statement._with_options):  # an eager load's own statement repeats those of the first
        statement = statement._generate()
        statement._with_options = kept
    execution.statement = statement = statement.options(*session.statement_options)
    if execution.is_column_load:  # refresh() and expired attributes ignore loader criteria
        mapper = execution.bind_mapper
        for scoped, condition in session.row_conditions:
            if mapper is not None and mapper.isa(scoped):
                execution.statement = statement = _limited(statement, scoped, apart(scoped, condition))
    if execution.is_update or execution.is_delete:
        chosen = execution.execution_options.get("synchronize_session", "auto")
        if chosen in ("auto", "evaluate"):
            # evaluating takes every object whose index column is not loaded (none ever is) for a match
            execution.update_execution_options(synchronize_session="fetch")


def _limited(statement: Any, mapper: Mapper[Any], condition: ColumnElement[bool]) -> Any:
    if isinstance(statement, Select):
        return statement.where(condition)
    # an expired column of a subclass's own table: the statement knows that table only, perhaps not the condition's
    [primary, *_] = next(iter(find_tables(statement.element))).primary_key
    inside = select(mapper.primary_key[0]).where(condition)
    statement = statement._generate()
    statement.element = statement.element.where(primary.in_(inside))
    return statement


def _check_listed(session: PurposeSession, execution: ORMExecuteState) -> None:
    if execution.is_relationship_load and execution.lazy_loaded_from is None:
        return  # eager loads of such a model find no rows
    listed = session.access.listed
    for mapper in (execution.bind_mapper, *execution.all_mappers):
        if mapper is not None and mapper not in listed:
            raise AccessDenied(
                f"purpose {session.access.purpose.name} has nothing to do with {mapper.class_.__name__}",
                reason="not.granted",
            )


def _prepare_insert(session: PurposeSession, execution: ORMExecuteState) -> None:
    statement: Any = execution.statement
    mapper = execution.bind_mapper if execution.is_orm_statement else None
    info = info_of(mapper) if mapper is not None else None
    if mapper is None or info is None or not info.fields:
        return
    if statement.select is not None:
        raise UnsupportedOperation(f"{info.name}: insert().from_select() can't seal; session.add_all() the objects")
    after = getattr(statement, "_post_values_clause", None)
    if after is not None and getattr(after, "update_values_to_set", None) is not None:
        raise UnsupportedOperation(
            f"{info.name}: an upsert would put values sealed for one row into another; select the row, then assign"
        )
    parameters = execution.parameters
    if parameters:
        rows = [parameters] if isinstance(parameters, Mapping) else parameters
        execution.parameters = _sealed_rows(session, mapper, info, rows)


def _sealed_rows(
    session: PurposeSession, mapper: Mapper[Any], info: ModelInfo, rows: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Rows of attribute name -> value, with the encrypted fields sealed and what belongs to them added."""
    blank: dict[str, Any] = dict.fromkeys((*info.sealed_keys, *info.computed_keys))
    sealed, todo = [], []
    for given in rows:
        if not info.computed_keys.isdisjoint(given):
            raise WriteDenied(f"{info.name}: projections and indexes are written by the store", reason="computed.write")
        row = {**given, **blank}
        for key in info.fixed:
            if row.get(key) is None:
                row[key] = client_default(mapper, key)
        fields: list[Any] = []
        for field in info.fields:
            cell = _cell(info, field, given)
            if cell is not None:
                fields += (field, cell)
                row[field.name] = cell
        sealed.append(row)
        todo.append(Row(row, fields, row.__setitem__))
    if not any(row.fields for row in todo):
        session.gate.check(session.opened.grant)
    seal_rows(session, info, todo, session.connection(bind_arguments={"mapper": mapper}))
    return sealed


def _cell(info: ModelInfo, field: FieldInfo, given: Mapping[str, Any]) -> Cell | None:
    spec = field.prop.spec
    value = given.get(field.name)
    if field.name not in given and spec.has_default:
        value = spec.default() if callable(spec.default) else spec.default
    if value is None:
        return None
    if is_masked(value) or value.__class__ is Cell:
        raise WriteDenied(f"{info.name}.{field.name}: a masked or sealed value can't be stored", reason="masked.write")
    try:
        plain = field.codec.encode(value)
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"{info.name}.{field.name}: {error}") from None
    return Cell.assigned(value, plain)


def _check_write(session: PurposeSession, execution: ORMExecuteState) -> None:
    table = getattr(execution.statement, "table", None)
    guarded = session.models.guarded.get(table) if isinstance(table, Table) else None
    if guarded is not None:
        session.access.check_write(guarded.info.mapper)
        seals = execution.is_insert and execution.is_orm_statement and guarded.info.fields and execution.parameters
        if not seals:  # which asks the gate
            session.gate.check(session.opened.grant)


def _check_update(session: PurposeSession, execution: ORMExecuteState) -> None:
    statement: Any = execution.statement
    table = statement.table if isinstance(statement.table, Table) else None
    guarded = session.models.guarded.get(table) if table is not None else None
    if guarded is None:
        return
    parameters = execution.parameters or ()
    rows = [parameters] if isinstance(parameters, Mapping) else parameters
    by_key = execution.is_orm_statement and bool(rows)  # then the primary key says which row
    for name in _assigned_names(statement, rows):
        if name in guarded.sealed or (name in guarded.fixed and not (by_key and name in guarded.primary)):
            raise UnsupportedOperation(
                f"{guarded.info.name}.{name}: update() can't seal or move a row; load the objects and assign"
            )


def _assigned_names(statement: Any, rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    values = statement._values or {}
    for key in values:
        yield key if isinstance(key, str) else key.name
    for row in rows:
        yield from row

"""PurposeSession: a SQLAlchemy session that reads, searches and writes what one purpose's grant allows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from weakref import WeakSet, finalize

from sqlalchemy import ColumnElement, Connection, Engine, and_
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.orm.attributes import instance_state

from vaultstore.errors import TokenExpired, UnsupportedOperation
from vaultstore.gate.protocol import KeyRef
from vaultstore.orm import disclose as reading
from vaultstore.orm.access import access_for
from vaultstore.orm.events import close_state
from vaultstore.orm.events import listen as listen_to_transactions
from vaultstore.orm.guards import guard
from vaultstore.orm.minted import MintedKeys
from vaultstore.orm.protocols import Gate, Opened
from vaultstore.orm.registry import ModelRegistry, indexed_field, info_of
from vaultstore.orm.role import denial
from vaultstore.orm.scopes import scope_named, scoped
from vaultstore.orm.statements import listen as listen_to_statements
from vaultstore.orm.types import Plaintexts
from vaultstore.orm.view import FieldView, view
from vaultstore.records.plane import RolePlane

__all__ = ["PurposeSession"]


def _now() -> datetime:
    return datetime.now(UTC)


def _no_plane() -> None:
    return None


class PurposeSession(Session):
    """A `sqlalchemy.orm.Session` under one grant. `Store.session(token)` makes it.

    Open values close when the session ends, when their object expires or is detached, and at the session's first
    activity (a statement, a flush, a disclosure) after the grant expired: reading a value that is already open costs
    no look at the clock. `close_expired()` closes them at once, for a caller that keeps time itself.

    `plane` is asked, at the first statement, for the PostgreSQL roles of the database. Where it has some, transactions
    run as the purpose's role, and which rows they see is left to row-level security.
    """

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        opened: Opened,
        gate: Gate,
        models: ModelRegistry,
        clock: Callable[[], datetime] = _now,
        plane: Callable[[], RolePlane | None] = _no_plane,
        **kw: Any,
    ) -> None:
        super().__init__(bind, **kw)
        self.opened, self.gate, self.models, self.clock = opened, gate, models, clock
        self.access = access_for(opened.grant, models)
        self.epoch = 0
        """Counts what closes every value at once; loads start over from their first object then."""
        self._expires_at = opened.grant.expires_at
        self._plaintexts: WeakSet[Plaintexts] = WeakSet()
        self.minting = MintedKeys(self)
        self._plane = plane
        self.lease = opened.lease()
        finalize(self, self.lease.drop).atexit = False  # whoever drops a session without close() gives back late
        engines = [bind] if bind is not None else list({*kw.get("binds", {}).values()})
        for engine in engines:
            guard(engine)
        self._dialect = (engines[0] if engines else self.get_bind()).dialect
        self.is_async = any(engine.dialect.is_async for engine in engines)
        self.joins = any(isinstance(engine, Connection) for engine in engines)
        """Whether it runs in transactions that somebody else begins and ends."""

    def __repr__(self) -> str:
        return f"<PurposeSession {self.access.purpose.name}>"

    def __del__(self) -> None:
        # A session that is dropped without close() must not leave open values on the objects that outlive it.
        with contextlib.suppress(Exception):
            self._close_values()

    # -- reading

    def disclose(self, instances: Iterable[Any]) -> None:
        """Open every field that the purpose reads of `instances`, in batches of the purpose's size.

        What is refused subject by subject is remembered on the object and raised when the field is read. Raises what
        the gate refuses as a whole.
        """
        self.check_alive()
        reading.disclose(self, instances)

    def view(self, instance: Any) -> dict[str, FieldView]:
        """Field name -> Clear, Masked or Denied; raises nothing."""
        return view(self, instance)

    def tags(self, attribute: Any, values: Sequence[Any]) -> list[tuple[str, ...]]:
        """Keyed tags of `values`: hex of their digests under the blind index of `attribute` (``Model.field``).

        To know a value again that is not kept: store the first tag of the tuple, and look for any of it. It has one of
        the version of the key that is written, then of every older one that still counts. Each value is a needle of a
        search, charged and audited as that. Raises SearchDenied, and what the gate refuses as a whole;
        UnsupportedOperation for what is no indexed field.
        """
        self.check_alive()
        model, field, index = indexed_field(attribute)
        messages = [index.message(value) for value in values]
        if not messages:
            return []
        answer = self.gate.search(self.opened, model, field.name, messages)
        made = [answer.digests, *([answer.former] if answer.former else [])]
        return [tuple(digest.hex() for digest in of_one) for of_one in zip(*made, strict=True)]

    def check_alive(self) -> None:
        """Raise TokenExpired, and close every open value, where the grant's time is over."""
        if self.close_expired():
            raise TokenExpired(f"the token for {self.access.purpose.name} has expired: ask for a new one")

    def close_expired(self) -> bool:
        """Close every open value, and end the login, where the grant's time is over; whether it is."""
        if self.clock() < self._expires_at:
            return False
        self._close_values()
        self.opened.give_back()
        return True

    def _close_values(self) -> None:
        self.epoch += 1
        for state in self.identity_map.all_states():
            close_state(state)
        self._forget_plaintexts()

    def _forget_plaintexts(self) -> None:
        """Drop what was disclosed, also for objects that left the session."""
        for plaintexts in self._plaintexts:
            plaintexts.clear()

    def new_plaintexts(self) -> Plaintexts:
        """A place for the values that the next batch opens; it is emptied when the session ends."""
        plaintexts = Plaintexts()
        self._plaintexts.add(plaintexts)
        return plaintexts

    # -- statements

    @cached_property
    def role(self) -> str | None:
        """The role of PostgreSQL that its transactions run as, if the database has such roles."""
        plane = self._plane()
        return None if plane is None else plane.role(self.access.purpose.name)

    @cached_property
    def row_conditions(self) -> tuple[tuple[Mapper[Any], ColumnElement[bool]], ...]:
        """The purpose's row scopes for this actor, and what leaves restricted members out.

        None where the database applies them, with rights of its own.
        """
        if self.role is not None:
            return ()
        actor = self.opened.grant.actor
        found = {m: scope_named(name)(actor, m.class_) for m, name in self.access.row_scopes}
        for mapper, condition in self.access.unrestricted(self._dialect).items():
            found[mapper] = and_(found[mapper], condition) if mapper in found else condition
        return tuple(found.items())

    @cached_property
    def statement_options(self) -> tuple[Any, ...]:
        """What every ORM statement of this session carries."""
        return (*self.access.options, *(scoped(mapper, condition) for mapper, condition in self.row_conditions))

    def report_collision(self, error: IntegrityError) -> None:
        """Have the gate charge and audit a violation of a unique blind index: it tells that a value is there."""
        text = str(error.orig)
        for table, name, model, field in self.models.unique_indexes:
            if f"{table}.{name}" in text or f"{table}_{name}" in text:
                self.gate.collision(self.opened, model, field)
                return

    # -- writing

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write what is pending, sealed. See `Session.flush`."""
        try:
            super().flush(objects)
        except IntegrityError as error:
            self.report_collision(error)
            raise
        except DBAPIError as error:
            self.refuse(error, writing=True)
            raise

    def refuse(self, error: DBAPIError, *, writing: bool) -> None:
        """Raise AccessDenied where `error` says that the database refused."""
        denied = denial(error, self.access.purpose.name, writing=writing)
        if denied is not None:
            raise denied from None

    def minted(self, refs: Sequence[KeyRef]) -> None:
        """Note data keys that were made in the running transaction."""
        self.minting.add(self, refs)

    def bulk_save_objects(self, objects: Iterable[Any], *args: Any, **kw: Any) -> None:
        """As in `Session`, for models without encrypted fields."""
        items = list(objects)
        self._bulk({instance_state(i).manager.mapper for i in items}, super().bulk_save_objects, items, *args, **kw)

    def bulk_insert_mappings(self, mapper: Any, *args: Any, **kw: Any) -> None:
        """As in `Session`, for models without encrypted fields."""
        self._bulk([getattr(mapper, "__mapper__", mapper)], super().bulk_insert_mappings, mapper, *args, **kw)

    def bulk_update_mappings(self, mapper: Any, *args: Any, **kw: Any) -> None:
        """As in `Session`, for models without encrypted fields."""
        self._bulk([getattr(mapper, "__mapper__", mapper)], super().bulk_update_mappings, mapper, *args, **kw)

    def _bulk(self, mappers: Iterable[Mapper[Any]], write: Callable[..., None], *args: Any, **kw: Any) -> None:
        self.check_alive()
        for mapper in mappers:
            info = info_of(mapper)
            if info.fields:
                raise UnsupportedOperation(
                    f"{info.name}: the legacy bulk methods can't seal; use session.execute(insert({info.name}), rows), "
                    "or session.add_all()"
                )
            self.access.check_write(mapper)
        self.gate.check(self.opened.grant)
        try:
            write(*args, **kw)
        except DBAPIError as error:
            self.refuse(error, writing=True)
            raise

    # -- state

    def close(self) -> None:
        """As in `Session`; the grant's login is given back if no other session of its token is open."""
        try:
            super().close()
        finally:
            self.lease.give()

    def reset(self) -> None:
        """As in `Session`; see `close`."""
        try:
            super().reset()
        finally:
            self.lease.give()

    def invalidate(self) -> None:
        """As in `Session`; see `close`."""
        try:
            super().invalidate()
        finally:
            self.lease.give()

    def refresh(self, instance: object, attribute_names: Iterable[str] | None = None, *args: Any, **kw: Any) -> None:
        """As in `Session`; an encrypted field stands for whichever of its columns the purpose reads."""
        super().refresh(instance, self._columns(instance, attribute_names), *args, **kw)

    def expire(self, instance: object, attribute_names: Iterable[str] | None = None) -> None:
        """As in `Session`; an encrypted field stands for all of its columns."""
        super().expire(instance, attribute_names)

    def expire_all(self) -> None:
        """As in `Session`."""
        self.epoch += 1
        super().expire_all()
        self._forget_plaintexts()

    def _columns(self, instance: object, names: Iterable[str] | None) -> list[str] | None:
        if names is None:
            return None
        plan = self.access.plan(instance_state(instance).manager.mapper)
        keys = []
        for name in names:
            readable = plan.fields.get(name)
            if readable is not None:
                keys.append(readable.key)
            elif name not in plan.fields:
                keys.append(name)
        return keys or [plan.info.row_key]


listen_to_statements(PurposeSession)
listen_to_transactions(PurposeSession)

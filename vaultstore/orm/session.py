"""PurposeSession: a SQLAlchemy session that reads, searches and writes what one purpose's grant allows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol
from weakref import WeakSet

from sqlalchemy import ColumnElement, Connection, Engine, event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstanceState, Mapper, Session, SessionTransaction
from sqlalchemy.orm.attributes import instance_state

from vaultstore.errors import TokenExpired, UnsupportedOperation
from vaultstore.gate.protocol import Disclosed, KeyNeed, KeyRef, Sealed, Searched
from vaultstore.grants import Grant
from vaultstore.orm import disclose as reading
from vaultstore.orm.access import access_for
from vaultstore.orm.flush import seal_pending
from vaultstore.orm.guards import guard
from vaultstore.orm.minted import MintedKeys
from vaultstore.orm.registry import ModelRegistry, info_of
from vaultstore.orm.scopes import scope_named, scoped
from vaultstore.orm.statements import listen
from vaultstore.orm.types import NOTHING, OPEN_KEY, Cell, Plaintexts
from vaultstore.orm.view import FieldView, view

__all__ = ["Gate", "Opened", "PurposeSession"]


class Opened(Protocol):
    """A grant that the gate opened; the sessions of one token share it."""

    @property
    def grant(self) -> Grant:
        """The verified grant."""

    def committed(self, minted: Sequence[KeyRef]) -> None:
        """These new keys are stored for good: later seals of this grant may use them."""

    def rolled_back(self, minted: Sequence[KeyRef]) -> None:
        """These new keys are gone."""


class Gate(Protocol):
    """The three verbs, the two reports on a search, and a look at the grant; see vaultstore.gate."""

    def check(self, grant: Grant) -> None:
        """Raise unless the grant is live."""

    def disclose(self, opened: Any, model: str, categories: Sequence[str], refs: Sequence[KeyRef]) -> Disclosed:
        """Keys or typed refusals."""

    def seal(
        self,
        opened: Any,
        model: str,
        sources: Any,
        needs: Sequence[KeyNeed],
        values: Any,
        connection: Connection,
    ) -> Sealed:
        """Keys to write with, and digests."""

    def search(self, opened: Any, model: str, field: str, values: Sequence[bytes]) -> Searched:
        """Digests of needles."""

    def found(self, opened: Any, entry: str, rows: int, subjects: Sequence[bytes]) -> None:
        """Audit the hits."""

    def collision(self, opened: Any, model: str, field: str) -> None:
        """Charge and audit a uniqueness violation as a search."""


def _now() -> datetime:
    return datetime.now(UTC)


class PurposeSession(Session):
    """A `sqlalchemy.orm.Session` under one grant. `Store.session(token)` makes it.

    Open values close when the session ends, when their object expires or is detached, and at the session's first
    activity (a statement, a flush, a disclosure) after the grant expired: reading a value that is already open costs
    no look at the clock. `close_expired()` closes them at once, for a caller that keeps time itself.
    """

    def __init__(
        self,
        bind: Engine | Connection | None = None,
        *,
        opened: Opened,
        gate: Gate,
        models: ModelRegistry,
        clock: Callable[[], datetime] = _now,
        **kw: Any,
    ) -> None:
        super().__init__(bind, **kw)
        self.opened, self.gate, self.models, self.clock = opened, gate, models, clock
        self.access = access_for(opened.grant, models)
        self.epoch = 0
        """Counts what closes every value at once; loads start over from their first object then."""
        self._expires_at = opened.grant.expires_at
        self._plaintexts: WeakSet[Plaintexts] = WeakSet()
        self._minted = MintedKeys(self)
        engines = [bind] if bind is not None else list({*kw.get("binds", {}).values()})
        for engine in engines:
            guard(engine)
        self.is_async = any(engine.dialect.is_async for engine in engines)

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

    def check_alive(self) -> None:
        """Raise TokenExpired, and close every open value, where the grant's time is over."""
        if self.clock() >= self._expires_at:
            self._close_values()
            raise TokenExpired(f"the token for {self.access.purpose.name} has expired: ask for a new one")

    def close_expired(self) -> None:
        """Close every open value where the grant's time is over."""
        if self.clock() >= self._expires_at:
            self._close_values()

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
    def row_conditions(self) -> tuple[tuple[Mapper[Any], ColumnElement[bool]], ...]:
        """The purpose's row scopes for this actor."""
        actor = self.opened.grant.actor
        return tuple((m, scope_named(name)(actor, m.class_)) for m, name in self.access.row_scopes)

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

    def minted(self, refs: Sequence[KeyRef]) -> None:
        """Note data keys that were made in the running transaction."""
        self._minted.add(self, refs)

    def bulk_save_objects(self, objects: Iterable[Any], *args: Any, **kw: Any) -> None:
        """As in `Session`, for models without encrypted fields."""
        items = list(objects)
        for item in items:
            self._refuse_bulk(instance_state(item).manager.mapper)
        super().bulk_save_objects(items, *args, **kw)

    def bulk_insert_mappings(self, mapper: Any, *args: Any, **kw: Any) -> None:
        """As in `Session`, for models without encrypted fields."""
        self._refuse_bulk(getattr(mapper, "__mapper__", mapper))
        super().bulk_insert_mappings(mapper, *args, **kw)

    def bulk_update_mappings(self, mapper: Any, *args: Any, **kw: Any) -> None:
        """As in `Session`, for models without encrypted fields."""
        self._refuse_bulk(getattr(mapper, "__mapper__", mapper))
        super().bulk_update_mappings(mapper, *args, **kw)

    @staticmethod
    def _refuse_bulk(mapper: Mapper[Any]) -> None:
        info = info_of(mapper)
        if info.fields:
            raise UnsupportedOperation(
                f"{info.name}: the legacy bulk methods can't seal; use session.execute(insert({info.name}), rows), "
                "or session.add_all()"
            )

    # -- state

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


def close_state(state: InstanceState[Any]) -> None:
    """Take the plaintext off an object; what was assigned and is not sealed yet stays, it is the caller's own."""
    info = info_of(state.manager.mapper)
    for key in info.sealed_keys:  # that a value is NULL was disclosed too
        if key not in state.committed_state and state.dict.get(key, NOTHING) is None:
            del state.dict[key]
    for values in (state.dict, state.committed_state):
        for key in info.sealed_keys:
            cell = values.get(key)
            if cell.__class__ is Cell and cell.ct is not None:
                values[key] = cell.ct
                with contextlib.suppress(AttributeError):
                    del cell.v  # for shallow copies of the object, which share the cell
    state.dict.pop(OPEN_KEY, None)


listen(PurposeSession)


@event.listens_for(PurposeSession, "before_flush")
def _before_flush(session: PurposeSession, context: Any, instances: Any) -> None:
    session.check_alive()
    seal_pending(session)


@event.listens_for(PurposeSession, "persistent_to_detached")
@event.listens_for(PurposeSession, "deleted_to_detached")
def _detached(session: PurposeSession, instance: Any) -> None:
    close_state(instance_state(instance))


@event.listens_for(PurposeSession, "after_commit")
def _committed(session: PurposeSession) -> None:
    session.epoch += 1
    session._minted.on_commit(session)


@event.listens_for(PurposeSession, "after_rollback")
def _rolled_back(session: PurposeSession) -> None:
    session.epoch += 1


@event.listens_for(PurposeSession, "after_transaction_end")
def _ended(session: PurposeSession, transaction: SessionTransaction) -> None:
    session._minted.on_end(transaction)

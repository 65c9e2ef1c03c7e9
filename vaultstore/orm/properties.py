"""Mapped properties of an encrypted field: which of its columns a statement loads, and what an access gives.

A field is one source column, its projections and perhaps a blind index. A statement loads only those that the
session's purpose reads; the choice is made where SQLAlchemy asks each property to set its column up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, FromClause, event
from sqlalchemy.orm import ColumnProperty, InstrumentedAttribute, Mapper
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.base import DONT_SET
from sqlalchemy.orm.interfaces import CompileStateOption
from sqlalchemy.sql.visitors import InternalTraversal

from vaultstore.codec import Codec
from vaultstore.errors import UnsupportedOperation, WriteDenied
from vaultstore.masks import Masked, is_masked
from vaultstore.orm.comparator import EncryptedComparator, HiddenComparator
from vaultstore.orm.plaintext import PlaintextType
from vaultstore.orm.types import NOTHING, OPEN_KEY, BlindIndexType, Cell, SealedType, plaintext_of

if TYPE_CHECKING:
    from vaultstore.orm.access import Access
    from vaultstore.orm.declare import FieldSpec

__all__ = [
    "BY_GATE",
    "RIGHTS",
    "EncryptedAttribute",
    "EncryptedProperty",
    "IndexProperty",
    "OpenColumns",
    "ProjectionProperty",
    "ReplacedProperty",
]

RIGHTS = "vaultstore.access"
"""Where a statement's compile state holds the Access it runs under."""
_LOAD = (("deferred", False), ("instrument", True))
BY_GATE: Any = object()
"""Initiator of the sets that the sealing itself makes."""


class OpenColumns(CompileStateOption):
    """Statement option that carries what the purpose may load; part of the statement's cache key."""

    __slots__ = ("access",)
    _cache_key_traversal = [("access", InternalTraversal.dp_plain_obj)]  # noqa: RUF012 - SQLAlchemy's form
    propagate_to_loaders = False
    _is_criteria_option = False

    def __init__(self, access: Access) -> None:
        self.access = access

    def process_compile_state(self, compile_state: Any) -> None:
        """Hand the rights to the properties, and refuse sealed columns that are selected bare."""
        compile_state.global_attributes[RIGHTS] = self.access
        statement = getattr(compile_state, "select_statement", None)
        refuse_bare(getattr(statement, "_raw_columns", ()))

    def process_compile_state_replaced_entities(self, compile_state: Any, mapper_entities: Any) -> None:
        """As above, for `with_only_columns`."""
        self.process_compile_state(compile_state)


def refuse_bare(columns: Sequence[Any]) -> None:
    """Raise UnsupportedOperation where a sealed column is among `columns`: its ciphertext would come out."""
    for selected in columns:
        entity = "parententity" in getattr(selected, "_annotations", ())
        for column in (selected,) if entity or not isinstance(selected, FromClause) else selected.c:
            if isinstance(getattr(column, "type", None), SealedType | BlindIndexType | PlaintextType):
                raise UnsupportedOperation(
                    f"{getattr(column, 'name', 'a sealed column')} is sealed: select the model and read the attribute"
                )


class _Gated(ColumnProperty[Any]):
    """A column that is loaded only where the statement's rights open it."""

    __slots__ = ()
    inherit_cache = True

    def _strategy_for(self, state: Any, context: Any, mapper: Mapper[Any]) -> bool:
        rights = state.global_attributes.get(RIGHTS)
        return rights is not None and rights.opens(self, mapper)

    def setup(self, context: Any, query_entity: Any, path: Any, adapter: Any, **kwargs: Any) -> None:
        """Add the column to the statement, or leave it out."""
        if self._strategy_for(context, context, path.mapper):
            loader, strategy = self._loader(context, path)
            strategy.setup_query(context, query_entity, path, loader, adapter, **kwargs)

    def create_row_processor(
        self,
        context: Any,
        query_entity: Any,
        path: Any,
        mapper: Mapper[Any],
        result: Any,
        adapter: Any,
        populators: Any,
    ) -> None:
        """Populate the attribute from the row; what is left out is dropped from objects that are refreshed."""
        if self._strategy_for(context.compile_state, context, path.mapper):
            loader, strategy = self._loader(context, path)
            strategy.create_row_processor(context, query_entity, path, loader, mapper, result, adapter, populators)
        elif context.populate_existing or context.refresh_state is not None:
            populators["expire"].append((self.key, False))

    def _loader(self, context: Any, path: Any) -> tuple[Any, Any]:
        loader = self._get_context_loader(context, path)
        return loader, self._get_strategy(loader.strategy if loader and loader.strategy else _LOAD)

    def copy(self) -> Any:
        """Not needed: SQLAlchemy copies properties of reflected classes only."""
        raise UnsupportedOperation("an encrypted field can't be copied to another mapping")


class EncryptedProperty(_Gated):
    """The source column of a field."""

    __slots__ = ("codec", "index_column", "keys", "plain_column", "spec")
    inherit_cache = True

    spec: FieldSpec
    codec: Codec
    index_column: Column[Any] | None
    plain_column: Column[Any] | None
    """The plaintext column that it replaces, while the table moves."""
    keys: tuple[str, ...]
    """Attribute keys of the source and then of its projections."""

    def __init__(self, column: Column[Any], *, attribute_options: Any = None) -> None:
        super().__init__(
            column,
            deferred=True,
            raiseload=True,
            comparator_factory=EncryptedComparator,
            attribute_options=attribute_options,
        )

    def instrument_class(self, mapper: Mapper[Any]) -> None:
        """Put our descriptor on the class."""
        kind = EncryptedAttribute if self.plain_column is None else MovingAttribute
        attribute: EncryptedAttribute = kind(
            mapper.class_, self.key, comparator=self.comparator_factory(self, mapper), parententity=mapper
        )
        attribute.__doc__ = self.doc
        attribute.keys = self.keys
        mapper.class_manager.instrument_attribute(self.key, attribute)

    def post_instrument_class(self, mapper: Mapper[Any]) -> None:
        """Listen to assignments, after @validates did, so that validators see the plain value."""
        super().post_instrument_class(mapper)
        attribute = mapper.class_manager[self.key]
        event.listen(attribute, "set", self._assigned, retval=True, raw=True, propagate=True)

    def _assigned(self, state: Any, value: Any, old: Any, initiator: Any) -> Any:
        """Plaintext enters the instance only inside a cell; assigning the value that is there changes nothing."""
        if value is None or value is DONT_SET:
            return value
        if isinstance(value, Masked):
            raise WriteDenied(f"{self}: a masked value can't be stored; assign the value itself", reason="masked.write")
        if value.__class__ is Cell:
            if value.ct is None:
                return value
            raise WriteDenied(f"{self}: a sealed value can't be copied; assign the plaintext", reason="sealed.write")
        encode = self.codec.encode
        try:
            plain = encode(value)
        except UnsupportedOperation as error:
            raise UnsupportedOperation(f"{self}: {error}") from None
        before = state.committed_state.get(self.key)
        for known in (old, before):
            if known.__class__ is Cell or known.__class__ is bytes:
                shown = plaintext_of(state.dict, known)
                if shown is not NOTHING and not isinstance(shown, Masked) and encode(shown) == plain:
                    return known
        # What the database will give back: a frozen copy of JSON, UTC for datetimes, str for a StrEnum.
        cell = Cell(None, value if value.__class__ in _AS_IT_IS else self.codec.decode(plain))
        cell.plain = plain
        return cell

    def merge(
        self,
        session: Any,
        source_state: Any,
        source_dict: Any,
        dest_state: Any,
        dest_dict: Any,
        load: bool,
        _recursive: Any,
        _resolve_conflict_map: Any,
    ) -> None:
        """Carry over what was assigned, never what was loaded: that would move plaintext between sessions."""
        if self.key not in source_dict or not load:
            return
        cell = source_dict[self.key]
        if source_state.key is not None and self.key not in source_state.committed_state:
            return
        if cell is not None:
            shown = plaintext_of(source_dict, cell)
            if shown is NOTHING or is_masked(shown):
                raise WriteDenied(
                    f"{self}: a sealed value can't be merged; assign the plaintext", reason="sealed.write"
                )
            cell = shown
        dest_state.get_impl(self.key).set(dest_state, dest_dict, cell, None)


class _Beside(_Gated):
    """A column that the sealing writes: it is no attribute to read, assign or compare."""

    __slots__ = ()
    inherit_cache = True

    def __init__(self, column: Column[Any]) -> None:
        super().__init__(column, deferred=True, raiseload=True, comparator_factory=HiddenComparator)

    def instrument_class(self, mapper: Mapper[Any]) -> None:
        """Put our descriptor on the class."""
        attribute: HiddenAttribute = HiddenAttribute(
            mapper.class_, self.key, comparator=self.comparator_factory(self, mapper), parententity=mapper
        )
        attribute.__doc__ = self.doc
        mapper.class_manager.instrument_attribute(self.key, attribute)

    def post_instrument_class(self, mapper: Mapper[Any]) -> None:
        """Refuse assignments that are not the sealing's own."""
        super().post_instrument_class(mapper)
        event.listen(mapper.class_manager[self.key], "set", self._assigned, retval=True, raw=True, propagate=True)

    def _assigned(self, state: Any, value: Any, old: Any, initiator: Any) -> Any:
        if initiator is BY_GATE or value is DONT_SET:
            return value
        raise WriteDenied(f"{self} is written by the store: assign the field it belongs to", reason="computed.write")

    def merge(self, *args: Any, **kw: Any) -> None:
        """Nothing: the sealing writes it."""


class ProjectionProperty(_Beside):
    """A projection column of a field."""

    __slots__ = ("category", "source")
    inherit_cache = True
    category: str
    source: EncryptedProperty


class IndexProperty(_Beside):
    """The blind index of a field; no statement ever loads it."""

    __slots__ = ()
    inherit_cache = True


class ReplacedProperty(_Beside):
    """The plaintext column that a field replaces; no statement of a session loads it with its row."""

    __slots__ = ()
    inherit_cache = True


class EncryptedAttribute(InstrumentedAttribute[Any]):
    """The descriptor of an encrypted field. Reading an open value costs what reading a plain attribute does."""

    __slots__ = ("keys",)
    __doc__ = InstrumentedAttribute.__dict__["__doc__"]  # each class body sets one; keep the writable property
    inherit_cache = True
    keys: tuple[str, ...]

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        get = instance.__dict__.get
        for key in self.keys:  # the source, then its projections: what the grant does not read is not there
            cell = get(key, NOTHING)
            if cell.__class__ is bytes:
                try:
                    shown = get(OPEN_KEY).by[id(cell)]
                except (KeyError, AttributeError):
                    break
                # A Masked is made when it is asked for: kept, each would be work for the garbage collector.
                return shown if key is self.keys[0] else Masked.of(shown)
            if cell is None:
                return None
            if cell.__class__ is Cell:
                try:
                    return cell.v
                except AttributeError:
                    break
        return _reveal(self, instance)

    def _column_strategy_attrs(self) -> Sequence[Any]:
        # load_only(Member.phone), defer(Member.phone): whichever of its columns the statement may load
        return [self if key == self.key else getattr(self.class_, key) for key in self.keys]


class MovingAttribute(EncryptedAttribute):
    """The same while its table moves: NULL may mean that the row is not sealed yet."""

    __slots__ = ()
    __doc__ = InstrumentedAttribute.__dict__["__doc__"]
    inherit_cache = True

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is not None:
            state = instance_state(instance)
            if state.key is not None and self.key not in state.committed_state:
                first = next((v for k in self.keys if (v := state.dict.get(k, NOTHING)) is not NOTHING), NOTHING)
                if first is None:
                    return _reveal(self, instance)
        return super().__get__(instance, owner)


class HiddenAttribute(InstrumentedAttribute[Any]):
    """The descriptor of a projection or index column."""

    __slots__ = ()
    __doc__ = InstrumentedAttribute.__dict__["__doc__"]
    inherit_cache = True

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        raise UnsupportedOperation(f"{self} is not read by itself: read the field it belongs to")


_AS_IT_IS = frozenset({str, bytes, int, bool})


def _reveal(attribute: EncryptedAttribute, instance: Any) -> Any:
    from vaultstore.orm.disclose import reveal

    return reveal(attribute, instance)

"""What the ORM layer knows of each model, and the catalogue that policy, keys and gate are given."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import DeclarativeBase, Mapper

from vaultstore.blindindex import BlindIndex
from vaultstore.catalogue import Catalogue, Field, Index, Model, Projection
from vaultstore.codec import Codec
from vaultstore.errors import ModelError, UnsupportedOperation
from vaultstore.masks import Mask
from vaultstore.orm.model import EncryptedModel
from vaultstore.orm.plaintext import PlaintextType, mention_of
from vaultstore.orm.properties import EncryptedProperty
from vaultstore.orm.related import gate_relationships
from vaultstore.orm.scopes import scope_names
from vaultstore.orm.types import BlindIndexType, SealedType

__all__ = ["FieldInfo", "ModelInfo", "ModelRegistry", "ProjectionInfo", "catalogue_of", "indexed_field", "info_of"]


@dataclass(frozen=True, slots=True)
class ProjectionInfo:
    """A projection column of a field."""

    category: str
    key: str
    """Attribute key."""
    mask: Mask
    context: str


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """An encrypted field as the session works with it."""

    name: str
    """Attribute key of the source column."""
    category: str
    context: str
    codec: Codec
    index: BlindIndex | None
    index_key: str
    projections: tuple[ProjectionInfo, ...]
    prop: EncryptedProperty
    plain_key: str | None = None
    """Attribute key of the plaintext column that it replaces, while the table moves."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Attribute keys of the source and its projections."""
        return self.prop.keys


class ModelInfo:
    """A mapped class as the session works with it: its fields and the attributes that every AAD needs."""

    def __init__(self, mapper: Mapper[Any]) -> None:
        class_ = mapper.class_
        self._mapper = weakref.ref(mapper)
        self.name: str = class_.__name__
        self.table: str = getattr(mapper.local_table, "name", self.name)
        self.bases: tuple[str, ...] = tuple(m.class_.__name__ for m in mapper.iterate_to_root())[1:]
        self.fields: tuple[FieldInfo, ...] = tuple(
            _field(p) for p in mapper.iterate_properties if isinstance(p, EncryptedProperty)
        )
        self.by_name: Mapping[str, FieldInfo] = {f.name: f for f in self.fields}
        self.with_default: tuple[FieldInfo, ...] = tuple(f for f in self.fields if f.prop.spec.has_default)
        self.subject_key: str = getattr(class_, "__subject__", "")
        self.row_key: str = getattr(class_, "__row_key__", None) or (
            mapper.get_property_by_column(mapper.primary_key[0]).key if self.fields else ""
        )
        self.scope_key: str | None = getattr(class_, "__key_scope__", None)
        self.fixed: tuple[str, ...] = tuple(
            dict.fromkeys(k for k in (self.subject_key, self.row_key, self.scope_key) if k)
        )
        """Attributes that are bound into every AAD of a row, so that none of them may change."""
        self.unmoved: tuple[str, ...] = tuple(
            dict.fromkeys([*self.fixed, *(mapper.get_property_by_column(c).key for c in mapper.primary_key)])
        )
        """These and the primary key: what no update sets."""
        self.sealed_keys: tuple[str, ...] = tuple(key for f in self.fields for key in f.keys)
        self.computed_keys: frozenset[str] = frozenset(
            [key for f in self.fields for key in f.keys[1:]]
            + [f.index_key for f in self.fields if f.index]
            + [f.plain_key for f in self.fields if f.plain_key]
        )

    @property
    def mapper(self) -> Mapper[Any]:
        """Its mapper."""
        mapper = self._mapper()
        assert mapper is not None
        return mapper

    @cached_property
    def model(self) -> Model:
        """The model as plain data."""
        return Model(self.name, self.table, tuple(_catalogued(f) for f in self.fields), self.bases)

    @cached_property
    def sealed_columns(self) -> frozenset[str]:
        """Names of its sealed and index columns."""
        mapper = self.mapper
        keys = [*self.sealed_keys, *(f.index_key for f in self.fields if f.index)]
        return frozenset(mapper.attrs[key].columns[0].name for key in keys)


_infos: weakref.WeakKeyDictionary[Mapper[Any], ModelInfo] = weakref.WeakKeyDictionary()


def info_of(mapper: Mapper[Any]) -> ModelInfo:
    """What is known of `mapper`'s class."""
    info = _infos.get(mapper)
    if info is None:
        info = _infos[mapper] = ModelInfo(mapper)
    return info


def indexed_field(attribute: Any) -> tuple[str, FieldInfo, BlindIndex]:
    """The model's name, field and blind index of ``Model.field``. Raises UnsupportedOperation where it has none."""
    mapper = getattr(getattr(attribute, "parent", None), "mapper", None)
    info = info_of(mapper) if isinstance(mapper, Mapper) else None
    field = info.by_name.get(getattr(attribute, "key", "")) if info else None
    if info is None or field is None or field.index is None:
        raise UnsupportedOperation("name a field that has a blind index, as in Member.phone")
    return info.name, field, field.index


def _place(prop: EncryptedProperty) -> str:
    """``table.column`` of a field."""
    column: Any = prop.columns[0]
    return f"{column.table.name}.{column.name}"


def _field(prop: EncryptedProperty) -> FieldInfo:
    spec = prop.spec
    context = spec.context or _place(prop)
    projections = tuple(
        ProjectionInfo(category, f"{prop.key}_{category}", mask, f"{context}_{category}")
        for category, mask in spec.projections.items()
    )
    plain_key = None if prop.plain_column is None else f"{prop.key}_replaced"
    return FieldInfo(
        prop.key, spec.category, context, prop.codec, spec.index, f"{prop.key}_bidx", projections, prop, plain_key
    )


def _catalogued(field: FieldInfo) -> Field:
    index = field.index and Index(field.context, field.index.fingerprint, field.index.unique)
    kind = field.codec.name
    projections = tuple(
        Projection(p.category, p.mask.fingerprint, p.context, p.mask.residual(kind)) for p in field.projections
    )
    return Field(field.name, field.category, field.context, kind, index or None, projections)


@dataclass(frozen=True, slots=True)
class Guarded:
    """Columns of one table, by column name and attribute name alike."""

    info: ModelInfo
    sealed: frozenset[str]
    fixed: frozenset[str]
    primary: frozenset[str]


def _guarded(infos: Iterable[ModelInfo]) -> Iterator[tuple[Table, Guarded]]:
    for info in infos:
        mapper = info.mapper
        sealed, fixed, primary = set(info.sealed_keys), set(info.unmoved), set()
        for prop in mapper.column_attrs:
            for column in prop.columns:
                name = str(getattr(column, "name", prop.key))
                if isinstance(column.type, SealedType | BlindIndexType | PlaintextType):
                    sealed |= {prop.key, name}
                elif prop.key in info.unmoved:
                    fixed.add(name)
                if column in mapper.primary_key:
                    primary |= {prop.key, name}
        for table in mapper.tables:
            if isinstance(table, Table):
                yield table, Guarded(info, frozenset(sealed), frozenset(fixed), frozenset(primary))


class ModelRegistry:
    """Every model of one or several declarative bases.

    Raises ModelError where two models share a name, or two columns a context name: the gate and the AAD tell them
    apart by nothing else.
    """

    def __init__(self, *bases: type[Any]) -> None:
        self._bases = bases
        self._infos = {info.name: info for info in self._collect()}
        self.catalogue = Catalogue({name: info.model for name, info in self._infos.items()}, scope_names())
        self.guarded: Mapping[Table, Guarded] = dict(_guarded(self))
        """Tables of models -> what no UPDATE statement may set."""
        self.unique_indexes = tuple(
            (c.table.name, c.name, info.name, f.name)
            for info in self
            for f in info.fields
            if f.index is not None and f.index.unique and (c := f.prop.index_column) is not None
        )
        """(table, column, model, field) of every unique blind index."""
        self.replaced = {
            column: mention_of(column.table.name, column.name)
            for info in self
            for f in info.fields
            if (column := f.prop.plain_column) is not None
        }
        """Plaintext columns that are being replaced -> words that text speaks of them by."""
        self.accesses: dict[Any, Any] = {}
        """Compiled rights of the purposes that were used, by purpose name and digest; access.py keeps it."""

    def index_name(self, model: str, field: str) -> str:
        """The name of a field's blind index, "" where it has none."""
        info = self._infos.get(model)
        found = None if info is None else info.by_name.get(field)
        return "" if found is None or found.index is None else found.context

    def __iter__(self) -> Iterator[ModelInfo]:
        """Every model; bases come before what inherits from them."""
        return iter(self._infos.values())

    def _collect(self) -> list[ModelInfo]:
        infos: dict[str, ModelInfo] = {}
        contexts: dict[str, str] = {}
        for base in self._bases:
            # Without the mixin nothing watches `x: Encrypted[str]`: SQLAlchemy would map it as a VARCHAR.
            if not (isinstance(base, type) and issubclass(base, EncryptedModel) and hasattr(base, "registry")):
                name = getattr(base, "__name__", type(base).__name__)
                raise ModelError(
                    f"{name} is no base for encrypted fields: class {name}(EncryptedModel, DeclarativeBase)"
                )
        registries = dict.fromkeys(base.registry for base in self._bases)
        for registry in registries:
            registry.configure()
            for mapper in registry.mappers:
                info = info_of(mapper)
                gate_relationships(mapper)
                other = infos.setdefault(info.name, info)
                if other is not info:
                    raise ModelError(f"two models are called {info.name}: a policy could not tell them apart")
        ordered = sorted(infos.values(), key=lambda info: (len(info.bases), info.name))
        for info in ordered:
            for field in info.fields:
                place = _place(field.prop)
                for context in (field.context, *(p.context for p in field.projections)):
                    if contexts.setdefault(context, place) != place:
                        raise ModelError(f"{contexts[context]} and {place} share the context name {context!r}")
        return ordered


def catalogue_of(*bases: type[DeclarativeBase] | type[Any]) -> Catalogue:
    """The models of `bases` (declarative base classes) as plain data, with the row scopes that are registered."""
    return ModelRegistry(*bases).catalogue

"""How an encrypted field is declared: `phone: Encrypted[str] = encrypted_column(category="contact", ...)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Column
from sqlalchemy.orm import Mapped, MappedColumn
from sqlalchemy.orm.base import DONT_SET
from sqlalchemy.orm.interfaces import _AttributeOptions
from sqlalchemy.orm.util import de_stringify_annotation
from sqlalchemy.sql.base import _NoArg
from sqlalchemy.util.typing import de_optionalize_union_types, includes_none, is_fwd_ref

from vaultstore.blindindex import BlindIndex
from vaultstore.codec import Codec, codec_for
from vaultstore.errors import ModelError
from vaultstore.masks import Mask
from vaultstore.orm.plaintext import replaced_column
from vaultstore.orm.properties import EncryptedProperty, IndexProperty, ProjectionProperty, ReplacedProperty
from vaultstore.orm.types import BlindIndexType, SealedType

__all__ = ["MADE_BY", "Encrypted", "EncryptedColumn", "FieldSpec", "encrypted_column"]

T = TypeVar("T")
MADE_BY = "vaultstore.field"
"""In a column's `info`: the field that brought it, and as what (``sealed``, ``index``, or a projection's category)."""
_UNSET: Any = _NoArg.NO_ARG


class Encrypted(Mapped[T]):
    """Annotation of an encrypted attribute: `Encrypted[T]` reads and is assigned as `T`, in SQL it is a sealed column.

    `T` is one of str, bytes, int, bool, Decimal, date, datetime, UUID, an Enum, or a JSON type; `T | None` makes the
    column nullable. It needs `encrypted_column()`; without it the class raises ModelError.
    """

    if not TYPE_CHECKING:
        __slots__ = ()


@dataclasses.dataclass(slots=True, eq=False)
class FieldSpec:
    """What a declaration says of one field, and what the class's scan adds to it."""

    category: str
    index: BlindIndex | None
    projections: Mapping[str, Mask]
    context: str | None
    pad: int | None
    default: Any = _UNSET
    """Written by the first flush where nothing was assigned."""
    codec: Codec | None = None
    replaces: str | Column[Any] | None = None
    """The plaintext column that this one is to replace, while the table moves."""

    @property
    def has_default(self) -> bool:
        """Whether a default was declared."""
        return self.default is not _UNSET

    def fresh(self) -> FieldSpec:
        """A copy for another class (mixins)."""
        return dataclasses.replace(self, codec=None)


class EncryptedColumn(MappedColumn[T]):
    """The column that `encrypted_column` makes; on its class's scan it brings its projections and blind index."""

    __slots__ = ("made", "spec")
    inherit_cache = True

    spec: FieldSpec
    made: EncryptedProperty | None

    def _copy(self, **kw: Any) -> Any:
        new = super()._copy(**kw)
        new.spec, new.made = self.spec.fresh(), None
        return new

    def declarative_scan(
        self,
        decl_scan: Any,
        registry: Any,
        cls: type[Any],
        originating_module: str | None,
        key: str,
        mapped_container: Any,
        annotation: Any,
        extracted_mapped_annotation: Any,
        is_dataclass_field: bool,
    ) -> None:
        """Take the field's type from its annotation and add its other columns to the class."""
        where = f"{cls.__name__}.{key}"
        if extracted_mapped_annotation is None:
            raise ModelError(f"{where}: annotate it: {key}: Encrypted[str] = encrypted_column(...)")
        # Without the annotation: the column has its type already, and what an Annotated carries is not for it.
        super().declarative_scan(
            decl_scan, registry, cls, originating_module, key, mapped_container, annotation, None, is_dataclass_field
        )
        resolved = _resolve(cls, originating_module, extracted_mapped_annotation)
        if not self._has_nullable:
            self.column.nullable = includes_none(resolved)
        spec = self.spec
        if spec.replaces is not None:
            if self._has_nullable and not self.column.nullable:
                raise ModelError(f"{where}: it takes NULL while it replaces a column: rows are sealed one by one")
            self.column.nullable = True
        try:
            codec = spec.codec = codec_for(de_optionalize_union_types(resolved), pad=spec.pad)
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from None
        _check(where, spec, codec)
        self.made = self._properties(decl_scan, cls, key, codec)

    def _properties(self, decl_scan: Any, cls: type[Any], key: str, codec: Codec) -> EncryptedProperty:
        spec, column = self.spec, self.column
        source = EncryptedProperty(column, attribute_options=self._attribute_options)
        source.spec, source.codec, source.index_column = spec, codec, None
        source.keys = (key, *(f"{key}_{category}" for category in spec.projections))
        source.plain_column = None
        column.info[MADE_BY] = key, "sealed"
        beside: dict[str, Any] = {}
        if spec.index is not None:
            unique = spec.index.unique
            source.index_column = self._beside(
                decl_scan, Column(f"{column.name}_bidx", BlindIndexType(), index=not unique, unique=unique or None)
            )
            source.index_column.info[MADE_BY] = key, "index"
            beside[f"{key}_bidx"] = IndexProperty(source.index_column)
        for category in spec.projections:
            projected = self._beside(decl_scan, Column(f"{column.name}_{category}", SealedType()))
            projected.info[MADE_BY] = key, category
            beside[f"{key}_{category}"] = projection = ProjectionProperty(projected)
            projection.category, projection.source = category, source
        if spec.replaces is not None:
            replaced = replaced_column(spec.replaces, codec, f"{cls.__name__}.{key}")
            if replaced.name == column.name:
                raise ModelError(f"{cls.__name__}.{key}: give the encrypted column a name of its own: name='...'")
            source.plain_column = self._beside(decl_scan, replaced)
            beside[f"{key}_replaced"] = ReplacedProperty(source.plain_column)
        for name in beside:
            if name in decl_scan.collected_attributes or name in decl_scan.properties:
                raise ModelError(f"{cls.__name__}.{name}: the name is taken by what {key} brings along; rename one")
        decl_scan.properties[key] = self  # first, so that the source column stands before its projections
        decl_scan.properties.update(beside)
        return source

    def _beside(self, decl_scan: Any, column: Column[Any]) -> Column[Any]:
        return self._adjust_for_existing_column(decl_scan, column.name, column)

    def _get_dataclass_setup_options(self, *args: Any, **kw: Any) -> _AttributeOptions:
        options: _AttributeOptions = super()._get_dataclass_setup_options(*args, **kw)
        options = options._replace(dataclasses_repr=False, dataclasses_compare=False)
        # A default is written by the flush, so the generated __init__ only has to make the argument optional.
        return options if self.spec.default is _UNSET else options._replace(dataclasses_default=DONT_SET)

    @property
    def mapper_property_to_assign(self) -> EncryptedProperty:
        """The property that the mapper gets."""
        if self.made is None:
            raise ModelError("declare encrypted_column() in the body of the class, annotated with Encrypted[...]")
        return self.made


def encrypted_column(
    *,
    category: str,
    index: BlindIndex | None = None,
    projections: Mapping[str, Mask] | None = None,
    name: str | None = None,
    context: str | None = None,
    pad: int | None = None,
    default: Any = _UNSET,
    default_factory: Callable[[], Any] = _UNSET,
    replaces: str | Column[Any] | None = None,
    nullable: bool | None = None,
    use_existing_column: bool = False,
    init: bool = _UNSET,
    kw_only: bool = _UNSET,
    doc: str | None = None,
) -> Any:
    """Declare an encrypted field.

    Its values are sealed under `category`; each of `projections` ({category: mask}) becomes a column
    ``<name>_<category>`` with the masked value sealed under that category, and `index` a column ``<name>_bidx`` for
    equality search. `context` pins the context name in the AAD (default ``table.column``), so that a table or column
    can be renamed; `pad` is in bytes. `default` (a value) is written by the first flush where nothing was assigned.
    `default_factory`, `init`
    and `kw_only` are for mapped dataclasses; their repr and comparison leave encrypted fields out. `replaces` names a
    plaintext column of the same table, while its values move here (docs/moving-in.md): its name, or a Column with its
    type where that is not the usual one for the field's values.

    Raises ModelError, here or when the class is made, for what can't be honoured.
    """
    options = _AttributeOptions(
        dataclasses_init=init,
        dataclasses_repr=_UNSET,
        dataclasses_default=_UNSET,
        dataclasses_default_factory=default_factory,
        dataclasses_compare=_UNSET,
        dataclasses_kw_only=kw_only,
        dataclasses_hash=_UNSET,
        dataclasses_dataclass_metadata=_UNSET,
    )
    arguments: tuple[Any, ...] = (SealedType(),) if name is None else (name, SealedType())
    keywords: dict[str, Any] = {} if nullable is None else {"nullable": nullable}
    column: EncryptedColumn[Any] = EncryptedColumn(
        *arguments, attribute_options=options, use_existing_column=use_existing_column, doc=doc, **keywords
    )
    column.spec = FieldSpec(category, index, dict(projections or {}), context, pad, default, replaces=replaces)
    column.made = None
    return column


def _resolve(cls: type[Any], module: str | None, annotation: Any) -> Any:
    if is_fwd_ref(annotation, check_generic=True, check_for_plain_string=True):
        return de_stringify_annotation(cls, annotation, module or cls.__module__, include_generic=True)
    return annotation


def _check(where: str, spec: FieldSpec, codec: Codec) -> None:
    if spec.index is not None:
        try:
            spec.index.check(codec.name)
        except ModelError as error:
            raise ModelError(f"{where}: {error}") from None
    for category, mask in spec.projections.items():
        if category == spec.category:
            raise ModelError(f"{where}: a projection needs a category of its own, not {category!r} again")
        if codec.name not in mask.accepts:
            raise ModelError(
                f"{where}: {mask.fingerprint} masks {', '.join(sorted(mask.accepts))}, and this field is {codec.name}"
            )

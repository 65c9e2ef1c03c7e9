"""What one purpose may load, read and search of each model, worked out once and shared by its sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Dialect, False_
from sqlalchemy.orm import ColumnProperty, Mapper

from vaultstore.codec import mask_codec
from vaultstore.envelope import AadTemplate
from vaultstore.errors import WriteDenied
from vaultstore.grants import Grant
from vaultstore.orm.properties import EncryptedProperty, OpenColumns, ProjectionProperty
from vaultstore.orm.registry import FieldInfo, ModelInfo, ModelRegistry, info_of
from vaultstore.orm.restricted import unrestricted
from vaultstore.orm.scopes import hidden, scoped
from vaultstore.policy.model import Purpose

__all__ = ["Access", "Group", "ReadPlan", "Readable", "access_for"]


@dataclass(frozen=True, slots=True)
class Readable:
    """The column that a purpose reads a field from."""

    field: str
    category: str
    key: str
    """Attribute key of the column."""
    aad: AadTemplate
    decode: Callable[[bytes], Any]
    masked: bool
    moving: FieldInfo | None = None
    """The field, where it replaces a plaintext column: NULL may mean that the row is not sealed yet."""


@dataclass(frozen=True, slots=True)
class Group:
    """The columns of a model that one category opens: (attribute key, head of the AAD, decode) each."""

    category: str
    tail: Callable[[bytes], bytes]
    columns: tuple[tuple[str, bytes, Callable[[bytes], Any]], ...]


class ReadPlan:
    """What a purpose reads of one model."""

    __slots__ = ("categories", "fields", "groups", "info", "keys", "listed", "moving", "writes")

    def __init__(self, info: ModelInfo, purpose: Purpose) -> None:
        names = (info.name, *info.bases)
        reads = purpose.reads(*names)
        self.info = info
        self.fields: Mapping[str, Readable | None] = {f.name: _readable(f, reads) for f in info.fields}
        readable = [r for r in self.fields.values() if r is not None]
        self.keys = tuple(r.key for r in readable)
        self.categories = tuple(dict.fromkeys(r.category for r in readable))
        self.moving = tuple(r.moving for r in readable if r.moving is not None and not r.masked)
        """Fields read in clear that replace a plaintext column."""
        self.groups = tuple(_group(category, readable) for category in self.categories)
        listings: tuple[Mapping[str, Any], ...] = (purpose.read, purpose.search, purpose.write)
        self.writes = any(name in purpose.write for name in names)
        self.listed = any(name in listing for listing in listings for name in names)


def _readable(field: FieldInfo, reads: frozenset[str]) -> Readable | None:
    moving = None if field.plain_key is None else field
    if field.category in reads:
        aad = AadTemplate(field.context, field.category)
        return Readable(field.name, field.category, field.name, aad, field.codec.decode, False, moving)
    for p in field.projections:
        if p.category in reads:
            aad = AadTemplate(p.context, p.category)
            return Readable(field.name, p.category, p.key, aad, mask_codec.decode, True, moving)
    return None


def _group(category: str, readable: list[Readable]) -> Group:
    members = [r for r in readable if r.category == category]
    return Group(category, members[0].aad.tail, tuple((r.key, r.aad.head, r.decode) for r in members))


class Access:
    """The rights of one purpose over a registry's models. Statements carry it in their cache key, by identity."""

    def __init__(self, purpose: Purpose, registry: ModelRegistry) -> None:
        self.purpose = purpose
        self._plans: dict[Mapper[Any], ReadPlan] = {}
        self._open: dict[tuple[ColumnProperty[Any], Mapper[Any]], bool] = {}
        plans = [self.plan(info.mapper) for info in registry]
        visible = frozenset(plan.info.name for plan in plans if plan.listed)
        self.written = frozenset(plan.info.mapper for plan in plans if plan.writes)
        """Models of which the purpose writes rows: of the others it writes no clear column either."""
        self.listed = frozenset(plan.info.mapper for plan in plans if plan.listed)
        """Models of which the purpose sees rows. One that is not the store's can't be listed, so it is not here."""
        unlisted = [(plan.info.mapper, hidden(plan.info.mapper, visible)) for plan in plans if not plan.listed]
        self._hidden = frozenset(mapper for mapper, condition in unlisted if isinstance(condition, False_))
        self.options: tuple[Any, ...] = (OpenColumns(self), *(scoped(m, condition) for m, condition in unlisted))
        """Options of every statement, whoever the actor is."""
        scopes = {p.info.name: purpose.rows(p.info.name, *p.info.bases) for p in plans if p.listed}
        self._unrestricted: dict[str, Mapping[Mapper[Any], ColumnElement[bool]]] = {}
        self.row_scopes: tuple[tuple[Mapper[Any], str], ...] = tuple(
            (plan.info.mapper, name)
            for plan in plans
            # a base's condition holds for its subclasses already
            if (name := scopes.get(plan.info.name)) and name not in map(scopes.get, plan.info.bases)
        )

    def __repr__(self) -> str:
        return f"<Access of {self.purpose.name}>"

    def unrestricted(self, dialect: Dialect) -> Mapping[Mapper[Any], ColumnElement[bool]]:
        """Mapper -> the condition that leaves restricted members out; none for a purpose that sees them."""
        found = self._unrestricted.get(dialect.name)
        if found is None:
            told = {} if self.purpose.requires.sees_restricted else {m: info_of(m).subject_key for m in self.listed}
            found = self._unrestricted[dialect.name] = {
                mapper: unrestricted(info_of(mapper), dialect)
                for mapper, key in told.items()
                # a base's condition holds for its subclasses already
                if key and all(told.get(base) != key for base in list(mapper.iterate_to_root())[1:])
            }
        return found

    def check_write(self, mapper: Mapper[Any]) -> None:
        """Raise WriteDenied where the purpose does not list `mapper`'s model under `write`."""
        if mapper not in self.written:
            model = mapper.class_.__name__
            raise WriteDenied(f"purpose {self.purpose.name} does not write {model}", reason="not.granted")

    def hides(self, mapper: Mapper[Any]) -> bool:
        """Whether the purpose sees no row of `mapper`'s model, not even as one of a subclass that it lists."""
        return mapper in self._hidden

    def plan(self, mapper: Mapper[Any]) -> ReadPlan:
        """What the purpose reads of `mapper`'s class."""
        plan = self._plans.get(mapper)
        if plan is None:
            plan = self._plans[mapper] = ReadPlan(info_of(mapper), self.purpose)
        return plan

    def opens(self, prop: ColumnProperty[Any], mapper: Mapper[Any]) -> bool:
        """Whether a statement for `mapper` loads the column of `prop`, which may be a subclass's."""
        known = self._open.get((prop, mapper))
        if known is None:
            known = self._open[prop, mapper] = self._opens(prop, mapper)
        return known

    def _opens(self, prop: ColumnProperty[Any], mapper: Mapper[Any]) -> bool:
        if isinstance(prop, EncryptedProperty):
            field = prop.key
        elif isinstance(prop, ProjectionProperty):
            field = prop.source.key
        else:
            return False
        owner = mapper if mapper.has_property(prop.key) else prop.parent
        readable = self.plan(owner).fields.get(field)
        return readable is not None and readable.key == prop.key


def access_for(grant: Grant, registry: ModelRegistry) -> Access:
    """The Access of a grant's purpose; made once for each version of a purpose."""
    key = grant.purpose.name, grant.digest
    access: Access | None = registry.accesses.get(key)
    if access is None or access.purpose != grant.purpose:
        access = registry.accesses[key] = Access(grant.purpose, registry)
    return access

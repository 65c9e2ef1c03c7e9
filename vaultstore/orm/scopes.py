"""Row scopes: which rows of a model a purpose sees, as a condition that the ORM adds to every statement.

They are a convenience: they hold for what goes through the ORM (selects, aliases, joins, eager and lazy loads, get,
refresh, ORM update and delete), and not for Core statements, text() and from_statement(). Row-level security, compiled
from the same functions, is the boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, false
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.util import LoaderCriteriaOption

from vaultstore.errors import ModelError
from vaultstore.grants import Actor

__all__ = ["RowCriteria", "Scope", "apart", "hidden", "row_scope", "scope_named", "scope_names", "scoped"]

Scope = Callable[[Actor, Any], ColumnElement[bool]]
"""(actor, model class) -> condition on the model's clear columns."""

S = TypeVar("S", bound=Scope)

_scopes: dict[str, Scope] = {}


def row_scope(name: str) -> Callable[[S], S]:
    """Register the decorated `(actor, Model) -> ColumnElement[bool]` as the row scope called `name`.

    It is called once a session, takes only the actor, and may use the clear columns of any model.
    Raises ModelError where another function has the name.
    """

    def register(function: S) -> S:
        known = _scopes.setdefault(name, function)
        if (known.__module__, known.__qualname__) != (function.__module__, function.__qualname__):
            raise ModelError(f"two functions are registered as the row scope {name!r}")
        _scopes[name] = function
        return function

    return register


def scope_named(name: str) -> Scope:
    """The function registered as `name`. Raises ModelError where there is none."""
    try:
        return _scopes[name]
    except KeyError:
        raise ModelError(f"no row scope is registered as {name!r}: decorate a function with @row_scope") from None


def scope_names() -> frozenset[str]:
    """Names of all registered row scopes."""
    return frozenset(_scopes)


class RowCriteria(LoaderCriteriaOption):
    """`with_loader_criteria` of ours, to be told from the caller's."""

    __slots__ = ()
    _cache_key_traversal = LoaderCriteriaOption._traverse_internals

    def _should_include(self, compile_state: Any) -> bool:
        # What a scope looks at to decide is not what its purpose sees: leads that say whose a member is.
        return not any(isinstance(option, RowCriteria) for option in compile_state._containing_loader_criteria)

    def _resolve_where_criteria(self, ext_info: Any) -> ColumnElement[bool]:
        # SQLAlchemy adapts the condition to an alias in WHERE, but not in the ON of an explicit join to the alias
        condition = super()._resolve_where_criteria(ext_info)
        return ext_info._adapter.traverse(condition) if ext_info.is_aliased_class else condition


def scoped(mapper: Mapper[Any], condition: ColumnElement[bool]) -> RowCriteria:
    """The statement option that limits `mapper`'s rows."""
    # joinedload leaves out what does not propagate; loads.py keeps it from staying on the objects, where it would
    # limit the next session too
    return RowCriteria(mapper, condition, include_aliases=True, propagate_to_loaders=True)


def apart(mapper: Mapper[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """`condition` for a WHERE of its own, with subqueries that no other row condition limits."""
    return scoped(mapper, condition)._resolve_where_criteria(mapper)


def hidden(mapper: Mapper[Any], visible: frozenset[str]) -> ColumnElement[bool]:
    """The condition for a model that a purpose does not list: no rows, but those of subclasses that it does list."""
    column = mapper.polymorphic_on
    identities = [
        m.polymorphic_identity
        for m in mapper.self_and_descendants
        if m.class_.__name__ in visible and m.polymorphic_identity is not None
    ]
    if column is None or not identities:
        return false()
    # The attribute, where there is one: a joined eager load adapts it to its alias, and a bare column not.
    attribute = getattr(mapper.class_, mapper.get_property_by_column(column).key, column)
    condition: ColumnElement[bool] = attribute.in_(identities)
    return condition

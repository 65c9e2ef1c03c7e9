"""Row scopes of the member store: which rows a purpose sees, as conditions on clear columns."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import ColumnElement, false, func, inspect, select

from vaultstore import Actor, row_scope
from vaultstore.members.models import Lead

__all__ = ["addressed_to_actor", "claimed_by_actor", "own_city", "own_rows", "own_store"]


@row_scope("claimed_by_actor")
def claimed_by_actor(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """Members whom the actor holds as open leads. The database's own clock says which have run out."""
    held = select(Lead.member_id).where(
        Lead.actor_id == actor.id, Lead.state == "open", Lead.expires_at > func.current_timestamp()
    )
    return _column(model, model.__subject__).in_(held)


@row_scope("own_store")
def own_store(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """Members of the actor's store; an actor without one sees none."""
    store = actor.attributes.get("store")
    return _column(model, "store") == store if store else false()


@row_scope("own_city")
def own_city(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """Members who live in the actor's city; an actor without one sees none."""
    city = actor.attributes.get("city")
    return _column(model, "city") == city if city else false()


@row_scope("own_rows")
def own_rows(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """Rows whose subject is the actor; an actor whose id is no UUID is nobody's subject."""
    return _is_actor(_column(model, model.__subject__), actor)


@row_scope("addressed_to_actor")
def addressed_to_actor(actor: Actor, model: type[Any]) -> ColumnElement[bool]:
    """Messages that the actor received."""
    return _is_actor(_column(model, "recipient_id"), actor)


def _is_actor(column: ColumnElement[Any], actor: Actor) -> ColumnElement[bool]:
    try:
        return column == uuid.UUID(actor.id)
    except ValueError:
        return false()


def _column(model: type[Any], name: str) -> ColumnElement[Any]:
    # With an aliased class the attribute belongs to the alias, so it is asked of what was handed in.
    assert name in inspect(model).mapper.attrs
    column: ColumnElement[Any] = getattr(model, name)
    return column

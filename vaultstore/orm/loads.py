"""Which objects came by one load: they are disclosed together, in the order in which they were loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import InstanceState

from vaultstore.orm.access import ReadPlan
from vaultstore.orm.model import EncryptedModel
from vaultstore.orm.scopes import RowCriteria
from vaultstore.orm.types import NOTHING, plaintext_of

__all__ = ["LARGEST", "Load", "load_of"]

LARGEST = 1_000
"""Objects of one load that are kept together: the greatest batch of a purpose. A stream of rows makes many."""

_KEY = "_vaultstore_load"


class Load:
    """Objects of one class that one statement loaded into one session."""

    __slots__ = ("cursor", "epoch", "options", "states")

    def __init__(self, options: tuple[Any, ...]) -> None:
        self.options = options
        """The caller's options that lazy loads repeat; row criteria are not among them: each session adds its own."""
        self.states: list[InstanceState[Any]] = []
        self.cursor = 0
        """Objects before this one were open when they were last looked at."""
        self.epoch = 0

    def closed(
        self, touched: InstanceState[Any], plan: ReadPlan, missing: str | None, session_id: int | None, epoch: int
    ) -> Iterator[InstanceState[Any]]:
        """The objects that have something to open, in load order; with `missing`, also those that lack that column."""
        if epoch != self.epoch or self.cursor >= len(self.states):
            self.epoch, self.cursor = epoch, 0
        keys, states, moving = plan.keys, self.states, plan.moving
        for position in range(self.cursor, len(states)):
            self.cursor = position + 1
            state = states[position]
            instance = state.obj()
            if instance is None or state is touched or state.session_id != session_id:
                continue
            values = instance.__dict__
            for key in keys:
                cell = values.get(key)
                if cell.__class__ is bytes and plaintext_of(values, cell) is NOTHING:
                    yield state
                    break
            else:
                if missing is not None and missing not in values:
                    yield state
                elif moving and any(values.get(field.name, NOTHING) is None for field in moving):
                    yield state  # not sealed, perhaps


def load_of(state: InstanceState[Any]) -> Load | None:
    """The load that `state` came by, or None for an object that was made here."""
    load: Load | None = state.__dict__.get(_KEY)
    return load


@event.listens_for(EncryptedModel, "load", propagate=True, raw=True)
def _loaded(state: InstanceState[Any], context: Any) -> None:
    if context is None:  # Session.merge says so of what it makes
        return
    attributes = context.attributes
    load = attributes.get(state.class_)
    if load is None or len(load.states) >= LARGEST:
        kept = tuple(o for o in context.propagated_loader_options if not isinstance(o, RowCriteria))
        load = attributes[state.class_] = Load(kept)
    load.states.append(state)
    state.__dict__[_KEY] = load
    state.load_options = load.options


@event.listens_for(EncryptedModel, "refresh", propagate=True, raw=True)
def _refreshed(state: InstanceState[Any], context: Any, attrs: Any) -> None:
    # A single refresh leaves the object with those it came with; a statement that meets it again moves it.
    if context is not None and context.refresh_state is None and not context.execution_options.get("vaultstore_fetch"):
        _loaded(state, context)

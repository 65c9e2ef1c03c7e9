"""Relationships to models that a purpose sees nothing of: eager loads leave them out of the SQL.

A condition that finds no row would do for the ORM, but not for PostgreSQL: a statement that names a table is refused
where the purpose's role has no right on it, whatever the condition says.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.attributes import init_state_collection
from sqlalchemy.orm.strategies import _JoinedLoader, _PostLoader

from vaultstore.orm.properties import RIGHTS

__all__ = ["gate_relationships"]

_DONE = "vaultstore_gated"


def gate_relationships(mapper: Mapper[Any]) -> None:
    """Put the question "does the purpose see the other side?" before every load of `mapper`'s relationships.

    Harmless when repeated. The mapper has to be configured.
    """
    for prop in mapper.relationships:
        if _DONE not in vars(prop):
            vars(prop)[_DONE] = True
            _gate(prop)


def _gate(prop: RelationshipProperty[Any]) -> None:
    # `relationship()` has no factory of ours as columns have, so the two methods that every load goes through are
    # replaced on the property itself.
    setup, create_row_processor = prop.setup, prop.create_row_processor

    def left_out(compile_state: Any, path: Any) -> bool:
        rights = compile_state.global_attributes.get(RIGHTS)
        if rights is None or not rights.hides(prop.mapper):
            return False
        loader = prop._get_context_loader(compile_state, path)
        strategy = prop._get_strategy(loader.strategy) if loader and loader.strategy else prop.strategy
        return isinstance(strategy, _JoinedLoader | _PostLoader)  # a lazy load is refused as a statement of its own

    def gated_setup(context: Any, query_entity: Any, path: Any, adapter: Any, **kwargs: Any) -> None:
        if not left_out(context, path):
            setup(context, query_entity, path, adapter, **kwargs)

    def gated_row_processor(
        context: Any, query_entity: Any, path: Any, mapper: Any, result: Any, adapter: Any, populators: Any
    ) -> None:
        if left_out(context.compile_state, path):
            populators["new"].append((prop.key, nothing))
        else:
            create_row_processor(context, query_entity, path, mapper, result, adapter, populators)

    def nothing(state: Any, values: Any, row: Any) -> None:
        if prop.uselist:
            init_state_collection(state, values, prop.key)
        else:
            values[prop.key] = None

    vars(prop).update(setup=gated_setup, create_row_processor=gated_row_processor)

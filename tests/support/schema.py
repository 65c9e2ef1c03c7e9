"""A database's schema as plain data, to be compared."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["schema_of"]


def schema_of(engine: sa.Engine) -> dict[str, Any]:
    """Tables with their columns, keys, indexes, checks and options, and the functions of ours; no revision table."""
    look = sa.inspect(engine)
    found: dict[str, Any] = {}
    for table in look.get_table_names():
        if table == "alembic_version":
            continue
        found[table] = {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], c.get("default"), bool(c.get("identity")))
                for c in look.get_columns(table)
            ],
            "primary key": look.get_pk_constraint(table),
            "foreign keys": sorted(map(str, look.get_foreign_keys(table))),
            "indexes": sorted(map(_index, look.get_indexes(table))),
            "unique": sorted(map(str, look.get_unique_constraints(table))),
            "checks": sorted(map(str, look.get_check_constraints(table))),
            "options": str(look.get_table_options(table)),
        }
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ')', pg_get_functiondef(oid)"
                " FROM pg_proc WHERE proname ~ '^vsx?_' AND prokind = 'f'"
            )
            found["functions"] = dict(map(tuple, rows))
    return found


def _index(found: Any) -> str:
    """An index as text, with the conditions of partial ones spelled out."""
    options = {name: str(value) for name, value in found.get("dialect_options", {}).items()}
    return str({**found, "dialect_options": options})

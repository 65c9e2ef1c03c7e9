"""What a PostgreSQL database says of itself: who may do what to a store's tables, as rows of its catalogs.

One query (sql/facts.sql) gives every fact; which of them are right is for others to say. A fact of a scratch schema is
written under the name of the schema that it stands for, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import NamedTuple

import sqlalchemy as sa

__all__ = ["Fact", "facts"]


class Fact(NamedTuple):
    """One thing that the catalogs say."""

    kind: str
    """``grant``, ``policy``, ``role``...: the branches of sql/facts.sql."""
    object: str
    """Table, function, role..., with its schema where it has one."""
    part: str
    """Column, policy, trigger... of the object, or ``""``."""
    who: str
    """The role that it is about, ``PUBLIC``, ``(owner)``, or ``""``."""
    detail: str


def facts(
    connection: sa.Connection, schema: str, *, prefix: str, tables: Iterable[str], as_schema: str | None = None
) -> frozenset[Fact]:
    """Every fact about `tables` in `schema`, the functions beside them, and the roles whose names begin with `prefix`.

    `as_schema` is the name to write for `schema`. Takes tens of milliseconds, reads catalogs only, and leaves the
    transaction's search_path at ``pg_catalog, pg_temp``.
    """
    # Otherwise names in the search path lose their schema, and what lies in it could stand in for a catalog's function.
    connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
    rows = connection.execute(
        _query(),
        {"schema": schema, "as_schema": as_schema or schema, "prefix": prefix, "tables": sorted(tables)},
    )
    # One line each, however the server breaks an expression.
    return frozenset(
        Fact(kind, object_, part, who, " ".join(detail.split())) for kind, object_, part, who, detail in rows
    )


@cache
def _query() -> sa.TextClause:
    text = (resources.files("vaultstore.planes") / "sql" / "facts.sql").read_text(encoding="utf-8")
    names = {name: sa.bindparam(name, type_=sa.Text) for name in ("schema", "as_schema", "prefix")}
    return sa.text(text).bindparams(*names.values(), sa.bindparam("tables", type_=sa.ARRAY(sa.Text)))

"""The PostgreSQL plane of a generated world as raw SQL meets it: columns, rows and writes, against Cedar's word."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from tests.support.generated import ModelSpec
from tests.support.generated_data import rows
from tests.support.generated_library import Library
from vaultstore import Actor

__all__ = ["Columns", "claims_of", "columns", "purpose_role", "raw_agrees"]

_FIXED = frozenset({"id", "owner", "room"})
"""Clear columns that are a row's identity, its subject or its key scope."""


def claims_of(token: str) -> dict[str, Any]:
    """What a session leaves in its transaction, made from the token by hand (docs/formats/tokens.md)."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    times = {
        name: datetime.fromtimestamp(claims[name], UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for name in ("iat", "exp")
    }
    subjects = claims.get("subjects")
    found = {
        "jti": claims["jti"],
        "actor": claims["sub"],
        "role": claims["role"],
        "attributes": claims["attrs"],
        "purpose": claims["purpose"],
        "pol": claims["pol"],
        **times,
        "case": claims.get("case"),
        "subjects": None if subjects is None else sorted(s.replace("-", "") for s in subjects),
    }
    return found | ({"ticket": claims["ticket"]} if "ticket" in claims else {})


@contextmanager
def purpose_role(engine: sa.Engine, role: str, claims: Mapping[str, Any]) -> Iterator[sa.Connection]:
    """A transaction of a login under a role and claims; rolled back."""
    with engine.connect() as connection:
        setting = sa.text("SELECT set_config('role', :role, true), set_config('vaultstore.claims', :claims, true)")
        connection.execute(setting, {"role": role, "claims": json.dumps(claims)})
        yield connection
        connection.rollback()


@dataclass
class Columns:
    """Columns of one table by what a purpose may do with them."""

    select: set[str]
    insert: set[str]
    update: set[str]
    every: set[str]
    delete: bool = False


def columns(library: Library, purpose: str, role: str) -> dict[str, Columns]:
    """Table -> what Cedar makes of its columns. Models that share a table share its columns."""
    found: dict[str, Columns] = {}
    for model in library.made.spec.models:
        for table, clear, sealed in _layout(library, model):
            known = found.setdefault(table, Columns(set(), set(), set(), set()))
            names = clear | {column for column, _, _ in sealed}
            known.every |= names
            if library.cedar.sees(purpose, role, model.name):
                known.select |= clear
            if library.cedar.changes(purpose, role, model.name):
                known.insert |= names
                known.update |= clear - _FIXED
                known.delete = True
            for column, field, category in sealed:
                asked = (purpose, role, model.name, field)
                opened = library.cedar.opens(*asked)
                if category in opened or (category == "" and library.cedar.searches(*asked)):
                    known.select.add(column)
                if library.cedar.writes(*asked):
                    known.update.add(column)
    return found


def _layout(library: Library, model: ModelSpec) -> Iterator[tuple[str, set[str], list[tuple[str, str, str]]]]:
    """(table, clear columns, (sealed column, field, category; "" for an index)) of a model, table by table."""
    spec = library.made.spec
    root = spec.model(model.base) if model.base else model
    clear = {"id", "store", "person", "remark"}
    clear |= {"kind"} if any(m.base == root.name for m in spec.models) else set()
    clear |= {"holder", "target", "open"} if root.plain else set()
    clear |= ({"owner"} if root.owned else set()) | ({"room"} if root.scoped_keys else set())
    apart = bool(model.base) and model.joined
    yield root.table, clear, list(_sealed(root)) + ([] if apart or not model.base else list(_sealed(model)))
    if apart:
        yield model.table, {"id"}, list(_sealed(model))


def _sealed(model: ModelSpec) -> Iterator[tuple[str, str, str]]:
    for field in model.fields:
        column = field.column or field.name
        yield column, field.name, field.category
        for category, _ in field.projections:
            yield f"{column}_{category}", field.name, category
        if field.index:
            yield f"{column}_bidx", field.name, ""


def raw_agrees(
    library: Library, engine: sa.Engine, role: str, purpose: str, actor: Actor, claims: Mapping[str, Any]
) -> int:
    """Raw SQL under a purpose's role reads the columns and rows that the policy says, and writes where it says."""
    tried = 0
    with purpose_role(engine, role, claims) as connection:
        for table, expected in columns(library, purpose, actor.role).items():
            quoted = '"' + table + '"'
            for column in sorted(expected.every):
                name = '"' + column + '"'
                statements = {
                    f"SELECT {name} FROM {quoted} WHERE false": column in expected.select,
                    f"UPDATE {quoted} SET {name} = DEFAULT WHERE false": column in expected.update,
                    f"INSERT INTO {quoted} ({name}) SELECT NULL WHERE false": column in expected.insert,
                }
                for statement, allowed in statements.items():
                    assert _runs(connection, statement) == allowed, f"{purpose}: {statement}"
                    tried += 1
            assert _runs(connection, f"DELETE FROM {quoted} WHERE false") == expected.delete, (
                f"{purpose}: DELETE {table}"
            )
            if expected.select:
                seen = set(connection.exec_driver_sql(f"SELECT id FROM {quoted}").scalars())
                assert seen == _rows(library, purpose, actor, table), f"{purpose} sees other rows of {table}"
            assert not _runs(connection, f"SELECT * FROM {quoted}") or expected.select == expected.every, table
        for secret in ("vs_keyring", "vs_entries", "vs_purposes", "vs_ticket_keys", "vs_plane", "vs_limits"):
            assert not _runs(connection, f"SELECT count(*) FROM {secret}"), secret
    return tried


def _runs(connection: sa.Connection, statement: str) -> bool:
    with connection.begin_nested() as savepoint:
        try:
            connection.exec_driver_sql(statement)
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "sqlstate", "") != "42501":
                raise
            return False
        finally:
            savepoint.rollback()
    return True


def _rows(library: Library, purpose: str, actor: Actor, table: str) -> set[Any]:
    """Ids of the rows of a table that the policy shows, whatever model they are of."""
    found = set()
    for model in library.made.spec.models:
        if any(name == table for name, _, _ in _layout(library, model)):
            shown = library.visible(purpose, actor, model.name)
            found |= {row.id for row in shown.values() if row.model == model.name}
    assert found <= {row.id for listed in rows(library.made.spec).values() for row in listed}
    return found

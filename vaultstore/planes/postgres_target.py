"""What a PostgreSQL database must be for a policy: roles, owners, column grants, row-level security, functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from vaultstore.errors import PolicyError, SettingsError
from vaultstore.orm.erasing import plan_of
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.postgres_blocks import functions_to, memberships_sql, reset_block, role_sql, sequence_grant
from vaultstore.planes.postgres_grants import Rights, kept_by, login_functions, purpose_functions, rights_of
from vaultstore.planes.postgres_rows import Rows
from vaultstore.planes.postgres_scopes import Condition, ScopeView
from vaultstore.planes.postgres_text import SCHEMA, filled, literal, name, names, table
from vaultstore.policy import BoundPolicy
from vaultstore.records.base import tables_of
from vaultstore.records.plane import RolePlane

__all__ = ["PostgresTarget", "RoleSpec", "RowPolicy", "compile_postgres"]

Command = Literal["SELECT", "INSERT", "UPDATE", "DELETE", "ALL"]
_LONGEST_NAME = 63
_ERASING = "current_setting('vaultstore.erasing', true)"
"""The subject that vsx_erase_rows is erasing in this transaction."""


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A role of the plane. All are NOINHERIT and have no attribute of power."""

    login: bool
    comment: str


@dataclass(frozen=True, slots=True)
class RowPolicy:
    """A policy of row-level security. Conditions are templates."""

    table: str
    name: str
    command: Command
    roles: tuple[str, ...]
    using: str | None = None
    check: str | None = None
    restrictive: bool = False

    @property
    def sql(self) -> str:
        """Template of its CREATE POLICY."""
        using = f" USING ({self.using})" if self.using is not None else ""
        check = f" WITH CHECK ({self.check})" if self.check is not None else ""
        return (
            f"CREATE POLICY {name(self.name)} ON {table(self.table)}{' AS RESTRICTIVE' if self.restrictive else ''}"
            f" FOR {self.command} TO {names(self.roles)}{using}{check}"
        )


@dataclass(frozen=True, slots=True)
class PostgresTarget:
    """The wanted state, without a connection. Made by `compile_postgres`.

    Statements are to be run as they are, without parameters: a literal may hold a percent sign. They take a superuser,
    or a role that may make roles and owns the tables.
    """

    plane: RolePlane
    bound: BoundPolicy
    roles: Mapping[str, RoleSpec]
    memberships: frozenset[tuple[str, str]]
    """(role, member)."""
    tables: tuple[str, ...]
    """Tables of models: row-level security is on and forced."""
    gate_tables: tuple[str, ...]
    """Tables of ours: owned, and granted to nobody but services that keep records."""
    rights: Mapping[str, Mapping[str, Rights]]
    """Role or login -> table -> rights."""
    functions: Mapping[str, frozenset[str]]
    """Role or login -> functions it may call."""
    policies: tuple[RowPolicy, ...]
    views: Mapping[ScopeView, tuple[str, ...]]
    """View of a row scope -> roles that may read it."""
    sequences: tuple[tuple[str, str, str | None, tuple[str, ...]], ...]
    """(table, column, name where the model names it, roles that take numbers from it)."""

    def __repr__(self) -> str:
        return f"<PostgresTarget {self.plane.prefix} {len(self.bound.purposes)} purposes on {len(self.tables)} tables>"

    def cluster_sql(self, keep: Sequence[str] = ()) -> list[str]:
        """Roles and memberships of the cluster, as they should be, but for those of roles in `keep`."""
        made = [s for role, spec in self.roles.items() for s in role_sql(role, login=spec.login, comment=spec.comment)]
        return [*made, *memberships_sql(self.roles, self.memberships, keep)]

    def reset_sql(self, schema: str, keep: Sequence[str] = ()) -> list[str]:
        """Take back every grant, policy and scope view in `schema`, but for roles and policies in `keep`."""
        return [filled(reset_block(self.plane, (*self.tables, *self.gate_tables), keep), _plain(schema))]

    def schema_sql(self, schema: str) -> list[str]:
        """Owners, row-level security, grants and policies on the tables and functions that are in `schema`.

        After `reset_sql`. Raises SettingsError for a schema that is not a plain lower-case name.
        """
        plain = _plain(schema)
        return [filled(statement, plain) for _, statements in self._parts() for statement in statements]

    def text(self, schema: str = "public") -> str:
        """All of it for people to read, purpose by purpose."""
        lines = ["-- Roles of the cluster.", *(f"{s};" for s in self.cluster_sql())]
        for title, statements in self._parts():
            lines += ["", *(f"-- {line}" for line in title.splitlines())]
            lines += [f"{filled(statement, _plain(schema))};" for statement in statements]
        return "\n".join(lines) + "\n"

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        """(title, statements), in the order in which they run."""
        yield "The schema and who owns what.", list(self._owners())
        if self.views:
            yield "What row scopes are decided by. The purposes read these views, not the tables.", list(self._views())
        for purpose in self.bound.purposes.values():
            role = self.plane.role(purpose.name)
            yield (
                f"{purpose.name}: {purpose.description}",
                [
                    *self._granted(role),
                    *(policy.sql for policy in self.policies if policy.roles == (role,)),
                ],
            )
        for service in self.bound.services.values():
            title = f"The login of {service.name}" + (f": {service.description}" if service.description else "")
            yield title, list(self._granted(self.plane.login(service.name)))
        yield "The issuer of tokens.", list(self._granted(self.plane.issuer))
        if self.sequences:
            yield "Numbers for new rows.", [sequence_grant(*each) for each in self.sequences]

    def _owners(self) -> Iterator[str]:
        owner = self.plane.owner
        yield f"GRANT USAGE ON SCHEMA {SCHEMA} TO {names(self.roles)}"
        yield f"REVOKE CREATE ON SCHEMA {SCHEMA} FROM PUBLIC"
        for each in (*self.tables, *self.gate_tables):
            yield f"ALTER TABLE {table(each)} OWNER TO {name(owner)}"
        yield f"GRANT ALL ON TABLE {', '.join(map(table, (*self.tables, *self.gate_tables)))} TO {name(owner)}"
        for each in self.tables:
            yield f"ALTER TABLE {table(each)} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
        yield functions_to(owner)
        yield from (policy.sql for policy in self.policies if policy.roles == (owner,))

    def _views(self) -> Iterator[str]:
        scopes = self.plane.scopes
        yield from self._granted(scopes)
        yield from (policy.sql for policy in self.policies if policy.roles == (scopes,))
        for view, readers in self.views.items():
            query = view.query
            if self.plane.strict:
                query = f"SELECT v.value FROM ({query}) AS v (value) WHERE {_ticket(readers)}"  # noqa: S608 - ours
            yield f"CREATE VIEW {table(view.name)} (value) WITH (security_barrier) AS {query}"
            yield f"ALTER VIEW {table(view.name)} OWNER TO {name(scopes)}"
            yield f"GRANT SELECT ON {table(view.name)} TO {names(readers)}"

    def _granted(self, role: str) -> Iterator[str]:
        for each, rights in self.rights.get(role, {}).items():
            verbs = {"SELECT": rights.select, "INSERT": rights.insert, "UPDATE": rights.update}
            granted = [f"{verb} ({names(sorted(columns))})" for verb, columns in verbs.items() if columns]
            granted += ["DELETE"] if rights.delete else []
            yield f"GRANT {', '.join(granted)} ON {table(each)} TO {name(role)}"
        if functions := self.functions.get(role):
            yield f"GRANT EXECUTE ON FUNCTION {', '.join(map(table, sorted(functions)))} TO {name(role)}"


def compile_postgres(bound: BoundPolicy, models: ModelRegistry, plane: RolePlane) -> PostgresTarget:
    """The PostgreSQL plane of a policy that is bound to the catalogue of `models`.

    Raises PolicyError for a row scope that can't be row-level security, for a name that PostgreSQL would cut off, and
    for a model whose table names a schema.
    """
    rows = Rows(bound, models, plane.prefix)
    rights: dict[str, dict[str, Rights]] = {}
    functions: dict[str, frozenset[str]] = {plane.issuer: frozenset({"vs_plane", "vs_ticket"})}
    policies: list[RowPolicy] = []
    readers: dict[ScopeView, list[str]] = {}
    writers: dict[str, list[str]] = {}
    for purpose in bound.purposes.values():
        role = plane.role(purpose.name)
        rights[role] = dict(sorted(rights_of(purpose, models).items()))
        functions[role] = purpose_functions(purpose)
        for each in rights[role]:
            seen, written = rows.seen(purpose, each), rows.written(purpose, each)
            policies += _policies(purpose.name, role, each, seen, written, plane.strict)
            for view in {v for c in (seen, written) if c is not None for v in c.views}:
                readers.setdefault(view, []).append(role)
            if written is not None:
                writers.setdefault(each, []).append(role)
    views = {view: tuple(dict.fromkeys(readers[view])) for view in sorted(readers, key=lambda v: v.name)}
    for view in views:
        for each, columns in view.reads:
            mine = rights.setdefault(plane.scopes, {})
            mine[each] = mine.get(each, Rights()) | Rights(select=frozenset(columns))
    policies += [RowPolicy(t, "scopes", "SELECT", (plane.scopes,), "true") for t in rights.get(plane.scopes, ())]
    policies += _erasing(models, plane.owner)
    policies += _looking(models, plane.owner)
    for service in bound.services.values():
        login = plane.login(service.name)
        rights[login] = dict(sorted(kept_by(service).items()))
        functions[login] = login_functions(bound, service)
    return PostgresTarget(
        plane=plane,
        bound=bound,
        roles=_roles(bound, plane),
        memberships=frozenset(
            (plane.role(p), plane.login(s.name)) for s in bound.services.values() for p in s.purposes
        ),
        tables=tuple(rows.tables),
        gate_tables=tuple(sorted(each.name for each in tables_of("postgresql"))),
        rights=rights,
        functions=functions,
        policies=tuple(policy for policy in policies if policy.table in rows.tables),  # ours have no row security
        views=views,
        sequences=tuple(_sequences(rows.tables, writers)),
    )


def _roles(bound: BoundPolicy, plane: RolePlane) -> dict[str, RoleSpec]:
    roles = {
        plane.owner: RoleSpec(False, "owns the tables and functions of the store"),
        plane.scopes: RoleSpec(False, "owns the views that row scopes are decided by"),
        plane.issuer: RoleSpec(True, "the token issuer: has tickets made"),
    }
    for purpose in bound.purposes.values():
        roles[plane.role(purpose.name)] = RoleSpec(False, f"purpose {purpose.name}: {purpose.description}")
    for service in bound.services.values():
        roles[plane.login(service.name)] = RoleSpec(True, f"service {service.name}: {service.description}")
    return roles


def _policies(
    purpose: str, role: str, on: str, seen: Condition | None, written: Condition | None, strict: bool
) -> Iterator[RowPolicy]:
    def made(command: Command, using: str | None, check: str | None) -> RowPolicy:
        return RowPolicy(on, _label(purpose, command.lower()), command, (role,), using, check)

    if strict:
        yield RowPolicy(on, _label(purpose, "ticket"), "ALL", (role,), _ticket([role]), restrictive=True)
    if seen is not None:
        yield made("SELECT", seen.sql, None)
    if written is not None:
        yield made("INSERT", None, written.sql)
        yield made("UPDATE", written.sql, written.sql)
        yield made("DELETE", written.sql, None)


def _erasing(models: ModelRegistry, owner: str) -> Iterator[RowPolicy]:
    """What the owner's own function may touch of the models' tables: rows of the subject that it is erasing.

    Row-level security is forced, so the owner sees no row otherwise. A table that has the subject in another one is
    found through that.
    """
    tables: dict[str, str] = {}
    for info in {step.info.name: step.info for step in plan_of(models).steps}.values():
        for each in info.mapper.tables:
            columns = [c for c in info.mapper.attrs[info.subject_key].columns if c.table is each]
            whose = f"{name(columns[0].name)}::text = {_ERASING}" if columns else "true"
            if tables.setdefault(str(getattr(each, "name", each)), whose) != whose:
                tables[str(getattr(each, "name", each))] = "true"  # two models name different subjects in one table
    for whole, condition in sorted(tables.items()):
        yield RowPolicy(whole, "erasure", "ALL", (owner,), condition)


def _looking(models: ModelRegistry, owner: str) -> Iterator[RowPolicy]:
    """Where the owner's own function looks for taken values of unique indexes, while it looks (vs_index_taken)."""
    looking = "(SELECT current_setting('vaultstore.looking', true)) = 'on'"
    for each in sorted({unique[0] for unique in models.unique_indexes}):
        yield RowPolicy(each, "index", "SELECT", (owner,), looking)


def _label(purpose: str, what: str) -> str:
    label = f"{purpose}/{what}"
    if len(label.encode()) > _LONGEST_NAME:
        raise PolicyError(f"purpose {purpose}: take a name of at most {_LONGEST_NAME - 7} bytes")
    return label


def _ticket(roles: Sequence[str]) -> str:
    """The condition that the transaction's claims are verified and for one of `roles`.

    The roles are written down: inside somebody's view CURRENT_USER is not the role whose policies apply.
    """
    wanted = literal(roles[0]) if len(roles) == 1 else f"ANY (ARRAY[{', '.join(map(literal, roles))}])"
    return f"(SELECT {SCHEMA}.vs_role()) = {wanted}"


def _sequences(
    tables: Mapping[str, sa.Table], writers: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str, str | None, tuple[str, ...]]]:
    for each, roles in writers.items():
        for column in tables[each].columns:
            if isinstance(column.default, sa.Sequence):
                yield each, column.name, column.default.name, tuple(roles)
            elif column is tables[each].autoincrement_column and column.identity is None:
                yield each, column.name, None, tuple(roles)


def _plain(schema: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise SettingsError(f"not a plain lower-case schema name: {schema!r}")
    return schema

"""The plane of PostgreSQL: roles, column grants and row security, compared with the policy, applied and probed.

Every look is one transaction of an operator that is rolled back; `apply` is one that is committed whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import sqlalchemy as sa

from vaultstore import records
from vaultstore.errors import SettingsError
from vaultstore.orm.registry import ModelRegistry
from vaultstore.planes.plan import Cell, Change, Difference, Probe, Verdict
from vaultstore.planes.postgres_expected import attributes_of, expected_facts, move_triggers, names_of, owners_of
from vaultstore.planes.postgres_facts import Fact, facts
from vaultstore.planes.postgres_gaps import Gap, explained, foreign_code, gaps
from vaultstore.planes.postgres_operator import Operator, join, leave, lent, run
from vaultstore.planes.postgres_probes import PostgresProbes
from vaultstore.planes.postgres_repair import Leaver, closing, is_ours, leavers, role_repairs
from vaultstore.planes.postgres_target import PostgresTarget
from vaultstore.planes.postgres_text import name as quoted
from vaultstore.planes.postgres_words import changes_of, differences_of
from vaultstore.records.plane import vs_plane

__all__ = ["PostgresPlane"]


@dataclass(frozen=True, slots=True)
class _State:
    """A database as it was found, what it should be, and what tells them apart."""

    live: frozenset[Fact]
    expected: frozenset[Fact]
    gaps: tuple[Gap, ...]
    ours: tuple[Gap, ...]
    """The gaps that `apply` closes."""
    leavers: tuple[Leaver, ...]


class PostgresPlane:
    """The PostgreSQL plane of `target` in `schema` of the database that `engine` (an operator's) connects to.

    `publish` is called by `apply` in its transaction, to make the policy the one that the gate decides by. `vouched`
    are names of roles, views, functions, publications, event triggers and settings that the operator answers for: no
    difference is made of them. The bootstrap superuser and the operator's own role are vouched for. `lock_timeout` is
    in seconds.

    Raises SettingsError, here and in every method, where the database can't be worked with or the operator's rights
    don't suffice.
    """

    name = "postgres"

    def __init__(
        self,
        engine: sa.Engine,
        target: PostgresTarget,
        models: ModelRegistry,
        *,
        schema: str = "public",
        publish: Callable[[sa.Connection], None] | None = None,
        vouched: Iterable[str] = (),
        lock_timeout: float = 10,
    ) -> None:
        if engine.dialect.name != "postgresql":
            raise SettingsError(f"the PostgreSQL plane needs PostgreSQL, not {engine.dialect.name}")
        self._engine, self._target, self._models, self._schema = engine, target, models, schema
        self._publish, self._vouched = publish, frozenset(vouched)
        self._operator = Operator(engine, schema, lock_timeout)

    def __repr__(self) -> str:
        return f"<PostgresPlane {self._target.plane.prefix} in {self._engine.url.database}.{self._schema}>"

    def compile(self) -> str:
        """The statements that a fresh database would be given."""
        return self._target.text()

    def plan(self) -> Sequence[Change]:
        """What `apply` would do now. The database is as it was afterwards."""
        with self._operator.looking() as connection:
            join(connection, owners_of(self._target))
            return self._plan(connection, self._state(connection))

    def apply(self) -> Sequence[Change]:
        """Make the database match, in one transaction, and check in it that it does. What was done; () if nothing.

        Nothing is changed where it fails, or is interrupted.
        """
        with self._operator.changing() as connection:
            joined = join(connection, owners_of(self._target))
            state = self._state(connection)
            changes = self._plan(connection, state)
            if changes:
                joined += self._close(connection, state)
            leave(connection, joined)
        return changes

    def differences(self) -> Sequence[Difference]:
        """Where roles, rights, row security and functions are not what the policy makes of them, one line a deed."""
        with self._operator.looking() as connection:
            join(connection, owners_of(self._target))
            state = self._state(connection)
            row = self._operator.plane_row(connection)
        stays = {f"role {leaver.name}": leaver.stays for leaver in state.leavers if leaver.stays}
        found = [
            Difference(d.verdict, d.thing, d.expected, f"{d.found}: {stays[d.thing]}") if d.thing in stays else d
            for d in differences_of(explained(state.gaps))
        ]
        wanted = self._wanted_row
        if row != wanted:
            verdict: Verdict = "too closed" if row is None else "too open" if wanted[1] and not row[1] else "different"
            found.append(Difference(verdict, "plane in vs_plane", _row_in_words(wanted), _row_in_words(row)))
        return found

    def probes(self) -> Iterator[Probe]:
        """Every cell, tried under the logins and roles of its purpose.

        Whoever is attached to a table with a trigger or a rule could use the operator's session, and so could a
        function that is not the one we made: where there is any, it is told of, and nothing is tried.
        """
        with self._operator.looking() as connection:
            join(connection, owners_of(self._target))
            state = self._state(connection)
        known = {fact.object.partition("(")[0] for fact in state.expected if fact.kind == "function"}
        if others := differences_of(foreign_code(state.gaps, known)):
            for other in others:
                yield Probe(Cell("every purpose", other.thing, "run"), expected=False, found=True)
            return
        yield from PostgresProbes(self._engine, self._target, self._models, self._schema).run()

    # ------------------------------------------------------------------------------------------------ the state

    @cached_property
    def _tables(self) -> list[sa.Table]:
        """The protected tables: the models' and ours."""
        wanted = {*self._target.tables, *self._target.gate_tables}
        mapped = [t for info in self._models for t in info.mapper.tables if isinstance(t, sa.Table)]
        return [t for t in dict.fromkeys([*mapped, *records.metadata.sorted_tables]) if t.name in wanted]

    @property
    def _wanted_row(self) -> tuple[str, bool]:
        return self._target.plane.prefix, self._target.plane.strict

    def _state(self, connection: sa.Connection) -> _State:
        live = self._facts(connection)
        # Roles are the cluster's: the scratch schema's are the live ones, so they are put right before it is made.
        wanted = attributes_of(self._target)
        about = {"role", "membership", "setting"}
        roles = self._gaps(connection, (f for f in live if f.kind in about), (f for f in wanted if f.kind in about))
        first = role_repairs(connection, roles, self._target)
        expected = expected_facts(
            connection, self._target, self._tables, self._schema, live=live, first=first, keep=sorted(self._vouched)
        )
        found = self._gaps(connection, live, expected)
        ours = tuple(self._answered(found, expected))
        return _State(live, expected, tuple(found), ours, tuple(leavers(connection, found, self._target)))

    def _facts(self, connection: sa.Connection) -> frozenset[Fact]:
        names = names_of(self._target)
        return facts(connection, self._schema, prefix=self._target.plane.prefix, tables=names)

    def _gaps(self, connection: sa.Connection, live: Iterable[Fact], expected: Iterable[Fact]) -> list[Gap]:
        """The gaps that count: not what is vouched for, nor what is the database's own affair."""
        operator = str(connection.exec_driver_sql("SELECT session_user").scalar_one())
        logins = {name for name, role in self._target.roles.items() if role.login}

        def counts(fact: Fact) -> bool:
            if self._vouched & {fact.object, fact.part, fact.who, fact.object.partition("(")[0]}:
                return False
            match fact.kind:
                case "power":
                    return fact.object != operator
                case "membership":
                    return fact.who != operator
                case "schema grant":  # who else may enter the schema
                    return fact.who.startswith(self._target.plane.prefix) or fact.detail != "USAGE"
                case "effective" if fact.object.startswith("database ") and fact.detail == "CONNECT":
                    return fact.who in logins  # no other role of ours ever connects
            return True

        return gaps(filter(counts, live), filter(counts, expected))

    def _answered(self, found: Iterable[Gap], expected: Iterable[Fact]) -> list[Gap]:
        known = frozenset(fact.object for fact in expected)
        return [gap for gap in found if is_ours(gap, self._target, known)]

    # ------------------------------------------------------------------------------------------------ plan and apply

    def _plan(self, connection: sa.Connection, state: _State) -> list[Change]:
        missing = sorted(gap.object for gap in state.gaps if gap.kind == "relation" and gap.found is None)
        if missing:
            names = ", ".join(missing)
            raise SettingsError(f"tables are missing: make the schema first (migrations, or create_all): {names}")
        changes = changes_of(state.ours)
        row, wanted = self._operator.plane_row(connection), self._wanted_row
        if row is not None and row[0] != wanted[0]:
            raise SettingsError(f"this database's plane has the prefix {row[0]}, not {wanted[0]}: a store has one")
        if row != wanted:
            changes.append(Change("change" if row else "create", "plane in vs_plane", _row_in_words(wanted)))
        if wanted[1] and not self._operator.has_ticket_key(connection):
            changes.append(Change("create", "ticket key", "made by the database, which alone reads it"))
        changes += self._published(connection)
        gone = [Change("remove", f"role {leaver.name}") for leaver in state.leavers if not leaver.stays]
        return changes + gone

    def _published(self, connection: sa.Connection) -> list[Change]:
        """What `publish` would change: it is tried, and undone."""
        if self._publish is None:
            return []
        before = self._operator.purposes(connection)
        with self._operator.aside(connection):
            self._publish(connection)
            after = self._operator.purposes(connection)
        changes = [Change("remove", f"purpose {name}", "published") for name in sorted(before.keys() - after.keys())]
        for name, digest in sorted(after.items()):
            if before.get(name) != digest:
                detail = f"published as {digest.removeprefix('sha256:')[:12]}"
                changes.append(Change("change" if name in before else "create", f"purpose {name}", detail))
        return changes

    def _close(self, connection: sa.Connection, state: _State) -> list[str]:
        """Close the gaps, and look whether they are closed. Which roles the operator joined for that."""
        target, schema, keep, joined = self._target, self._schema, sorted(self._vouched), list[str]()
        connection.exec_driver_sql("SET LOCAL search_path = pg_catalog, pg_temp")
        if state.ours:
            run(connection, [*role_repairs(connection, state.ours, target), *target.cluster_sql(keep)])
            joined = join(connection, owners_of(target))
            if any(gap.kind in {"function", "trigger"} for gap in state.ours):
                run(connection, records.postgres_functions(schema))
                run(connection, move_triggers(connection, self._tables, schema, schema))
            statements = lent(connection, schema, owners_of(target), target.schema_sql(schema))
            run(connection, [*target.reset_sql(schema, keep), *statements])
        # To drop what is granted to a role, one has to be a member of it.
        stay = [leaver.name for leaver in state.leavers if leaver.stays]
        held = join(connection, [leaver.name for leaver in state.leavers if not leaver.owns])
        run(connection, [statement for leaver in state.leavers for statement in _dismissal(leaver)])
        leave(connection, [role for role in held if role in stay])
        relations = {fact.object: fact.detail for fact in state.live if fact.kind == "relation"}
        left = self._left(connection, state)
        run(connection, [s for gap in left if (s := closing(gap, relations)) is not None])
        if left and (left := self._left(connection, state)):
            lines = "; ".join(map(str, differences_of(left)[:5]))
            raise SettingsError(f"apply did not get there, so nothing was changed: {lines}")
        if self._operator.plane_row(connection) != self._wanted_row:
            prefix, strict = self._wanted_row
            connection.execute(vs_plane.delete())
            connection.execute(vs_plane.insert().values(prefix=prefix, strict=strict, applied_at=datetime.now(UTC)))
        if target.plane.strict and not self._operator.has_ticket_key(connection):
            connection.exec_driver_sql("SELECT vsx_new_ticket_key()")
        if self._publish is not None:
            self._publish(connection)
        return joined

    def _left(self, connection: sa.Connection, state: _State) -> list[Gap]:
        return self._answered(self._gaps(connection, self._facts(connection), state.expected), state.expected)


def _row_in_words(row: tuple[str, bool] | None) -> str:
    if row is None:
        return "none"
    strict = "strict: rows and wraps take a ticket" if row[1] else "not strict: the database believes its logins"
    return f"prefix {row[0]}, {strict}"


def _dismissal(leaver: Leaver) -> list[str]:
    """A role that owns nothing loses its rights here, and goes unless another database still uses it."""
    if leaver.owns:
        return []
    drop = [] if leaver.stays else [f"DROP ROLE {quoted(leaver.name)}"]
    return [f"DROP OWNED BY {quoted(leaver.name)}", *drop]

"""Rights that somebody adds by hand to a live PostgreSQL, one at a time: each has to be found and named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from tests.support.generated import Choices
from vaultstore.policy import BoundPolicy
from vaultstore.records.plane import RolePlane

__all__ = ["POSTGRES_DRIFTS", "Planted", "PostgresDrift"]


@dataclass(frozen=True, slots=True)
class Planted:
    """What was done: words that one line of the findings has to hold, and what undoes it where `apply` does not."""

    words: tuple[str, ...]
    undo: str = ""


@dataclass(frozen=True, slots=True)
class PostgresDrift:
    """A live database, what it should hold, and choices."""

    engine: sa.Engine
    """A superuser's."""
    bound: BoundPolicy
    roles: RolePlane
    tables: Mapping[str, tuple[str, ...]]
    """The models' tables and their columns."""
    choose: Choices

    def run(self, *statements: str) -> None:
        """As the superuser, committed."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def ask(self, query: str, **values: object) -> bool:
        """One yes or no."""
        with self.engine.connect() as connection:
            return bool(connection.execute(sa.text(query), values).scalar_one())

    def role(self) -> str:
        """The role of some purpose."""
        return self.roles.role(self.choose.one(sorted(self.bound.purposes)))

    def login(self) -> str:
        """The login of some service."""
        return self.roles.login(self.choose.one(sorted(self.bound.services)))

    def table(self) -> str:
        """A table of some model."""
        return self.choose.one(sorted(self.tables))

    def closed_column(self) -> tuple[str, str, str] | None:
        """A role, a table and a column that it does not read."""
        query = "SELECT NOT has_column_privilege(:role, format('%I', CAST(:table AS text)), :column, 'SELECT')"
        found = [
            (role, table, column)
            for role in (self.roles.role(p) for p in sorted(self.bound.purposes))
            for table, columns in sorted(self.tables.items())
            for column in columns
            if self.ask(query, role=role, table=table, column=column)
        ]
        return self.choose.one(found) if found else None


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _column(drift: PostgresDrift) -> Planted | None:
    chosen = drift.closed_column()
    if chosen is None:
        return None
    role, table, column = chosen
    drift.run(f"GRANT SELECT ({_q(column)}) ON {_q(table)} TO {_q(role)}")
    return Planted((role, column, table))


def _table(drift: PostgresDrift) -> Planted:
    role, table, right = drift.role(), drift.table(), drift.choose.one(("SELECT", "TRUNCATE", "TRIGGER", "REFERENCES"))
    drift.run(f"GRANT {right} ON {_q(table)} TO {_q(role)}")
    return Planted((role, right, table))


def _everybody(drift: PostgresDrift) -> Planted:
    table = drift.table()
    drift.run(f"GRANT SELECT (id) ON {_q(table)} TO PUBLIC")
    return Planted(("PUBLIC", table))


def _record(drift: PostgresDrift) -> Planted:
    who = drift.choose.one((drift.login(), drift.role()))
    table = drift.choose.one(("vs_keyring", "vs_entries", "vs_ticket_keys", "vs_purposes", "vs_approvals", "vs_limits"))
    right = drift.choose.one(("SELECT", "UPDATE"))
    drift.run(f"GRANT {right} ON {table} TO {_q(who)}")
    return Planted((table, who, right))


def _function(drift: PostgresDrift) -> Planted:
    who = drift.choose.one((drift.login(), drift.role()))
    name = drift.choose.one(("vs_ticket(jsonb, text[])", "vsx_new_ticket_key()", "vsx_hmac(bytea, bytea)"))
    drift.run(f"GRANT EXECUTE ON FUNCTION {name} TO {_q(who)}")
    return Planted((name.partition("(")[0], who))


def _policy(drift: PostgresDrift) -> Planted:
    role, table = drift.role(), drift.table()
    drift.run(f"CREATE POLICY helper ON {_q(table)} TO {_q(role)} USING (true)")
    return Planted(("helper", table))


def _everyones_policy(drift: PostgresDrift) -> Planted:
    table = drift.table()
    drift.run(f"CREATE POLICY helper ON {_q(table)} USING (true)")
    return Planted(("helper", table))


def _rls(switch: str, word: str) -> Callable[[PostgresDrift], Planted]:
    def off(drift: PostgresDrift) -> Planted:
        table = drift.table()
        drift.run(f"ALTER TABLE {_q(table)} {switch} ROW LEVEL SECURITY")
        return Planted((word, table))

    return off


def _membership(drift: PostgresDrift) -> Planted | None:
    free = [
        (drift.roles.role(purpose), drift.roles.login(service.name))
        for purpose in sorted(drift.bound.purposes)
        for service in drift.bound.services.values()
        if purpose not in service.purposes
    ]
    if not free:
        return None
    role, login = drift.choose.one(free)
    drift.run(f"GRANT {_q(role)} TO {_q(login)}")
    return Planted(("membership", role, login))


def _owner(drift: PostgresDrift) -> Planted:
    table, login = drift.table(), drift.login()
    drift.run(f"ALTER TABLE {_q(table)} OWNER TO {_q(login)}")
    return Planted(("owner", table, login))


def _owners_member(drift: PostgresDrift) -> Planted:
    role, login = drift.choose.one((drift.roles.owner, drift.roles.scopes)), drift.login()
    drift.run(f"GRANT {_q(role)} TO {_q(login)}")
    return Planted(("membership", role, login))


def _power(drift: PostgresDrift) -> Planted:
    who, power = (
        drift.choose.one((drift.login(), drift.role())),
        drift.choose.one(("BYPASSRLS", "SUPERUSER", "INHERIT")),
    )
    drift.run(f"ALTER ROLE {_q(who)} {power}")
    return Planted((who, power))


def _file_reader(drift: PostgresDrift) -> Planted:
    login = drift.login()
    drift.run(f"GRANT pg_read_server_files TO {_q(login)}")
    return Planted(("pg_read_server_files", login))


def _setting(drift: PostgresDrift) -> Planted:
    login = drift.login()
    drift.run(f"""ALTER ROLE {_q(login)} SET vaultstore.claims = '{{"actor": "u-1"}}'""")
    return Planted(("vaultstore.claims", login))


def _view(drift: PostgresDrift) -> Planted:
    table, role = drift.table(), drift.role()
    drift.run(
        "CREATE SCHEMA reports",
        f"GRANT USAGE ON SCHEMA reports TO {_q(role)}",
        f"CREATE VIEW reports.all_rows AS SELECT * FROM public.{_q(table)}",
        f"GRANT SELECT ON reports.all_rows TO {_q(role)}",
    )
    return Planted(("reports.all_rows",), "DROP SCHEMA reports CASCADE")


def _definer(drift: PostgresDrift) -> Planted:
    drift.run(
        "CREATE SCHEMA reports",
        "CREATE FUNCTION reports.wraps() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER"
        " AS 'SELECT wrapped FROM public.vs_keyring'",
    )
    return Planted(("reports.wraps",), "DROP SCHEMA reports CASCADE")


def _changed_function(drift: PostgresDrift) -> Planted:
    drift.run(
        "CREATE OR REPLACE FUNCTION vs_actor() RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL SAFE"
        " SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN current_setting('my.actor', true); END $$"
    )
    return Planted(("vs_actor",))


POSTGRES_DRIFTS: Mapping[str, Callable[[PostgresDrift], Planted | None]] = {
    "a column is granted": _column,
    "a table is granted": _table,
    "everybody reads an id": _everybody,
    "a record of ours is granted": _record,
    "a function is granted": _function,
    "a policy shows a purpose every row": _policy,
    "a policy shows everybody every row": _everyones_policy,
    "row security is off": _rls("DISABLE", "row security"),
    "row security spares the owner": _rls("NO FORCE", "forced row security"),
    "a login takes another's purpose": _membership,
    "a login owns a table": _owner,
    "a login is the owner": _owners_member,
    "a role has a power": _power,
    "a login reads files": _file_reader,
    "a login comes with claims": _setting,
    "a view of a superuser's shows a table": _view,
    "a function of a superuser's shows wraps": _definer,
    "a function of ours was rewritten": _changed_function,
}
"""What is done -> how; None where it can't be done in that world."""

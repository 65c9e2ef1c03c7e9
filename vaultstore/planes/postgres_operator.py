"""An operator's transactions on a store's database, and what the database itself says of its plane."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from vaultstore.errors import SettingsError
from vaultstore.planes.postgres_text import name as quoted
from vaultstore.planes.postgres_text import names
from vaultstore.records.plane import vs_plane
from vaultstore.records.purposes import vs_purposes

__all__ = ["Operator", "join", "leave", "lent", "run"]

_LOCK = 0x76735F70
"""Key of the advisory lock that keeps operators apart, within one database."""

_REASONS = {
    "42501": "run it as a superuser, or as a role with CREATEROLE that owns the tables and the database",
    "55P03": "another session holds what it takes; nothing was changed, so repeat it when that is over",
    "40P01": "another session was in the way; nothing was changed, so repeat it",
}


class Operator:
    """Transactions through `engine`, one at a time in a database; `lock_timeout` is in seconds.

    PostgreSQL's refusals come out as SettingsError: their names and reasons, and nothing of a row.
    """

    def __init__(self, engine: sa.Engine, schema: str, lock_timeout: float) -> None:
        # With an older snapshot it would not see what another operator did while it waited.
        self._engine = engine.execution_options(isolation_level="READ COMMITTED")
        self._schema, self._lock_timeout = schema, lock_timeout

    @contextmanager
    def changing(self) -> Iterator[sa.Connection]:
        """One transaction: committed at the end of the block, rolled back where it raises."""
        try:
            with self._engine.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(self._lock_timeout * 1000)}")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                yield connection
        except sa.exc.DBAPIError as error:
            cause = error.orig
            state = str(getattr(cause, "sqlstate", None) or type(cause).__name__)
            said = getattr(getattr(cause, "diag", None), "message_primary", None) or "it can't be reached"
        else:
            return
        reason = f"PostgreSQL refused ({state}): {said}"
        # The statement stays out of it: it is long, and says nothing that the plan does not.
        raise SettingsError(f"{reason}: {_REASONS[state]}" if state in _REASONS else reason) from None

    @contextmanager
    def looking(self) -> Iterator[sa.Connection]:
        """A transaction that is rolled back, whatever was done in it."""
        with self.changing() as connection, self.aside(connection):
            yield connection

    @contextmanager
    def aside(self, connection: sa.Connection) -> Iterator[None]:
        """A part of a transaction that is rolled back, whatever was done in it."""
        savepoint = connection.begin_nested()
        try:
            yield
        finally:
            savepoint.rollback()

    def name_tables(self, connection: sa.Connection) -> None:
        """Let our tables be found by their bare names from here on."""
        connection.exec_driver_sql(f"SET LOCAL search_path = {quoted(self._schema)}, pg_temp")

    def plane_row(self, connection: sa.Connection) -> tuple[str, bool] | None:
        """(prefix, strict) of the plane that is applied, or None."""
        self.name_tables(connection)
        if connection.exec_driver_sql("SELECT to_regclass('vs_plane')").scalar_one() is None:
            return None
        row = connection.execute(sa.select(vs_plane.c.prefix, vs_plane.c.strict)).first()
        return None if row is None else (row.prefix, row.strict)

    def has_ticket_key(self, connection: sa.Connection) -> bool:
        """Whether tickets can be made."""
        self.name_tables(connection)
        return bool(connection.exec_driver_sql("SELECT EXISTS (SELECT FROM vs_ticket_keys)").scalar_one())

    def purposes(self, connection: sa.Connection) -> dict[str, str]:
        """Purpose -> digest that the gate decides by."""
        self.name_tables(connection)
        rows = connection.execute(sa.select(vs_purposes.c.name, vs_purposes.c.digest))
        return {row.name: row.digest for row in rows}


def run(connection: sa.Connection, statements: Sequence[str]) -> None:
    """Run statements in one round trip. They take no parameters, so that a ``%`` in them is one."""
    if statements:
        # The mark keeps the driver from preparing a text that it has seen before: only single statements can be.
        text = f"/* {secrets.token_hex(4)} */\n" + "\n;\n".join(s.rstrip().rstrip(";") for s in statements)
        connection.exec_driver_sql(text, execution_options={"no_parameters": True})


def join(connection: sa.Connection, roles: Sequence[str]) -> list[str]:
    """Make the operator a member of those of `roles` that exist, to hand things over to them; which it was not before.

    A superuser has no need to.
    """
    found = connection.execute(
        sa.text(
            "SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles) AND NOT pg_has_role(oid, 'USAGE') ORDER BY 1"
        ).bindparams(sa.bindparam("roles", list(roles), type_=sa.ARRAY(sa.Text)))
    )
    joined = [str(row.rolname) for row in found]
    run(connection, [f"GRANT {quoted(role)} TO CURRENT_USER" for role in joined])
    return joined


def leave(connection: sa.Connection, joined: Sequence[str]) -> None:
    """Undo `join`."""
    run(connection, [f"REVOKE {quoted(role)} FROM CURRENT_USER" for role in joined])


def lent(connection: sa.Connection, schema: str, roles: Sequence[str], statements: Sequence[str]) -> list[str]:
    """`statements`, between a grant and a revoke of CREATE in `schema` where the operator is no superuser.

    Otherwise nothing could be handed over to `roles`: an owner has to be able to create where its things are.
    """
    power = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
    if connection.exec_driver_sql(power).scalar():
        return list(statements)
    where = f"CREATE ON SCHEMA {quoted(schema)}"
    return [f"GRANT {where} TO {names(roles)}", *statements, f"REVOKE {where} FROM {names(roles)}"]

"""An operator's transactions on a store's database, and what the database itself says of its plane."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from vaultstore.errors import SettingsError
from vaultstore.planes.postgres_expected import quoted
from vaultstore.records.plane import vs_plane
from vaultstore.records.purposes import vs_purposes

__all__ = ["Operator"]

_LOCK = 0x76735F70
"""Key of the advisory lock that keeps operators apart, within one database."""

_REASONS = {
    "42501": "run it as a superuser, or as a role with CREATEROLE that is a member of the tables' owner",
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
        raise SettingsError(f"{reason}: {_REASONS[state]}" if state in _REASONS else reason)

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

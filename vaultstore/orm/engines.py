"""The engines that a store works with: made from URLs, or taken as they are, and guarded."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url

from vaultstore import records
from vaultstore.errors import SettingsError
from vaultstore.orm.guards import guard

__all__ = ["gate_engine", "members_engine"]


def members_engine(database: str | Engine, resources: ExitStack) -> Engine:
    """The engine of the members' database, made from a URL where it is none yet. Raises SettingsError."""
    if isinstance(database, Engine):
        engine = database
        if engine.dialect.name == "sqlite" and not _sqlite_file(engine):
            raise SettingsError("an in-memory SQLite engine can't be shared with the gate: pass 'sqlite://' or a file")
    else:
        url = make_url(database)
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            folder = resources.enter_context(
                tempfile.TemporaryDirectory(prefix="vaultstore-", ignore_cleanup_errors=True)
            )
            url = url.set(database=str(Path(folder) / "members.db"))
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True)
        resources.callback(engine.dispose)
    if engine.dialect.name == "sqlite":
        records.configure_sqlite(engine)
    elif engine.dialect.name != "postgresql":
        raise SettingsError(f"vaultstore runs on SQLite and PostgreSQL, not on {engine.dialect.name}")
    guard(engine)
    return engine


def gate_engine(engine: Engine, gate: str | Engine | None, resources: ExitStack) -> Engine:
    """The engine of the gate's database, beside that of the members. Raises SettingsError."""
    if isinstance(gate, Engine):
        made = gate
    else:
        if engine.dialect.name == "postgresql":
            # A pool of its own: a gate that borrowed from the sessions' pool would stall once they hold all of it.
            made = create_engine(
                gate or engine.url, hide_parameters=True, pool_pre_ping=True, pool_size=4, max_overflow=4
            )
        else:
            beside = Path(_sqlite_file(engine)).with_name("gate.db")
            made = create_engine(gate or f"sqlite:///{beside}", hide_parameters=True)
        resources.callback(made.dispose)
    if made.dialect.name != engine.dialect.name:
        raise SettingsError(f"the gate's database is {made.dialect.name}, the members' {engine.dialect.name}")
    if made.dialect.name == "sqlite":
        records.configure_sqlite(made)
    guard(made)
    return made


def _sqlite_file(engine: Engine) -> str:
    name = engine.url.database or ""
    return "" if name == ":memory:" else name

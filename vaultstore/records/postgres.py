"""The gate's functions in PostgreSQL, as the statements that create them."""

from __future__ import annotations

import re
from importlib import resources

from vaultstore.errors import SettingsError

__all__ = ["postgres_functions"]


def postgres_functions(schema: str = "public") -> list[str]:
    """The statements that create or replace the gate's database functions, in order, for create_all and Alembic.

    Run them after the tables of `metadata` exist in `schema`, as the role that owns those. They need PostgreSQL 15 or
    later and no extension. Execution is revoked from PUBLIC: whoever is to use them has to be granted them.
    Raises SettingsError for a schema that is not a plain lower-case name.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", schema):
        raise SettingsError(f"not a plain lower-case schema name: {schema!r}")
    folder = resources.files("vaultstore.records") / "sql"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    statements: list[str] = []
    for file in files:
        text = file.read_text(encoding="utf-8").replace("@schema@", schema)
        statements += [part.strip() for part in re.split(r"^-- ?@@.*$", text, flags=re.MULTILINE) if part.strip()]
    return statements

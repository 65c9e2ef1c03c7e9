"""The PostgreSQL plane as its database states it: names of its roles, and whether tickets are demanded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import sqlalchemy as sa

from vaultstore.errors import PolicyError, SettingsError
from vaultstore.records.base import GATE, Instant, metadata

__all__ = ["CLAIMS", "RolePlane", "fetch", "vs_plane", "vs_ticket_keys"]

CLAIMS = "vaultstore.claims"
"""The setting that holds a transaction's claims, JSON text as `gate.Claims.json` makes it, ticket included."""

vs_plane = sa.Table(
    "vs_plane",
    metadata,
    sa.Column("prefix", sa.String(16), primary_key=True),
    sa.Column("strict", sa.Boolean, nullable=False),
    sa.Column("applied_at", Instant, nullable=False),
    info=GATE,
)
"""One row where the plane is applied, none where it is not. Nobody but the owner reads or writes it."""

_PREFIX = re.compile(r"(?!pg_)[a-z][a-z0-9_]{0,15}")
_LONGEST_NAME = 63  # PostgreSQL's limit, in bytes; it cuts longer names off without a word

vs_ticket_keys = sa.Table(
    "vs_ticket_keys",
    metadata,
    sa.Column("kid", sa.String(36), primary_key=True),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("made_at", Instant, nullable=False),
    info=GATE,
)
"""Keys that tickets are MAC'd with (32 bytes each); the newest makes new ones. Nobody but the owner reads them."""


@dataclass(frozen=True, slots=True)
class RolePlane:
    """Names of a store's PostgreSQL roles. `prefix` belongs to one store in a cluster."""

    prefix: str = "vs_"
    strict: bool = False

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise SettingsError(
                f"postgres_prefix = {self.prefix!r}: use up to 16 lower-case letters, digits and _, a letter first,"
                " and not pg_"
            )

    def role(self, purpose: str) -> str:
        """NOLOGIN role of a purpose: its rights on columns and rows. Raises PolicyError for a name too long."""
        return _named(f"{self.prefix}p_{purpose}", f"purpose {purpose}")

    def login(self, service: str) -> str:
        """Login of a service: it may take the roles of its purposes, and inherits nothing of them.

        Raises PolicyError for a name too long.
        """
        return _named(f"{self.prefix}s_{service}", f"service {service}")

    @property
    def owner(self) -> str:
        """NOLOGIN owner of every table and function."""
        return f"{self.prefix}owner"

    @property
    def scopes(self) -> str:
        """NOLOGIN owner of the views behind row scopes: it reads what they are decided by."""
        return f"{self.prefix}scopes"

    @property
    def issuer(self) -> str:
        """Login of the token issuer: it may have tickets made, and nothing else."""
        return f"{self.prefix}issuer"


def fetch(connection: sa.Connection) -> RolePlane | None:
    """The plane that is applied to a database, or None: there is none, or the database is not PostgreSQL.

    Any login of the plane may ask. The transaction is over where it fails, so ask on a connection that has done nothing
    else. Raises SettingsError where the database has no functions of ours, or this login may not call them.
    """
    if connection.dialect.name != "postgresql":
        return None
    try:
        text = connection.exec_driver_sql("SELECT vs_plane()::text").scalar_one()
    except sa.exc.ProgrammingError as error:
        state = getattr(error.orig, "sqlstate", None)
    else:
        stated = None if text is None else json.loads(text)
        return None if stated is None else RolePlane(stated["prefix"], stated["strict"])
    if state == "42883":
        raise SettingsError("the database has no vs_plane(): run the migrations, and check the login's search_path")
    if state == "42501":
        raise SettingsError(
            "this login may not call vs_plane(): use the login of a service that the policy lists, or of the issuer,"
            " and run `vaultstore policy apply --target postgres`"
        )
    raise SettingsError(f"the database does not say which plane is applied ({state})")


def _named(name: str, of: str) -> str:
    if len(name.encode()) > _LONGEST_NAME:
        raise PolicyError(f"{of}: its PostgreSQL role {name} has more than {_LONGEST_NAME} bytes; take a shorter name")
    return name

"""What `policy apply` can't do itself, or leaves open: said after each run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from vaultstore.cli.opening import Planes, Source

__all__ = ["notes_of"]


def notes_of(source: Source, opened: Planes) -> Iterator[str]:
    """A sentence for each thing that the planes leave open."""
    names = {plane.name for plane in opened.planes}
    if "vault" in names and not source.settings.vault_bound_cidrs:
        yield "Vault takes logins from any network: name your services' networks in vault_bound_cidrs"
    if "postgres" in names and opened.engine is not None:
        bare = _without_password(opened.engine, [*map(source.roles.login, source.bound.services), source.roles.issuer])
        if bare is None:
            yield "apply sets no passwords: see that each login has one, or a certificate"
        elif bare:
            yield f"logins without a password: {', '.join(bare)}: apply sets none (psql's \\password does)"
        if not source.roles.strict:
            yield (
                "default mode: the database believes a login's word on actor, attributes and case;"
                " postgres_strict = true takes a ticket from the issuer instead"
            )


def _without_password(engine: Engine, logins: list[str]) -> list[str] | None:
    """Those of `logins` that have no password; None where this operator may not know."""
    import sqlalchemy as sa

    query = sa.text(
        "SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword IS NULL AND rolname = ANY(:names) ORDER BY 1"
    )
    with engine.connect() as connection:
        if not connection.scalar(sa.text("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")):
            return None
        return list(connection.scalars(query, {"names": logins}))

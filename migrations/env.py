"""Runs the member store's migrations: on the two files of an embedded store, or on one PostgreSQL database."""

from __future__ import annotations

from alembic import context

from vaultstore.members.schema import Target, targets_of
from vaultstore.settings import Settings


def database() -> str:
    """URL of the database: ``-x database=URL``, or that of the store in ``-x dir=DIR`` (default: here)."""
    given = context.get_x_argument(as_dictionary=True)
    return given.get("database") or Settings.load(given.get("dir", ".")).database_url


def run(target: Target) -> None:
    """Migrate one target in one transaction, or compare it with the models."""
    with target.engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=target.metadata,
            include_object=target.includes,
            render_item=target.render,
            compare_type=True,
            compare_server_default=True,
            upgrade_token=f"{target.name}_upgrades",
            downgrade_token=f"{target.name}_downgrades",
            transactional_ddl=True,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations(target=target.name)
        connection.commit()


def offline(url: str) -> None:
    """Write the SQL for a PostgreSQL database instead of running it (``--sql``)."""
    if not url.startswith("postgresql"):
        raise SystemExit("--sql writes for PostgreSQL only: an embedded store has two files")
    context.configure(url=url, literal_binds=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations(target="all")


given = context.config.attributes.get("targets")
if given is not None:
    for each in given:
        run(each)
elif context.is_offline_mode():
    offline(database())
else:
    with targets_of(database()) as opened:
        for each in opened:
            run(each)

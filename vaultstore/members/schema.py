"""The member store's schema under Alembic: which tables lie in which database, upgrades, and the comparison."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Engine, MetaData, create_engine, inspect, make_url

import vaultstore
from vaultstore.alembic import render_item
from vaultstore.errors import SettingsError
from vaultstore.members.models import Base, UtcDateTime
from vaultstore.members.resources import migrations
from vaultstore.records import configure_sqlite, states

__all__ = ["Target", "check", "downgrade", "targets_of", "upgrade"]

Name = Literal["members", "gate", "all"]


@dataclass(frozen=True, slots=True)
class Target:
    """One database to migrate: the file ``members`` or ``gate`` of an embedded store, or ``all`` on PostgreSQL."""

    name: Name
    engine: Engine

    @property
    def metadata(self) -> Sequence[MetaData]:
        """What the database is compared with."""
        return (Base.metadata, vaultstore.metadata)

    def includes(self, item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
        """Whether a table belongs to this database, and a column is to be compared (Alembic's ``include_object``)."""
        if kind == "column" and self.engine.dialect.name == "sqlite" and getattr(item, "identity", None):
            return False  # SQLite numbers an integer key by itself and has no word for it: it would always differ
        if kind in ("table", "index") and not reflected:
            dialect = self.engine.dialect.name
            if item.info.get("dialect", dialect) != dialect:
                return False
        if kind != "table" or reflected or self.name == "all":
            return True
        return bool(item.info.get("file", "members") == self.name)

    def render(self, kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
        """How a type is written in a migration (Alembic's ``render_item``): never as a type of ours."""
        if kind == "type" and isinstance(item, UtcDateTime):
            return "sa.DateTime(timezone=True)"
        return render_item(kind, item, context)


@contextmanager
def targets_of(database: str, gate: str | None = None) -> Iterator[tuple[Target, ...]]:
    """The databases behind a URL. `gate` is the URL of an embedded store's gate file [``gate.db`` beside it]."""
    url = make_url(database)
    with ExitStack() as resources:

        def opened(name: Name, where: Any) -> Target:
            engine = create_engine(where, hide_parameters=True)
            resources.callback(engine.dispose)
            if engine.dialect.name == "sqlite":
                configure_sqlite(engine)
            return Target(name, engine)

        if url.get_backend_name() == "postgresql":
            yield (opened("all", url),)
        elif url.get_backend_name() == "sqlite" and url.database:
            beside = f"sqlite:///{Path(url.database).with_name('gate.db')}"
            yield opened("members", url), opened("gate", gate or beside)
        else:
            raise SettingsError("migrations run on a SQLite file and on PostgreSQL")


def upgrade(targets: Sequence[Target], revision: str = "head") -> None:
    """Migrate up to `revision`, each database in one transaction. Harmless when repeated."""
    command.upgrade(_config(targets), revision)
    engines = {target.name: target.engine for target in targets}
    if {"members", "gate"} <= engines.keys() and inspect(engines["members"]).has_table("vs_hidden"):
        states.sync(engines["members"], engines["gate"])


def downgrade(targets: Sequence[Target], revision: str) -> None:
    """Migrate down to `revision`; ``base`` removes every table."""
    command.downgrade(_config(targets), revision)


def check(targets: Sequence[Target]) -> None:
    """Compare the databases with the models. Raises SettingsError naming what differs."""
    try:
        with warnings.catch_warnings():
            # of indexes that only PostgreSQL has
            warnings.filterwarnings("ignore", "autogenerate skipping metadata-specified expression-based index")
            command.check(_config(targets))
    except CommandError as error:
        raise SettingsError(f"the schema is not that of the models: {error}") from None


def _config(targets: Sequence[Target]) -> Config:
    config = Config(attributes={"targets": tuple(targets)}, stdout=io.StringIO())  # nothing is printed from here
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

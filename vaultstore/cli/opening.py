"""The planes of a store, opened from its settings: to compile without a server, or to apply and verify on live ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import create_engine, make_url

from vaultstore.cli.store import load_models
from vaultstore.errors import SettingsError
from vaultstore.orm import ModelRegistry
from vaultstore.policy import BoundPolicy, Policy
from vaultstore.records.plane import RolePlane
from vaultstore.settings import FILE_NAME, Settings, listed

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from vaultstore.keys import VaultKeys
    from vaultstore.planes import Plane

__all__ = ["TARGETS", "Planes", "Source", "Target", "compiled", "open_planes", "source_of"]

Target = Literal["vault", "postgres", "library", "all"]
TARGETS: tuple[Target, ...] = ("vault", "postgres", "library", "all")

_NOWHERE = "http://127.0.0.1:1"
"""The address of a Vault that is only compiled for."""


@dataclass(frozen=True, slots=True)
class Source:
    """What planes are made from."""

    settings: Settings
    policy: Policy
    bound: BoundPolicy
    models: ModelRegistry

    @property
    def roles(self) -> RolePlane:
        """Names of the PostgreSQL roles."""
        return RolePlane(self.settings.postgres_prefix, self.settings.postgres_strict)


@dataclass(frozen=True, slots=True)
class Planes:
    """The planes of a store, in the order in which they are applied."""

    planes: tuple[Plane, ...]
    absent: tuple[str, ...] = ()
    """Why a plane is not among them, a sentence each."""
    engine: Engine | None = None
    """The database, as the operator reaches it."""


def source_of(folder: Path, policies: Path | None = None, models: str | None = None) -> Source:
    """Load the policy and models of the store in `folder`; `policies` and `models` say otherwise.

    Raises SettingsError, PolicyError, ModelError.
    """
    settings = Settings.load(folder) if (folder / FILE_NAME).exists() else Settings(folder=folder.resolve())
    settings = replace(settings, models=models or settings.models)
    path = settings.policy_path if policies is None else policies
    if not path.exists():
        raise SettingsError(f"{path} is missing: name the policy's folder with --policies, or the store's with --dir")
    registry = ModelRegistry(*load_models(settings.models, settings.folder))
    policy = Policy.load(path)
    return Source(settings, policy, policy.bind(registry.catalogue), registry)


def compiled(source: Source, target: Target) -> dict[str, str]:
    """File name -> text of each plane that `target` names. No server is asked for anything."""
    from vaultstore.planes.library import LibraryPlane

    texts = {}
    if target in ("vault", "all"):
        from vaultstore.planes.vault import VaultPlane

        with _vault_keys(source.settings, compile_only=True) as keys:
            texts["vault.hcl"] = VaultPlane(keys, source.bound, source.settings.issuer).compile()
    if target in ("postgres", "all"):
        from vaultstore.planes.postgres import PostgresPlane
        from vaultstore.planes.postgres_target import compile_postgres

        engine = create_engine("postgresql+psycopg://")
        made = compile_postgres(source.bound, source.models, source.roles)
        texts["postgres.sql"] = PostgresPlane(engine, made, source.models).compile()
    if target in ("library", "all"):
        texts["purposes.txt"] = LibraryPlane(create_engine("sqlite://"), source.bound, source.models).compile()
    return texts


@contextmanager
def open_planes(source: Source, target: Target = "all", database: str | None = None) -> Iterator[Planes]:
    """Open the planes that `target` names and the store has; `database` is an operator's URL in place of the store's.

    Raises SettingsError where a plane is named that the store does not have, or what it takes is missing.
    """
    settings = source.settings if database is None else replace(source.settings, database=with_driver(database))
    absent = _absent(settings)
    if target in absent:
        raise SettingsError(absent[target])
    wanted = [name for name in ("vault", "postgres", "library") if target in (name, "all") and name not in absent]
    with ExitStack() as resources:
        planes: list[Plane] = []
        engine = None
        if "vault" in wanted:
            from vaultstore.planes.vault import VaultPlane

            keys = resources.enter_context(_vault_keys(settings))
            admins = listed(settings.vault_admin_policies)
            planes.append(VaultPlane(keys, source.bound, settings.issuer, admin_policies=admins))
        if set(wanted) & {"postgres", "library"}:
            engine = _engine(settings)
            resources.callback(engine.dispose)
        if engine is not None and "postgres" in wanted:
            from vaultstore.planes.postgres import PostgresPlane
            from vaultstore.planes.postgres_target import compile_postgres

            made = compile_postgres(source.bound, source.models, source.roles)
            vouched = listed(settings.postgres_vouched)
            planes.append(PostgresPlane(engine, made, source.models, vouched=vouched))
        if engine is not None and "library" in wanted:
            planes.append(_library(source, settings, engine, resources))
        yield Planes(tuple(planes), tuple(absent.values()) if target == "all" else (), engine)


def with_driver(database: str) -> str:
    """The usual ``postgresql://`` with the driver that vaultstore works through; other URLs as they are."""
    scheme, colon, rest = database.partition("://")
    return f"postgresql+psycopg://{rest}" if colon and scheme in ("postgresql", "postgres") else database


def _absent(settings: Settings) -> dict[str, str]:
    """Plane -> why this store does not have it."""
    absent = {}
    if settings.keys != "vault":
        absent["vault"] = "keys = 'local': the keys are a file, so there is no Vault plane"
    if make_url(settings.database_url).get_backend_name() != "postgresql":
        absent["postgres"] = "the database is SQLite: it has no roles and no row-level security, so no PostgreSQL plane"
    return absent


def _vault_keys(settings: Settings, *, compile_only: bool = False) -> VaultKeys:
    from vaultstore.keys import VaultKeys

    if compile_only:
        settings = replace(settings, keys="vault", vault_url=_NOWHERE, vault_token="-")  # noqa: S106 - no token at all
    keys = settings.open_keys()
    assert isinstance(keys, VaultKeys)
    return keys


def _engine(settings: Settings) -> Engine:
    """The database that the gate decides by: gate.db beside a SQLite file, else the one of the store."""
    from vaultstore.records import configure_sqlite

    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        gate = Path(url.database or "").with_name("gate.db")
        if not gate.exists():
            raise SettingsError(f"{gate} is missing: this store is not whole")
        return configure_sqlite(create_engine(f"sqlite:///{gate}", hide_parameters=True))
    return create_engine(url, hide_parameters=True, pool_pre_ping=True)


def _library(source: Source, settings: Settings, engine: Engine, resources: ExitStack) -> Plane:
    from vaultstore.planes.library import LibraryPlane

    if settings.keys == "vault":
        return LibraryPlane(engine, source.bound, source.models)
    file = settings.folder / settings.key_file
    if not file.exists():
        raise SettingsError(f"{file} is missing: this store is not whole")
    keys = resources.enter_context(settings.open_keys())
    access = source.bound.key_access(settings.issuer)
    return LibraryPlane(engine, source.bound, source.models, provision=lambda: keys.provision(access))

"""Opens what a folder holds: a whole store, or just its policy and models."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from vaultstore.catalogue import Catalogue
from vaultstore.errors import SettingsError
from vaultstore.orm import catalogue_of
from vaultstore.policy import Policy
from vaultstore.settings import FILE_NAME, Settings

if TYPE_CHECKING:
    from vaultstore.store import Store

__all__ = ["PolicyAndModels", "load_models", "model_named", "open_store", "policy_and_models", "short_path"]


@contextmanager
def open_store(folder: Path, *, replaying: bool = False) -> Iterator[Store]:
    """Open the store in `folder`, and close it with its keys at the end of the block; `replaying`: see `Store.open`.

    Raises SettingsError where a part of it is missing: opening never makes an empty key file or database.
    """
    from vaultstore.store import Store  # not needed to look at a policy

    settings = Settings.load(folder)
    for part in _files_of(settings):
        if not part.exists():
            raise SettingsError(f"{part} is missing: this store is not whole")
    models = load_models(settings.models, settings.folder)
    policy = Policy.load(settings.policy_path)
    with ExitStack() as resources:
        keys = resources.enter_context(settings.open_keys())
        client = resources.enter_context(settings.open_issuer()) if settings.issuer_url else None
        yield resources.enter_context(
            Store.open(
                settings.database_url,
                keys=keys,
                policy=policy,
                models=models,
                issuer=settings.issuer,
                issuer_client=client,
                jwks=settings.jwks or None,
                postgres_strict=settings.postgres_strict,
                origin=settings.log_origin,
                retention=settings.retention,
                journal=settings.journal_path,
                kept_checkpoints=settings.checkpoints_path,
                replaying=replaying,
            )
        )


def load_models(names: str, folder: Path | None = None) -> tuple[type[Any], ...]:
    """The declarative bases that `names` lists: ``package.module:Base``, several with commas between.

    Modules are also looked for in `folder` and the current one. Raises SettingsError where one can't be had.
    """
    for place in dict.fromkeys((*([str(folder)] if folder else []), str(Path.cwd()))):
        if place not in sys.path:
            sys.path.append(place)  # at the end: a store's folder must not replace an installed module
    return tuple(_base(name.strip()) for name in names.split(","))


def model_named(bases: tuple[type[Any], ...], name: str) -> type[Any]:
    """The mapped class called `name`. Raises SettingsError that lists those there are."""
    found: dict[str, type[Any]] = {
        mapper.class_.__name__: mapper.class_ for base in bases for mapper in base.registry.mappers
    }
    if name not in found:
        raise SettingsError(f"there is no model {name!r}; there are: {', '.join(sorted(found))}")
    return found[name]


@dataclass(frozen=True, slots=True)
class PolicyAndModels:
    """A policy, loaded but not bound, and the models it is meant for."""

    policy: Policy
    catalogue: Catalogue


def policy_and_models(folder: Path, policies: Path | None = None, models: str | None = None) -> PolicyAndModels:
    """Load the policy and models of the store in `folder`; `policies` and `models` say otherwise.

    Where no store is, they are the folder's own ``policies`` and the member store's models.
    """
    settings = Settings.load(folder) if (folder / FILE_NAME).exists() else Settings(folder=folder.resolve())
    settings = replace(settings, models=models or settings.models)
    path = short_path(settings.policy_path if policies is None else policies)
    if not path.exists():
        raise SettingsError(
            f"{path} is missing: name the folder of the policy with --policies, or the store's with --dir"
        )
    return PolicyAndModels(Policy.load(path), catalogue_of(*load_models(settings.models, settings.folder)))


def _files_of(settings: Settings) -> Iterator[Path]:
    if settings.keys == "local":
        yield settings.folder / settings.key_file
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        yield Path(url.database)
        yield Path(url.database).with_name("gate.db")


def short_path(path: Path) -> Path:
    """`path` as seen from here where it lies below: errors name it, and people click on it."""
    relative = Path(os.path.relpath(path))
    return path if ".." in relative.parts else relative


def _base(name: str) -> type[Any]:
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise SettingsError(f"{name!r} is not of the form package.module:Base")
    try:
        base: Any = getattr(import_module(module), attribute)
    except ModuleNotFoundError as missing:
        raise SettingsError(f"models {name}: there is no module {missing.name!r}") from None
    except AttributeError:
        raise SettingsError(f"models {name}: {module} has no {attribute!r}") from None
    if not isinstance(base, type) or not hasattr(base, "registry"):
        raise SettingsError(f"models {name}: not a declarative base")
    return base

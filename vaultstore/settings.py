"""Settings of a store on disk: ``vaultstore.toml`` in its folder, overridden by ``VAULTSTORE_*`` variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vaultstore.errors import SettingsError
from vaultstore.keys import Keys, LocalKeys, VaultKeys

__all__ = ["FILE_NAME", "Settings"]

FILE_NAME = "vaultstore.toml"

_SECRETS = frozenset({"vault_token"})
"""Settings that a file must not hold: they come from the environment only."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a store lives and what it is opened with. Relative paths are relative to the folder."""

    folder: Path
    database: str = "sqlite:///members.db"
    models: str = "vaultstore.members.models:Base"
    policy: str = "policies"
    issuer: str = "vaultstore"
    keys: str = "local"
    """``local`` (a key file) or ``vault`` (Vault or OpenBao)."""
    key_file: str = "keys.json"
    vault_url: str = ""
    vault_mount: str = "transit"
    vault_prefix: str = "vs-"
    vault_ca: str = ""
    vault_token: str = ""
    """Only from ``VAULTSTORE_VAULT_TOKEN``; never written to the file."""

    def __repr__(self) -> str:
        return f"<Settings {self.folder}>"

    @classmethod
    def load(cls, folder: Path | str, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings of the store in `folder`.

        Raises SettingsError where the folder holds no store, the file does not parse, or a setting is unknown.
        """
        folder = Path(folder).resolve()
        path = folder / FILE_NAME
        try:
            table: Any = tomllib.loads(path.read_text(encoding="utf-8")).get("store")
        except FileNotFoundError:
            missing = f"{folder} holds no store ({FILE_NAME} is missing): run `vaultstore init` there"
            raise SettingsError(missing) from None
        except OSError as error:
            raise SettingsError(f"{path} can't be read: {error.strerror}") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from None
        if not isinstance(table, dict):
            raise SettingsError(f"{path}: the table [store] is missing")
        names = {f.name for f in fields(cls)} - {"folder"}
        for name, value in table.items():
            if name not in names:
                raise SettingsError(f"{path}: {name!r} is not a setting; known: {', '.join(sorted(names - _SECRETS))}")
            if name in _SECRETS:
                raise SettingsError(f"{path}: {name} does not belong in a file: set VAULTSTORE_{name.upper()}")
            if not isinstance(value, str):
                raise SettingsError(f"{path}: {name} must be a string")
        environ = os.environ if environ is None else environ
        overrides = {n: environ[f"VAULTSTORE_{n.upper()}"] for n in names if environ.get(f"VAULTSTORE_{n.upper()}")}
        return cls(folder=folder, **{**table, **overrides})

    def save(self) -> Path:
        """Write `vaultstore.toml`, without secrets, and return its path. Refuses to overwrite (SettingsError)."""
        path = self.folder / FILE_NAME
        lines = ["# Where this store lives. Every setting can be overridden by VAULTSTORE_<NAME>.", "[store]"]
        default = Settings(folder=self.folder)
        for name in (f.name for f in fields(self) if f.name not in _SECRETS | {"folder"}):
            value = getattr(self, name)
            if value != getattr(default, name) or name in {"database", "models", "policy", "keys", "key_file"}:
                lines.append(f"{name} = {_toml_string(value)}")
        try:
            # Mode 0600: a database URL may hold a password.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        except FileExistsError:
            raise SettingsError(f"{path} is already there: this folder holds a store") from None
        return path

    @property
    def database_url(self) -> str:
        """The database URL with a relative SQLite path resolved against the folder."""
        prefix = "sqlite:///"
        if self.database.startswith(prefix) and not self.database.startswith(prefix + "/"):
            return prefix + str(self.folder / self.database.removeprefix(prefix))
        return self.database

    @property
    def policy_path(self) -> Path:
        """Folder of the policy files."""
        return self.folder / self.policy

    def open_keys(self) -> Keys:
        """Open the key service that the settings name. Raises SettingsError."""
        if self.keys == "local":
            return LocalKeys.open(self.folder / self.key_file)
        if self.keys == "vault":
            if not self.vault_url or not self.vault_token:
                raise SettingsError("keys = 'vault' needs vault_url, and VAULTSTORE_VAULT_TOKEN in the environment")
            return VaultKeys(
                self.vault_url,
                token=self.vault_token,
                mount=self.vault_mount,
                prefix=self.vault_prefix,
                ca=self.vault_ca or None,
            )
        raise SettingsError(f"keys must be 'local' or 'vault', not {self.keys!r}")


def _toml_string(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

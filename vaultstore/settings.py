"""Settings of a store on disk: ``vaultstore.toml`` in its folder, overridden by ``VAULTSTORE_*`` variables."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultstore.errors import SettingsError
from vaultstore.keys import Keys, LocalKeys, VaultKeys

if TYPE_CHECKING:
    from vaultstore.issuer.client import IssuerClient
    from vaultstore.lifecycle.retention import Retention

__all__ = ["FILE_NAME", "Settings", "listed"]

FILE_NAME = "vaultstore.toml"

_SECRETS = frozenset({"vault_token"})
"""Settings that a file must not hold: they come from the environment only."""

_LIFE = "retention_"
_SPAN = re.compile(r"(\d{1,5})(h|d|w)", re.ASCII)
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_KINDS = {str: "a string", bool: "true or false", int: "a whole number"}


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
    vault_auth_mount: str = "jwt"
    vault_prefix: str = "vs-"
    vault_ca: str = ""
    vault_bound_cidrs: str = ""
    """Networks that logins may come from, with commas between; ``""`` allows any, and `policy apply` warns of it."""
    vault_hmac_rate: int = 100
    """Requests a second that one index key answers: it slows whoever would try out every phone number. 0: no quota."""
    vault_admin_policies: str = ""
    """ACL policies that may reach our keys, with commas between: the operator's, the issuer's. Others are reported."""
    vault_token: str = ""
    """Only from ``VAULTSTORE_VAULT_TOKEN``; never written to the file."""
    postgres_prefix: str = "vs_"
    """Begins the names of this store's PostgreSQL roles."""
    postgres_strict: bool = False
    """Whether rows and wraps take a ticket that the issuer signed; without it the database believes its logins."""
    postgres_vouched: str = ""
    """Roles, views, functions and publications that the operator answers for, with commas between: not reported."""
    jwks: str = ""
    """Public keys that verify tokens, a file or a URL; ``""`` asks the key service or the issuer."""
    issuer_url: str = ""
    """Where `vaultstore issuer serve` listens: ``https://host:port`` or ``unix:/path``. ``""``: this process issues."""
    issuer_cert: str = ""
    issuer_key: str = ""
    issuer_ca: str = ""
    audit_origin: str = ""
    """Names the audit log in its checkpoints, as ``example.com/members``; ``""``: ``vaultstore.local/<issuer>``."""
    witnesses: str = ""
    """Who signs checkpoints too, ``KEY@URL`` each, with commas between."""
    journal: str = ""
    """File that takes down erasures and their like, on another disk than the databases; ``""``: none is kept."""
    kept_checkpoints: str = ""
    """Folder of kept checkpoints: a store whose log does not continue the newest one does not open."""
    retention_vault_snapshots: str = ""
    """How long snapshots of Vault are kept, as ``30d``; ``""``: unknown. So are the three that follow."""
    retention_keyring_backups: str = ""
    retention_data_backups: str = ""
    retention_wal_archives: str = ""

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
        kinds = {f.name: type(f.default) for f in fields(cls) if f.name != "folder"}
        for name, value in table.items():
            if name not in kinds:
                known = ", ".join(sorted(kinds.keys() - _SECRETS))
                raise SettingsError(f"{path}: {name!r} is not a setting; known: {known}")
            if name in _SECRETS:
                raise SettingsError(f"{path}: {name} does not belong in a file: set VAULTSTORE_{name.upper()}")
            if type(value) is not kinds[name]:
                raise SettingsError(f"{path}: {name} must be {_KINDS[kinds[name]]}")
        environ = os.environ if environ is None else environ
        overrides = {
            name: _parsed(f"VAULTSTORE_{name.upper()}", text, kind)
            for name, kind in kinds.items()
            if (text := environ.get(f"VAULTSTORE_{name.upper()}"))
        }
        for name in filter(_is_life, (*table, *overrides)):
            if name in overrides:
                _days(f"VAULTSTORE_{name.upper()}", str(overrides[name]))
            else:
                _days(f"{path}: {name}", table[name])
        return cls(folder=folder, **{**table, **overrides})

    def save(self) -> Path:
        """Write `vaultstore.toml`, without secrets, and return its path. Refuses to overwrite (SettingsError)."""
        path = self.folder / FILE_NAME
        lines = ["# Where this store lives. Every setting can be overridden by VAULTSTORE_<NAME>.", "[store]"]
        default = Settings(folder=self.folder)
        for name in (f.name for f in fields(self) if f.name not in _SECRETS | {"folder"}):
            value = getattr(self, name)
            if value != getattr(default, name) or name in {"database", "models", "policy", "keys", "key_file"}:
                lines.append(f"{name} = {_toml(value)}")
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
    def log_origin(self) -> str:
        """The name of the audit log."""
        return self.audit_origin or f"vaultstore.local/{self.issuer}"

    @property
    def retention(self) -> Retention:
        """How long copies are kept. Raises SettingsError."""
        from vaultstore.lifecycle.retention import Retention

        names = [f.name for f in fields(self) if _is_life(f.name)]
        return Retention(**{name.removeprefix(_LIFE): _days(name, getattr(self, name)) for name in names})

    @property
    def journal_path(self) -> Path | None:
        """The journal's file, or None where none is kept."""
        return Path(os.path.normpath(self.folder / self.journal)) if self.journal else None

    @property
    def checkpoints_path(self) -> Path | None:
        """Folder of kept checkpoints, or None."""
        return Path(os.path.normpath(self.folder / self.kept_checkpoints)) if self.kept_checkpoints else None

    @property
    def policy_path(self) -> Path:
        """Folder of the policy files."""
        return self.folder / self.policy

    def open_issuer(self) -> IssuerClient:
        """A client of the issuer that the settings name; files are relative to the folder. Raises SettingsError."""
        from vaultstore.issuer.client import IssuerClient

        if not self.issuer_url:
            raise SettingsError("there is no issuer: set issuer_url, or VAULTSTORE_ISSUER_URL")
        cert, key, ca = (
            str(self.folder / path) if path else "" for path in (self.issuer_cert, self.issuer_key, self.issuer_ca)
        )
        return IssuerClient(self.issuer_url, cert=cert, key=key, ca=ca)

    def open_keys(self) -> Keys:
        """Open the key service that the settings name. Raises SettingsError."""
        if self.keys == "local":
            return LocalKeys.open(self.folder / self.key_file)
        if self.keys == "vault":
            if not self.vault_url or not (self.vault_token or self.issuer_url):
                raise SettingsError(
                    "keys = 'vault' needs vault_url, and VAULTSTORE_VAULT_TOKEN in the environment or an issuer_url"
                )
            return VaultKeys(
                self.vault_url,
                token=self.vault_token,
                mount=self.vault_mount,
                prefix=self.vault_prefix,
                auth_mount=self.vault_auth_mount,
                bound_cidrs=listed(self.vault_bound_cidrs),
                hmac_rate=self.vault_hmac_rate,
                ca=self.vault_ca or None,
            )
        raise SettingsError(f"keys must be 'local' or 'vault', not {self.keys!r}")


def listed(text: str) -> tuple[str, ...]:
    """The parts of a setting that lists things with commas between."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _is_life(name: str) -> bool:
    return name.startswith(_LIFE)


def _days(place: str, text: str) -> timedelta | None:
    """How long copies are kept; None where nobody said. Raises SettingsError that names the place."""
    match = _SPAN.fullmatch(text)
    if text and match is None:
        raise SettingsError(f"{place} must be how long copies are kept, as 30d or 12h, or empty where that is unknown")
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})


def _parsed(name: str, text: str, kind: type) -> str | bool | int:
    """A variable's text as its setting's type. Raises SettingsError."""
    if kind is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if kind is int and text.isascii() and text.isdigit():
        return int(text)
    if kind is str:
        return text
    raise SettingsError(f"{name} must be {_KINDS[kind]}")


def _toml(value: str | bool | int) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value).lower()

"""The issuer's configuration: ``issuer.toml``. docs/issuer.md explains each setting.

It holds no secret: private keys are files that it names, and tokens come from the environment. Relative paths are
relative to the file's folder.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from vaultstore.errors import SettingsError
from vaultstore.issuer.assertion import DEFAULT_ALGORITHMS, AssertionRules
from vaultstore.issuer.peers import peer_name
from vaultstore.issuer.provider import ALGORITHMS

__all__ = ["ALL", "FILE_NAME", "Caller", "IssuerConfig", "Listen"]

FILE_NAME = "issuer.toml"
ALL = "*"
"""In a caller's `issues`: every purpose."""

_DURATION = re.compile(r"([1-9]\d{0,5})(s|m|h)", re.ASCII)
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the issuer listens: a Unix socket with a mode, or https with mutual TLS."""

    socket: Path | None = None
    mode: int = 0o600
    host: str = ""
    port: int = 0
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A program that may ask the issuer: how it is known, and which purposes it may ask tokens for."""

    name: str
    peers: frozenset[str]
    """``dns:NAME``, ``uri:URI``, ``cn:NAME`` of its certificate, ``uid:NUMBER`` on a Unix socket."""
    issues: frozenset[str] | None = None
    """Purposes that it may ask client tokens for; None: those that it serves. `ALL` stands for every one."""


@dataclass(frozen=True, slots=True)
class IssuerConfig:
    """Everything that `vaultstore issuer serve` needs besides the store's own settings."""

    listen: Listen
    assertion: AssertionRules
    provider_keys: str
    """Path or URL of the identity provider's JWKS."""
    provider_ca: str
    callers: Mapping[str, Caller]
    rate: int = 50
    """Requests a second that one caller may make, on average; twice as many in a burst."""
    revocations: bool | None = None
    """Whether an exchange asks the gate if the token was revoked; None: where the store is embedded."""

    @classmethod
    def load(cls, path: Path | str) -> IssuerConfig:
        """Read and check the file at `path`. Raises SettingsError that names file, table and setting."""
        path = Path(path)
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"{path} is missing: docs/issuer.md says what goes in") from None
        except OSError as error:
            raise SettingsError(f"{path} can't be read: {error.strerror}") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{path} is not TOML: {error}") from None
        top = _Table(path, "", content)
        oidc = top.table("oidc")
        attributes = oidc.table("attributes", missing=True)
        for name in attributes.names():
            if not _ATTRIBUTE.fullmatch(name):
                raise attributes.error("is no name for an attribute: an ASCII identifier", name)
        rules = AssertionRules(
            issuer=oidc.text("issuer"),
            audience=oidc.text("audience"),
            algorithms=_algorithms(oidc),
            subject=oidc.path("subject", ("sub",)),
            role=oidc.path("role", ("role",)),
            attributes={name: attributes.path(name, ()) for name in attributes.names()},
            max_age=_duration(oidc, "max_age", timedelta(hours=1)),
        )
        keys = oidc.text("jwks")
        limits, exchange = top.table("limits", missing=True), top.table("exchange", missing=True)
        made = cls(
            listen=_listen(top.table("listen")),
            assertion=rules,
            provider_keys=keys if _is_url(keys) else str(path.parent / keys),
            provider_ca=str(path.parent / ca) if (ca := oidc.text("ca", "")) else "",
            callers=_callers(top.table("services")),
            rate=limits.number("rate", 50),
            revocations=exchange.flag("revocations", None),
        )
        for table in (oidc, limits, exchange, top):
            table.done()
        return made


class _Table:
    """A table whose settings are taken one by one, so that what is left over is unknown."""

    def __init__(self, file: Path, name: str, content: Any) -> None:
        self.file, self.name = file, name
        if not isinstance(content, dict):
            raise self.error("is not a table")
        self._left, self._known = dict(content), set[str]()

    def error(self, reason: str, setting: str = "") -> SettingsError:
        place = f"{self.file}: [{self.name}]" if self.name else str(self.file)
        return SettingsError(f"{place} {setting} {reason}" if setting else f"{place} {reason}")

    def names(self) -> list[str]:
        return list(self._left)

    def done(self) -> None:
        for name in self._left:
            raise self.error(f"is not a setting; known: {', '.join(sorted(self._known))}", name)

    def table(self, name: str, *, missing: bool = False) -> _Table:
        found = self.take(name, {} if missing else None)
        return _Table(self.file, f"{self.name}.{name}" if self.name else name, found)

    def take(self, name: str, default: Any) -> Any:
        self._known.add(name)
        found = self._left.pop(name, default)
        if found is None:
            raise self.error("is missing", name)
        return found

    def text(self, name: str, default: str | None = None) -> str:
        found = self.take(name, default)
        if not isinstance(found, str) or not (found or default == ""):
            raise self.error("is not text", name)
        return found

    def texts(self, name: str) -> list[str]:
        found = self.take(name, [])
        if not isinstance(found, list) or not all(isinstance(item, str) and item for item in found):
            raise self.error("is not a list of texts", name)
        return found

    def path(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        found = self.take(name, list(default))
        found = [found] if isinstance(found, str) else found
        if not isinstance(found, list) or not found or not all(isinstance(part, str) and part for part in found):
            raise self.error("is not the name of a claim, or a list of names that leads to one", name)
        return tuple(found)

    def number(self, name: str, default: int) -> int:
        found = self.take(name, default)
        if type(found) is not int or not 1 <= found <= 1_000_000:
            raise self.error("is not a whole number from 1", name)
        return found

    def flag(self, name: str, default: bool | None) -> bool | None:
        self._known.add(name)
        found = self._left.pop(name, default)
        if found is not None and type(found) is not bool:
            raise self.error("is not true or false", name)
        return found


def _listen(table: _Table) -> Listen:
    url = table.text("url")
    if url.startswith("unix:/"):
        mode = table.text("mode", "0600")
        if mode not in ("0600", "0660"):
            raise table.error("is 0600 (this account) or 0660 (its group too)", "mode")
        table.done()
        return Listen(socket=Path(url.removeprefix("unix:")), mode=int(mode, 8))
    match = re.fullmatch(r"https://(\[[0-9a-fA-F:.]+\]|[^/:@\[\]]+):(\d{1,5})/?", url, re.ASCII)
    if match is None or int(match[2]) > 65_535:
        raise table.error("is neither https://HOST:PORT nor unix:/PATH: tokens are never served in clear", "url")
    cert, key, client_ca = (table.file.parent / table.text(name) for name in ("cert", "key", "client_ca"))
    table.done()
    return Listen(host=match[1].strip("[]"), port=int(match[2]), cert=cert, key=key, client_ca=client_ca)


def _callers(table: _Table) -> Mapping[str, Caller]:
    callers: dict[str, Caller] = {}
    owners: dict[str, str] = {}
    for name in table.names():
        own = table.table(name)
        peers = [peer_name(text) for text in own.texts("certificates")]
        if None in peers:
            raise own.error("are not of the form dns:NAME, uri:URI or cn:NAME", "certificates")
        uids = own.take("uids", [])
        if not isinstance(uids, list) or not all(type(uid) is int and uid >= 0 for uid in uids):
            raise own.error("are not a list of numbers", "uids")
        known = {peer for peer in peers if peer} | {f"uid:{uid}" for uid in uids}
        if not known:
            raise own.error("has neither certificates nor uids: nobody could be it")
        for peer in sorted(known):
            if peer in owners:
                raise own.error(f"claims {peer}, which is {owners[peer]}'s")
            owners[peer] = name
        issues = frozenset(own.texts("issues")) if "issues" in own.names() else None
        own.done()
        callers[name] = Caller(name, frozenset(known), issues)
    if not callers:
        raise table.error("names no service: nobody could ask")
    return callers


def _algorithms(oidc: _Table) -> tuple[str, ...]:
    chosen = tuple(oidc.texts("algorithms")) or DEFAULT_ALGORITHMS
    for algorithm in chosen:
        if algorithm not in ALGORITHMS:
            raise oidc.error(f"holds {algorithm!r}; known: {', '.join(ALGORITHMS)}", "algorithms")
    return chosen


def _duration(table: _Table, name: str, default: timedelta) -> timedelta:
    text = table.text(name, f"{int(default.total_seconds())}s")
    match = _DURATION.fullmatch(text)
    if match is None:
        raise table.error("is not a duration such as 90s, 5m or 1h", name)
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://", "unix:/"))

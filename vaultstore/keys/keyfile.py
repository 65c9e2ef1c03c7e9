"""The key file of embedded use: its JSON form, version 1, and how it is read and replaced safely.

    {"format": "vaultstore-keys", "version": 1,
     "categories": {NAME: {VERSION: KEY}}, "indexes": {...}, "signing": {...},     32 bytes each, base64
     "access": null | {"issuer": ..., "categories": [...], "indexes": [...],
                       "purposes": {NAME: {"digest": ..., "unwrap": [...], "wrap": [...], "hmac": [...],
                                          "rotate": [...], "rewrap": [...], "retire": [...],    where it has any
                                          "rotate_indexes": [...], "retire_indexes": [...]}}}}

Versions are decimal numbers from 1. The file belongs to the account that uses it and nobody else may read it.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vaultstore.errors import SettingsError
from vaultstore.keys.handle import SecretHandle
from vaultstore.keys.protocols import KeyKind
from vaultstore.policy.access import KeyAccess, PurposeKeys
from vaultstore.policy.model import KEY_VERBS

__all__ = ["KEY_BYTES", "KeyMaterial", "exclusive", "read_key_file", "signature_of", "write_key_file"]

KEY_BYTES = 32
_FORMAT, _VERSION = "vaultstore-keys", 1
_SECTIONS = ("categories", "indexes", "signing")

_KEPT = (*KEY_VERBS, "rotate_indexes", "retire_indexes")

Versions = Mapping[str, Mapping[int, bytes]]


@dataclass(frozen=True, slots=True, repr=False)
class KeyMaterial(SecretHandle):
    """Everything in a key file. Name -> version -> key of 32 bytes (signing keys: the Ed25519 seed)."""

    categories: Versions = field(default_factory=dict)
    indexes: Versions = field(default_factory=dict)
    signing: Versions = field(default_factory=dict)
    access: KeyAccess | None = None

    def of(self, kind: KeyKind) -> Versions:
        """The keys of all categories, or of all indexes."""
        return self.categories if kind == "category" else self.indexes

    def with_versions(self, kind: KeyKind, name: str, versions: Mapping[int, bytes]) -> KeyMaterial:
        """The same, but for the versions of one key."""
        keys = {**self.of(kind), name: versions}
        return replace(self, categories=keys) if kind == "category" else replace(self, indexes=keys)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes from changing `path` meanwhile, so that none loses keys that another just made."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise SettingsError(f"the folder of the key file can't be opened: {path.parent}: {error.strerror}") from None
    try:
        with contextlib.suppress(ImportError):  # Windows has no flock
            import fcntl

            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def signature_of(path: Path) -> tuple[int, ...] | None:
    """What changes whenever the file is replaced; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def read_key_file(path: Path) -> KeyMaterial:
    """Read a key file.

    Raises FileNotFoundError where there is none, and SettingsError where it is not a regular file, belongs to another
    account, can be read by others, or is not a key file of version 1.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(f"the key file {path} can't be opened: {error.strerror}") from None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - the checks and the content must be of one and the same file
        _check_owner_and_mode(path, os.fstat(descriptor))
        raw = file.read()
    try:
        return _parse(json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    # Raised outside the handler: what failed to parse may hold keys, and must not hang on the error.
    raise SettingsError(f"the key file {path} is damaged or of an unknown version: restore it from its backup")


def write_key_file(path: Path, material: KeyMaterial) -> None:
    """Replace the key file as a whole: whoever reads it, or whatever kills us, sees the old file or the new one.

    The caller holds `exclusive(path)`. Raises SettingsError where the folder can't be written.
    """
    stem = f".{path.name}."
    temporary = path.with_name(f"{stem}{secrets.token_hex(8)}.tmp")
    try:
        for stale in path.parent.glob(f"{glob.escape(stem)}*.tmp"):  # of a process that was killed here; it holds keys
            stale.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - opened above, so that the mode is 0600 from the start
                file.write(_render(material))
                file.flush()
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise SettingsError(f"the key file {path} can't be written: {error.strerror}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_owner_and_mode(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"the key file {path} is not a regular file")
    if not hasattr(os, "geteuid"):
        return
    if found.st_uid != os.geteuid():
        raise SettingsError(f"the key file {path} belongs to another account (uid {found.st_uid})")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SettingsError(f"the key file {path} can be read by others (mode {mode:04o}): chmod 600 it")


def _render(material: KeyMaterial) -> bytes:
    document: dict[str, Any] = {"format": _FORMAT, "version": _VERSION}
    for section in _SECTIONS:
        keys: Versions = getattr(material, section)
        document[section] = {
            name: {str(number): base64.b64encode(key).decode() for number, key in sorted(versions.items())}
            for name, versions in sorted(keys.items())
        }
    access = material.access
    document["access"] = access and {
        "issuer": access.issuer,
        "categories": sorted(access.categories),
        "indexes": list(access.indexes),
        "purposes": {
            name: {
                "digest": rights.digest,
                "unwrap": sorted(rights.unwrap),
                "wrap": sorted(rights.wrap),
                "hmac": sorted(rights.hmac),
                **{verb: sorted(names) for verb in _KEPT if (names := getattr(rights, verb))},
            }
            for name, rights in sorted(access.purposes.items())
        },
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _parse(document: Any) -> KeyMaterial:
    if (document["format"], document["version"]) != (_FORMAT, _VERSION):
        raise ValueError
    if document.keys() != {"format", "version", *_SECTIONS, "access"}:
        raise ValueError
    sections = {section: _parse_keys(document[section]) for section in _SECTIONS}
    return KeyMaterial(**sections, access=None if document["access"] is None else _parse_access(document["access"]))


def _parse_keys(section: Mapping[str, Mapping[str, str]]) -> dict[str, dict[int, bytes]]:
    keys: dict[str, dict[int, bytes]] = {}
    for name, versions in section.items():
        keys[name] = {}
        for number, encoded in versions.items():
            key = base64.b64decode(encoded, validate=True)
            if len(key) != KEY_BYTES or str(int(number)) != number or int(number) < 1:
                raise ValueError
            keys[name][int(number)] = key
        if not keys[name]:
            raise ValueError
    return keys


def _parse_access(document: Any) -> KeyAccess:
    purposes = {
        _string(name): PurposeKeys(
            digest=_string(rights["digest"]),
            unwrap=frozenset(_strings(rights["unwrap"])),
            wrap=frozenset(_strings(rights["wrap"])),
            hmac=frozenset(_strings(rights["hmac"])),
            rotate=frozenset(_strings(rights.get("rotate", []))),
            rewrap=frozenset(_strings(rights.get("rewrap", []))),
            retire=frozenset(_strings(rights.get("retire", []))),
            rotate_indexes=frozenset(_strings(rights.get("rotate_indexes", []))),
            retire_indexes=frozenset(_strings(rights.get("retire_indexes", []))),
        )
        for name, rights in document["purposes"].items()
    }
    return KeyAccess(
        issuer=_string(document["issuer"]),
        categories=frozenset(_strings(document["categories"])),
        indexes=tuple(_strings(document["indexes"])),
        purposes=purposes,
    )


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [_string(item) for item in value]

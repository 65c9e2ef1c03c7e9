"""From files to rules: finds them, merges what they say, and checks it as far as the files alone go."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TypeVar

from vaultstore.errors import PolicyError
from vaultstore.policy.document import MAX_BYTES, Entry, Items, Node, Table, parse
from vaultstore.policy.fields import NAME, PURPOSE, SERVICE, entry, items, number, table, text
from vaultstore.policy.places import Place, Places
from vaultstore.policy.purpose import read_purpose
from vaultstore.policy.rules import Rules
from vaultstore.policy.sections import Known, read_category, read_never, read_service, read_test
from vaultstore.policy.words import hint, shown

__all__ = ["checked_names", "load_files", "load_texts"]

_AnyPath = TypeVar("_AnyPath", bound=PurePath)

_TOP = ("version", "timezone", "roles", "categories", "purposes", "services", "never", "tests")
_MAX_FILES = 256
# Names of the machine's own database (localtime, posix/..., right/...) mean something else on another machine.
_ZONE = re.compile(r"UTC|(?!posix/|right/)[A-Za-z_]+(/[A-Za-z0-9_+-]+)+")


def load_files(paths: str | Path | Iterable[str | Path]) -> Rules:
    """Load files, and folders of ``*.yaml`` (deep, in sorted order). Raises PolicyError."""
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    files = [file for path in given for file in _files(path)]
    if len(files) > _MAX_FILES:
        raise PolicyError(f"more than {_MAX_FILES} policy files", file=given[0])
    folder = next((path for path in given if path.is_dir()), None)
    return load_texts(((str(file), _bytes(file)) for file in files), folder=folder)


def load_texts(sources: Iterable[tuple[str, bytes]], *, folder: Path | None = None) -> Rules:
    """Rules from (name, content) pairs; names are what errors show. Raises PolicyError."""
    known, files, documents = Known(), {}, []
    for name, data in sources:
        document, files[name] = parse(data, name)
        table(document, "policy", _TOP)
        number(entry(document, "version", "policy").node, "version", 1, 1)
        known.places.setdefault((), document.place)
        documents.append(document)
    if not documents:
        raise PolicyError("no policy file", file=folder)
    _timezone(documents, known)
    for name, found in _named(documents, "roles", known):
        known.roles[NAME.check(name, found.place, "roles")] = text(found.node, f"role {name}")
    for name, found in _named(documents, "categories", known):
        NAME.check(name, found.place, "categories")
        known.categories[name] = read_category(name, found.node)
    for name, found in _named(documents, "purposes", known):
        PURPOSE.check(name, found.place, "purposes")
        known.purposes[name] = table(found.node, f"purpose {name}")
    services = {}
    for name, found in _named(documents, "services", known):
        services[SERVICE.check(name, found.place, "services")] = read_service(name, found.node, known)
    return Rules(
        files=MappingProxyType(files),
        categories=MappingProxyType(known.categories),
        purposes=MappingProxyType({n: read_purpose(n, node, known) for n, node in known.purposes.items()}),
        never=tuple(read_never(node, n, known) for n, node in enumerate(_listed(documents, "never"))),
        tests=tuple(read_test(node, n, known) for n, node in enumerate(_listed(documents, "tests"))),
        roles=MappingProxyType(known.roles),
        services=MappingProxyType(services),
        timezone=known.timezone,
        places=Places(MappingProxyType(known.places)),
        folder=folder,
    )


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".yaml", ".yml"))
    except OSError as error:
        raise PolicyError(f"can not be read: {error.strerror}", file=path) from None
    return checked_names(found, path)


def checked_names(found: list[_AnyPath], folder: object) -> list[_AnyPath]:
    """`found`, the YAML files of a folder. Raises PolicyError where there is none, or one that would not be loaded."""
    if not found:
        raise PolicyError("the folder holds no *.yaml file", file=str(folder))
    for file in found:
        if file.suffix != ".yaml":  # a rule that is silently not loaded is a hole
            raise PolicyError("only *.yaml is loaded: rename the file", file=str(file))
    if len(found) > _MAX_FILES:
        raise PolicyError(f"more than {_MAX_FILES} policy files", file=str(folder))
    return found


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise PolicyError(f"can not be read: {reason}", file=file) from None


def _timezone(documents: list[Table], known: Known) -> None:
    first: Place | None = None
    for found in (d.entries["timezone"] for d in documents if "timezone" in d.entries):
        if first is not None:
            raise found.place.error(f"timezone is set twice; the first is at {first}")
        first, name, place = found.place, text(found.node, "timezone"), found.node.place
        try:
            if not _ZONE.fullmatch(name):
                raise ValueError
            zoneinfo.ZoneInfo(name)
        except (ValueError, KeyError, OSError):
            near = hint(name, filter(_ZONE.fullmatch, zoneinfo.available_timezones()))
            raise place.error(
                f"timezone: unknown {shown(name)}{near or '; use a name such as Asia/Shanghai'}"
            ) from None
        known.timezone = name


def _named(documents: list[Table], section: str, known: Known) -> Iterator[tuple[str, Entry]]:
    """The entries of a section over all files; none is defined twice."""
    places: dict[str, Place] = {}
    for found in (d.entries[section] for d in documents if section in d.entries):
        known.places.setdefault((section,), found.place)
        for name, item in table(found.node, section).entries.items():
            if name in places:
                raise item.place.error(f"{section}: {shown(name)} is defined twice; the first is at {places[name]}")
            places[name] = known.places[section, name] = item.place
            yield name, item


def _listed(documents: list[Table], section: str) -> Iterator[Node]:
    for found in (d.entries[section] for d in documents if section in d.entries):
        if not isinstance(found.node, Items) or found.node.items:
            yield from items(found.node, section)

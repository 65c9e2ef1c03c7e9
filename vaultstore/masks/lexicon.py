"""The versioned data that some masks go by: files under lexicons/, each with a name, a version and a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from vaultstore.errors import ModelError

__all__ = ["Lexicon", "fold_variants", "load_file", "shipped"]

_READER = 3
"""Version of how flags() reads text and rules: it is part of what a lexicon's digest covers."""
_FOLDER = resources.files("vaultstore.masks") / "lexicons"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """A parsed data file.

    `digest` covers the parsed content (not comments or layout) and the digest of `variants`, so that a mask's
    fingerprint changes with what it shows.
    """

    name: str
    version: int
    digest: str
    """The first 16 hexadecimal digits of the SHA-256 of the content as JSON with sorted keys."""
    data: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """``name@version:digest``, as it stands in a mask's fingerprint."""
        return f"{self.name}@{self.version}:{self.digest}"


@cache
def shipped(name: str) -> Lexicon:
    """The data file that comes with the library under this name, without its ending.

    Raises:
        ModelError: there is none; the message lists those that exist.
    """
    for ending in (".yaml", ".json"):
        entry = _FOLDER / f"{name}{ending}"
        if name.replace("-", "").isalnum() and entry.is_file():
            return _parse(entry.read_text(encoding="utf-8"), f"{name}{ending}")
    known = sorted(entry.name.rpartition(".")[0] for entry in _FOLDER.iterdir())
    raise ModelError(f"there is no lexicon of this name; there are {', '.join(known)}")


def load_file(path: Path) -> Lexicon:
    """A data file of the application's own, YAML or JSON.

    Raises:
        ModelError: it can't be read, or has no name and version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ModelError(f"{path} can't be read: {type(problem).__name__}") from None
    return _parse(text, str(path))


def _parse(text: str, place: str) -> Lexicon:
    try:
        data = json.loads(text) if place.endswith(".json") else yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError):
        raise ModelError(f"{place} is neither YAML nor JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("name"), str) or type(data.get("version")) is not int:
        raise ModelError(f"{place} needs a name (text) and a version (whole number)")
    if data["name"] not in ("variants", "sounds"):  # which characters are folded decides what other files match
        data = {**data, "variants": shipped("variants").digest}
    if "flags" in data:  # so does how text is read, and how its characters sound
        data = {**data, "reader": _READER, "syllables": shipped("sounds").digest}
    content = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
    return Lexicon(data["name"], data["version"], hashlib.sha256(content.encode()).hexdigest()[:16], data)


@cache
def _variants() -> dict[int, int]:
    data = shipped("variants").data
    return str.maketrans("".join(data["traditional"]), "".join(data["simplified"]))


def fold_variants(text: str) -> str:
    """`text` with the traditional characters that lexicons know replaced by simplified ones, one for one."""
    return text if text.isascii() else text.translate(_variants())

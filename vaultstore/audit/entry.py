"""An audit entry: the leaf that the log's tree hashes, and the lines that lie beside it.

Pure functions: time, salts and ids come in as arguments, so the same entry always has the same bytes, and
PostgreSQL's functions can be held to them. docs/formats/audit-leaf.md has the format, tests/vectors/audit_leaf.json
examples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vaultstore import merkle
from vaultstore.audit.lines import Line, pack_lines, subjects_root
from vaultstore.canonical import canonical_json
from vaultstore.errors import AuditError, UnsupportedOperation

__all__ = ["LEAF_VERSION", "Entry", "build_entry", "read_leaf", "verify_entry"]

LEAF_VERSION = 1

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_ROOT = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEXT = ("id", "time", "kind", "actor", "role", "purpose", "jti", "outcome", "subjects_root")
_TEXT_OR_NULL = ("case", "model")
_OTHERS = ("v", "attributes", "categories", "counts")
_REQUIRED = frozenset((*_TEXT, *_TEXT_OR_NULL, *_OTHERS))
_ALLOWED = _REQUIRED | {"field"}


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit entry, ready to be stored."""

    id: str
    leaf: str
    """RFC 8785 JSON: what is hashed."""
    lines: bytes
    """57 bytes a subject, see `vaultstore.audit.lines`."""
    outcomes: tuple[str, ...]
    """What the lines' outcome bytes point into."""
    leaf_hash: bytes
    """RFC 6962 hash of the leaf, 32 bytes."""

    def __repr__(self) -> str:
        return f"<Entry {self.id}>"


def build_entry(
    *,
    id: str,  # noqa: A002 - the field's name in the format
    time: datetime,
    kind: str,
    actor: str,
    role: str,
    attributes: Mapping[str, str],
    purpose: str,
    jti: str,
    case: str | None,
    model: str | None,
    categories: Iterable[str],
    counts: Mapping[str, int],
    outcome: str,
    lines: Sequence[Line],
    salts: bytes,
    field: str | None = None,
) -> Entry:
    """Build the entry for one act of the gate.

    `time` is aware, `salts` are 32 random bytes a line (one `os.urandom(32 * len(lines))`), `lines` keep their order.
    Raises AuditError where a line, a time or a category can't be written down.
    """
    if time.tzinfo is None:
        raise AuditError("the time of an audit entry must be aware")
    sorted_categories = sorted(set(categories))
    if any("," in category for category in sorted_categories):
        raise AuditError("the name of a category has no comma")
    packed, outcomes = pack_lines(lines, salts)
    content: dict[str, Any] = {
        "v": LEAF_VERSION,
        "id": id,
        "time": time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "kind": kind,
        "actor": actor,
        "role": role,
        "attributes": dict(attributes),
        "purpose": purpose,
        "jti": jti,
        "case": case,
        "model": model,
        "categories": sorted_categories,
        "counts": dict(counts),
        "outcome": outcome,
        "subjects_root": subjects_root(packed, outcomes, sorted_categories).hex(),
    }
    if field is not None:
        content["field"] = field
    try:
        leaf = canonical_json(content)
    except UnsupportedOperation:  # a lone surrogate, or a count beyond 2**53-1
        raise AuditError(f"audit entry {id} holds text or a number that JSON can't carry") from None
    return Entry(id, leaf.decode(), packed, outcomes, merkle.leaf_hash(leaf))


def read_leaf(leaf: str) -> dict[str, Any]:
    """The content of a leaf. Raises AuditError unless it is exactly what `build_entry` would have written."""
    try:
        content = json.loads(leaf)
        if not isinstance(content, dict):
            raise AuditError("an audit leaf is a JSON object")
        canonical = canonical_json(content) == leaf.encode()
    except (UnsupportedOperation, ValueError, RecursionError):  # Unicode and JSONDecodeError are ValueErrors
        raise AuditError("an audit leaf is not JSON") from None
    if not canonical:
        raise AuditError("an audit leaf is not in the canonical form of RFC 8785")
    if type(content.get("v")) is not int or content["v"] != LEAF_VERSION:
        raise AuditError(f"an audit leaf has a version other than {LEAF_VERSION}")
    for name in sorted(_REQUIRED - content.keys()):
        raise AuditError(f"an audit leaf lacks {name!r}")
    if content.keys() - _ALLOWED:
        raise AuditError("an audit leaf has a member that its version does not know")
    wrong = [name for name in _TEXT if not isinstance(content[name], str)]
    wrong += [name for name in _TEXT_OR_NULL if not isinstance(content[name], str | None)]
    wrong += ["field"] * ("field" in content and not isinstance(content["field"], str))
    wrong += ["time"] * (not wrong and not _TIME.fullmatch(content["time"]))
    wrong += ["subjects_root"] * (not wrong and not _ROOT.fullmatch(content["subjects_root"]))
    wrong += ["attributes"] * (not _is_object_of(str, content["attributes"]))
    wrong += ["counts"] * (not _is_object_of(int, content["counts"]))
    wrong += ["categories"] * (not _is_sorted_words(content["categories"]))
    if wrong:
        raise AuditError(f"an audit leaf has a malformed {wrong[0]!r}")
    return content


def verify_entry(leaf: str, lines: bytes, outcomes: Sequence[str]) -> dict[str, Any]:
    """Check that `lines` are the ones the leaf was made with, and give back the leaf's content.

    Raises AuditError naming what is malformed (of the lines, the first), or saying that the root differs.
    """
    content = read_leaf(leaf)
    if subjects_root(lines, outcomes, content["categories"]).hex() != content["subjects_root"]:
        raise AuditError(f"the lines of audit entry {content['id']} are not the ones its subjects_root was made over")
    return content


def _is_object_of(kind: type, value: object) -> bool:
    return isinstance(value, dict) and all(type(item) is kind for item in value.values())


def _is_sorted_words(value: object) -> bool:
    if not isinstance(value, list) or not all(isinstance(item, str) and "," not in item for item in value):
        return False
    return value == sorted(set(value))

"""A member's report: every line of the audit log about them, with what it takes to check it without us.

The report carries whole leaves, proofs that each is in the log of one signed checkpoint, and for each leaf the proof of
the member's own line. Of other members it has hashes and nothing else. docs/formats/report.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from vaultstore import merkle
from vaultstore.audit.checkpoint import encode
from vaultstore.audit.log import SIGNING_KEY
from vaultstore.canonical import canonical_json
from vaultstore.evidence.report_lines import OwnLine, own_lines
from vaultstore.evidence.report_source import Source
from vaultstore.keys import Signer
from vaultstore.policy import BoundPolicy
from vaultstore.records.base import rfc3339
from vaultstore.signed_note import Note, NoteKey, sign_note

if TYPE_CHECKING:
    from vaultstore.evidence.check_report import CheckedReport

__all__ = ["FORMAT", "MAKING", "Report", "Words", "build_report", "seal_text"]

FORMAT = "vaultstore/report/v1"

MAKING = "report"
"""Kind of the entry that says that a report was made. It is never withheld."""


@dataclass(frozen=True, slots=True)
class Words:
    """What a policy says of the names that stand in an audit leaf."""

    purposes: Mapping[str, str] = field(default_factory=dict)
    """Name -> description."""
    categories: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """Name -> (description, whether it is a projection: masks, no values)."""
    roles: Mapping[str, str] = field(default_factory=dict)
    withheld: Mapping[str, timedelta] = field(default_factory=dict)
    """Purpose -> how long a report withholds what it did."""
    timezone: str = "UTC"
    store_attribute: str = "store"

    @classmethod
    def of(cls, policy: BoundPolicy) -> Words:
        """The words of a policy."""
        return cls(
            {name: purpose.description for name, purpose in policy.purposes.items()},
            {name: (category.description, category.projection) for name, category in policy.categories.items()},
            policy.rules.roles,
            {name: purpose.report_after for name, purpose in policy.purposes.items()},
            policy.rules.timezone,
        )

    def holds_back(self, content: Mapping[str, Any], now: datetime) -> bool:
        """Whether a leaf's content is not to be told yet.

        Of a purpose that the policy no longer has nobody knows how long: the longest time that any has.
        """
        if content["kind"] == MAKING:
            return False
        longest = max(self.withheld.values(), default=timedelta(0))
        return now < datetime.fromisoformat(content["time"]) + self.withheld.get(content["purpose"], longest)


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it is handed over: `data` is the file, RFC 8785 JSON."""

    data: bytes = field(repr=False)

    def read(self) -> CheckedReport:
        """What it says, without checking that it is so: for whoever has just made it."""
        from vaultstore.evidence.check_report import read_report

        return read_report(self.data)

    def text(self) -> str:
        """The report to read, as plain text."""
        from vaultstore.evidence.report_text import text_of

        return text_of(self.read())

    def html(self) -> str:
        """The report to read and print, as one page that needs nothing else."""
        from vaultstore.evidence.report_html import page_of

        return page_of(self.read())


def build_report(
    source: Source,
    subject: uuid.UUID,
    *,
    origin: str,
    checkpoint: Note | None,
    last: int,
    now: datetime,
    words: Words,
    signer: Signer,
) -> Report:
    """Put the report together. `last` is the subject's last running number; `checkpoint` the log's newest.

    Whether the subject may have one, and that it was made, is for the caller to see to (`report_making`). Raises
    AuditError, ProofError and what the key service raises.
    """
    lines, told = [], _Told(words)
    found = sorted(own_lines(source, subject.bytes, checkpoint, last), key=lambda line: line.number)
    for line in found:
        withheld = words.holds_back(line.content, now)
        lines.append(_withheld(line) if withheld else _shown(line))
        if not withheld:
            told.leaf(line.content)
    content: dict[str, Any] = {
        "format": FORMAT,
        "origin": origin,
        "subject": str(subject),
        "made_at": rfc3339(now),
        "last": last,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "lines": lines,
        "words": told.words(),
    }
    return Report(canonical_json({**content, "seal": str(_seal(content, signer, origin))}))


def seal_text(origin: str, content: Mapping[str, Any]) -> str:
    """The text that the log's key signs: `content` is the report without its ``seal``.

    No checkpoint has this form: its second line would be a number.
    """
    return f"{FORMAT}\n{origin}\nsha256 {encode(sha256(canonical_json(dict(content))).digest())}\n"


def _seal(content: Mapping[str, Any], signer: Signer, origin: str) -> Note:
    text = seal_text(origin, content)
    signature = signer.sign(SIGNING_KEY, text.encode())
    key = NoteKey(origin, signer.public_keys(SIGNING_KEY)[signature.key_id])
    give: Callable[[bytes], bytes] = lambda _: signature.value  # noqa: E731
    note = sign_note(text, [(key, give)])
    note.verify([key])
    return note


def _shown(line: OwnLine) -> dict[str, Any]:
    return {
        "number": line.number,
        "leaf": line.leaf,
        "salt": encode(line.salt),
        "outcome": line.outcome,
        "place": list(line.place),
        "path": [encode(item) for item in line.path],
        "index": line.index,
        "hashes": [encode(item) for item in line.hashes],
    }


def _withheld(line: OwnLine) -> dict[str, Any]:
    """The number, and the leaf's hash: a later report has to open it. Salt, time and outcome would tell too much."""
    return {
        "number": line.number,
        "leaf_hash": encode(merkle.leaf_hash(line.leaf.encode())),
        "index": line.index,
        "hashes": [encode(item) for item in line.hashes],
    }


class _Told:
    """Words for the names that stand in the leaves that are shown, and no others."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._purposes: set[str] = set()
        self._categories: set[str] = set()
        self._roles: set[str] = set()

    def leaf(self, content: Mapping[str, Any]) -> None:
        self._purposes.add(content["purpose"])
        self._roles.add(content["role"])
        self._categories.update(content["categories"])

    def words(self) -> dict[str, Any]:
        known = self._words
        return {
            "purposes": {name: known.purposes[name] for name in self._purposes if name in known.purposes},
            "roles": {name: known.roles[name] for name in self._roles if name in known.roles},
            "categories": {
                name: {"description": known.categories[name][0], "masked": known.categories[name][1]}
                for name in self._categories
                if name in known.categories
            },
            "store_attribute": known.store_attribute,
            "timezone": known.timezone,
        }

"""Checking a member's report with the log's public key and nothing else: no store, no database, no network.

Nothing in the report is believed. What is shown of a line is read out of its leaf, and the leaf has to be in the log
that the key signed; the report as a whole has to be the one that the key sealed.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from vaultstore import merkle
from vaultstore.audit import read_leaf
from vaultstore.audit.checkpoint import Checkpoint, read_checkpoint
from vaultstore.canonical import canonical_json
from vaultstore.errors import AuditError, ProofError, UnsupportedOperation
from vaultstore.evidence.report import FORMAT, seal_text
from vaultstore.evidence.report_lines import sub_leaf
from vaultstore.signed_note import Note, NoteKey

__all__ = ["CheckedReport", "ReadLine", "check_report", "read_report"]

_MOST = 512 * 1024 * 1024
_TOP = {"format", "origin", "subject", "made_at", "last", "checkpoint", "lines", "words", "seal"}
_BOTH = {"number", "index", "hashes"}
_SHOWN = _BOTH | {"leaf", "salt", "outcome", "place", "path"}
_WITHHELD = _BOTH | {"leaf_hash"}
_WORDS = {"purposes", "roles", "categories", "store_attribute", "timezone"}
_MAX_NUMBER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line of a report. Of one that is withheld only number, hash and proof are there."""

    number: int
    """Running number of the subject; 0 for a line of before they were registered."""
    content: Mapping[str, Any] | None
    """The leaf's content; None where it is withheld."""
    outcome: str | None
    leaf_hash: bytes
    index: int | None
    """Place in the log; None where the entry waits to be signed over, so nothing proves it yet."""
    hashes: tuple[bytes, ...]
    salt: bytes = b""
    place: tuple[int, int] = (0, 0)
    path: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedReport:
    """What a report says."""

    content: Mapping[str, Any]
    """All of it, as JSON data."""
    origin: str
    subject: uuid.UUID
    made_at: datetime
    last: int
    """The subject's last running number when it was made."""
    lines: tuple[ReadLine, ...]
    """By number."""
    checkpoint: Note | None
    size: int
    """Entries of the log that the checkpoint is signed over."""

    @property
    def words(self) -> Mapping[str, Any]:
        """What the policy said of purposes, roles and categories when the report was made."""
        words: Mapping[str, Any] = self.content["words"]
        return words

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """(first, last) of each run of numbers that the report has no line for."""
        gaps, expected = [], 1
        for number in sorted({line.number for line in self.lines if line.number}):
            if number > expected:
                gaps.append((expected, number - 1))
            expected = number + 1
        if expected <= self.last:
            gaps.append((expected, self.last))
        return tuple(gaps)

    @property
    def withheld(self) -> tuple[int, ...]:
        """Numbers of the lines whose content is not told yet."""
        return tuple(line.number for line in self.lines if line.content is None)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Numbers of the lines that nothing proves yet."""
        return tuple(line.number for line in self.lines if line.index is None)


def read_report(data: bytes) -> CheckedReport:
    """Read a report without checking any proof in it. Raises ProofError that says what is malformed, and where."""
    content = _parse(data)
    checkpoint = None if content["checkpoint"] is None else Note.parse(_text(content, "checkpoint"))
    lines = [_line(at, line) for at, line in enumerate(content["lines"], 1)]
    try:
        subject, made_at = uuid.UUID(content["subject"]), datetime.fromisoformat(content["made_at"])
    except ValueError:
        raise ProofError("the report's subject or time is malformed") from None
    if str(subject) != content["subject"] or made_at.tzinfo is None:
        raise ProofError("the report's subject or time is malformed")
    numbers = [line.number for line in lines]
    if numbers != sorted(numbers):
        raise ProofError("the report's lines are not in the order of their numbers")
    for number, times in Counter(numbers).items():
        if number and times > 1:
            raise ProofError(f"line {number} stands in the report {times} times: a number is given once")
    if numbers and numbers[-1] > content["last"]:
        raise ProofError(f"line {numbers[-1]} is beyond the last number that the report names, {content['last']}")
    size = 0 if checkpoint is None else Checkpoint.parse(checkpoint.text).size
    return CheckedReport(
        content, _text(content, "origin"), subject, made_at, content["last"], tuple(lines), checkpoint, size
    )


def check_report(data: bytes, keys: Sequence[NoteKey], earlier: bytes | None = None) -> CheckedReport:
    """Check every line of a report, its numbers and its seal, and give back what it says.

    `keys` are the log's public keys (and its witnesses'); the first one names the log. With `earlier`, a former report
    of the same subject, this one has to have each of its lines: a line that was withheld then has to be shown, or still
    withheld, under the same hash. Raises ProofError that names the line.
    """
    if not keys:
        raise ProofError("no public key of the log was given")
    origin = keys[0].name
    report = read_report(data)
    if report.origin != origin:
        raise ProofError(f"the report is of the log {report.origin[:100]}, and the key is of {origin}")
    checkpoint = None
    if report.checkpoint is not None:
        try:
            checkpoint, _ = read_checkpoint(report.checkpoint, origin, keys)
        except ProofError as flaw:
            raise ProofError(f"the report's checkpoint: {flaw}") from None
    for line in report.lines:
        try:
            _check_line(line, report.subject, checkpoint)
        except (ProofError, AuditError) as flaw:
            raise ProofError(f"line {line.number}: {flaw}") from None
    _check_seal(report, origin, keys)
    if earlier is not None:
        _check_earlier(report, check_report(earlier, keys))
    return report


def _check_line(line: ReadLine, subject: uuid.UUID, checkpoint: Checkpoint | None) -> None:
    if line.index is not None:
        if checkpoint is None:
            raise ProofError("it names a place in the log, and the report has no checkpoint")
        merkle.verify_inclusion(line.leaf_hash, line.index, checkpoint.size, line.hashes, checkpoint.root)
    elif line.hashes:
        raise ProofError("it has hashes of a proof, and no place in the log")
    if line.content is None:
        return
    assert line.outcome is not None
    hashed = sub_leaf(line.salt, subject.bytes, line.number, line.content["categories"], line.outcome)
    try:
        merkle.verify_inclusion(hashed, *line.place, line.path, bytes.fromhex(line.content["subjects_root"]))
    except ProofError:
        raise ProofError(
            f"salt, number, outcome or subject are not those that entry {line.content['id']} was made with"
        ) from None


def _check_seal(report: CheckedReport, origin: str, keys: Iterable[NoteKey]) -> None:
    """The signature over the report as a whole: headings, words, and that no line was taken out since."""
    unsealed = {name: value for name, value in report.content.items() if name != "seal"}
    try:
        note = Note.parse(report.content["seal"])
        note.verify([key for key in keys if key.name == origin])
    except ProofError as flaw:
        raise ProofError(f"the report's seal: {flaw}") from None
    if note.text != seal_text(origin, unsealed):
        raise ProofError(
            "the report is not the one that was sealed: each line that it has holds, but a line was taken out, or"
            " something outside of the lines was altered"
        )


def _check_earlier(report: CheckedReport, earlier: CheckedReport) -> None:
    if earlier.subject != report.subject:
        raise ProofError("the earlier report is of another subject")
    if earlier.made_at > report.made_at:
        raise ProofError("the report that was called earlier is later than this one")
    if earlier.last > report.last:
        raise ProofError(f"the earlier report counts {earlier.last} lines, this one {report.last}: the log went back")
    now = {line.number: line for line in report.lines if line.number}
    for line in earlier.lines:
        if not line.number:
            continue
        if line.number not in now:
            raise ProofError(f"line {line.number}: the earlier report has it, this one does not: it was removed")
        if now[line.number].leaf_hash != line.leaf_hash:
            raise ProofError(f"line {line.number}: it is not the entry that the earlier report named: it was replaced")


# ------------------------------------------------------------------------------------------------------- reading


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > _MOST:
        raise ProofError(f"a report has at most {_MOST} bytes")
    body = data.removesuffix(b"\n")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise ProofError("the file is no report: it is not JSON") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ProofError(f"the file is no report of the format {FORMAT}")
    try:
        canonical = canonical_json(content) == body
    except UnsupportedOperation:
        canonical = False
    if not canonical:
        raise ProofError("the report is not in the canonical form of RFC 8785: it was altered after it was made")
    if content.keys() != _TOP:
        raise ProofError("the report lacks a member, or has one that its version does not know")
    for name in ("origin", "subject", "made_at", "seal"):
        _text(content, name)
    if not _is_count(content["last"]) or not isinstance(content["lines"], list):
        raise ProofError("the report's last number or its lines are malformed")
    _check_words(content["words"])
    return content


def _check_words(words: object) -> None:
    told = cast("dict[str, Any]", words)
    good = (
        isinstance(words, dict)
        and told.keys() == _WORDS
        and all(isinstance(told[name], str) for name in ("store_attribute", "timezone"))
        and all(_is_object_of(str, told[name]) for name in ("purposes", "roles"))
        and _is_object_of(dict, told["categories"])
        and all(
            one.keys() == {"description", "masked"}
            and isinstance(one["description"], str)
            and isinstance(one["masked"], bool)
            for one in told["categories"].values()
        )
    )
    if not good:
        raise ProofError("the report's words are malformed")


def _line(at: int, value: object) -> ReadLine:
    if not isinstance(value, dict) or not _is_count(value.get("number")):
        raise ProofError(f"the report's line at place {at} has no number")
    number = value["number"]
    try:
        if value.keys() not in (_SHOWN, _WITHHELD):
            raise ProofError("it lacks a member, or has one that its version does not know")
        if value["index"] is not None and not _is_count(value["index"]):
            raise ProofError("its place in the log is malformed")
        hashes = _hashes(value["hashes"])
        if "leaf_hash" in value:
            return ReadLine(number, None, None, _hash(value["leaf_hash"]), value["index"], hashes)
        leaf, place = _text(value, "leaf"), value["place"]
        if not isinstance(place, list) or len(place) != 2 or not all(map(_is_count, place)):
            raise ProofError("its place in the entry is malformed")
        return ReadLine(
            number,
            read_leaf(leaf),
            _text(value, "outcome"),
            merkle.leaf_hash(leaf.encode()),
            value["index"],
            hashes,
            _hash(value["salt"]),
            (place[0], place[1]),
            _hashes(value["path"]),
        )
    except (ProofError, AuditError) as flaw:
        raise ProofError(f"line {number}: {flaw}") from None


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content[name]
    if not isinstance(value, str):
        raise ProofError(f"{name!r} is not text")
    return value


def _hashes(value: object) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > 64:
        raise ProofError("its hashes are malformed")
    return tuple(map(_hash, value))


def _hash(value: object) -> bytes:
    if isinstance(value, str):
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) == merkle.HASH_SIZE and base64.b64encode(raw).decode() == value:
            return raw
    raise ProofError(f"a hash or salt of it is not {merkle.HASH_SIZE} bytes in base64")


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _is_object_of(kind: type, value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())

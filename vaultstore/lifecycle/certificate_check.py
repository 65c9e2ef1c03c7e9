"""Reading and checking a certificate of erasure: with the log's public key, and without a store or a network."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vaultstore import merkle
from vaultstore.audit.checkpoint import Checkpoint, decode, read_checkpoint
from vaultstore.audit.entry import read_leaf
from vaultstore.canonical import canonical_json
from vaultstore.errors import AuditError, ProofError, UnsupportedOperation
from vaultstore.lifecycle.certificate import FORMAT, seal_text
from vaultstore.lifecycle.erasure_steps import FORMAT as BODY_FORMAT
from vaultstore.records.erasures import ENTRY, body_digest
from vaultstore.signed_note import Note, NoteKey

__all__ = ["CheckedAct", "CheckedCertificate", "check_certificate", "read_certificate"]

_TOP = frozenset({"format", "origin", "subject", "made_at", "checkpoint", "acts", "seal"})
_ACT = frozenset({"body", "leaf", "index", "hashes"})
_BODY: Mapping[str, type | tuple[type, ...]] = {
    "format": str,
    "act": str,
    "number": int,
    "subject": str,
    "at": str,
    "reason": str,
    "case": (str, type(None)),
    "nonce": str,
    "keys": list,
    "held": list,
    "blanked": list,
    "deleted": list,
    "kept": list,
    "not_declared": list,
    "log": dict,
    "horizon": dict,
}
_ITEMS: Mapping[str, Mapping[str, type]] = {
    "keys": {"category": str, "count": int, "ids": list},
    "held": {"case": str, "scope": str, "keys": int},
    "blanked": {"model": str, "table": str, "columns": list, "rows": int},
    "deleted": {"model": str, "table": str, "rows": int},
    "kept": {"model": str, "column": str, "because": str},
    "not_declared": {"model": str, "columns": list},
}
_LOG = frozenset({"entries", "lines", "acts", "last"})
_MOST = 16 * 1024 * 1024
_MOST_HASHES = 64


@dataclass(frozen=True, slots=True)
class CheckedAct:
    """One act: the erasure, or the release of what a case had held."""

    content: Mapping[str, Any]
    """The body, as JSON data."""
    body: str
    leaf: str
    entry: Mapping[str, Any]
    """The content of its audit leaf."""
    index: int
    hashes: tuple[bytes, ...]

    @property
    def at(self) -> datetime:
        """When it was done."""
        return datetime.fromisoformat(self.content["at"])

    @property
    def keys(self) -> int:
        """How many data keys it destroyed."""
        return sum(each["count"] for each in self.content["keys"])


@dataclass(frozen=True, slots=True)
class CheckedCertificate:
    """What a certificate says."""

    content: Mapping[str, Any]
    origin: str
    subject: uuid.UUID
    made_at: datetime
    acts: tuple[CheckedAct, ...]
    checkpoint: Note
    size: int
    """Entries of the log that the checkpoint is signed over."""

    @property
    def held(self) -> Sequence[Mapping[str, Any]]:
        """What open cases still held when it was made."""
        held: Sequence[Mapping[str, Any]] = self.acts[-1].content["held"]
        return held

    @property
    def horizon(self) -> Mapping[str, datetime | None]:
        """Kind of copy -> when the last one that still has a destroyed key is gone; None: nobody said."""
        ends: dict[str, datetime | None] = {}
        for act in self.acts:
            for kind, end in act.content["horizon"].items():
                at = None if end is None else datetime.fromisoformat(end)
                known = ends.get(kind, at)
                ends[kind] = None if at is None or known is None else max(at, known)
        return ends


def read_certificate(data: bytes) -> CheckedCertificate:
    """Read a certificate without checking any proof in it. Raises ProofError that says what is malformed."""
    content = _parse(data)
    acts = tuple(_act(number, value) for number, value in enumerate(content["acts"], 1))
    if not acts:
        raise ProofError("the certificate has no act")
    try:
        subject, made_at = uuid.UUID(content["subject"]), datetime.fromisoformat(content["made_at"])
    except ValueError:
        raise ProofError("the certificate's subject or time is malformed") from None
    if str(subject) != content["subject"] or made_at.tzinfo is None:
        raise ProofError("the certificate's subject or time is malformed")
    try:
        checkpoint = Note.parse(content["checkpoint"])
        size = Checkpoint.parse(checkpoint.text).size
    except ProofError as flaw:
        raise ProofError(f"the certificate's checkpoint: {flaw}") from None
    return CheckedCertificate(content, content["origin"], subject, made_at, acts, checkpoint, size)


def check_certificate(data: bytes, keys: Sequence[NoteKey]) -> CheckedCertificate:
    """Check each act against the log's leaf, each leaf against the checkpoint, and the seal over all of it.

    `keys` are the log's public keys (and its witnesses'); the first one names the log. Raises ProofError that says what
    does not hold.
    """
    if not keys:
        raise ProofError("no public key of the log was given")
    origin = keys[0].name
    certificate = read_certificate(data)
    if certificate.origin != origin:
        raise ProofError(f"the certificate is of the log {certificate.origin[:100]}, and the key is of {origin}")
    try:
        checkpoint, _ = read_checkpoint(certificate.checkpoint, origin, keys)
    except ProofError as flaw:
        raise ProofError(f"the certificate's checkpoint: {flaw}") from None
    for number, act in enumerate(certificate.acts, 1):
        try:
            _check_act(number, act, certificate.subject, checkpoint)
        except ProofError as flaw:
            raise ProofError(f"act {number}: {flaw}") from None
    _check_seal(certificate, origin, keys)
    return certificate


def _check_act(number: int, act: CheckedAct, subject: uuid.UUID, checkpoint: Checkpoint) -> None:
    said = act.content
    if act.entry.get("field") != body_digest(act.body):
        raise ProofError("its body is not the one that its entry in the audit log was made with")
    if act.entry["kind"] != ENTRY or act.entry["outcome"] != said["act"]:
        raise ProofError("its entry in the audit log is of something else")
    if said["subject"] != str(subject):
        raise ProofError("it is of another subject than the certificate")
    if said["number"] != number or said["act"] not in (("erased",) if number == 1 else ("released", "again")):
        raise ProofError("the acts are not all of one erasure, in their order")
    merkle.verify_inclusion(
        merkle.leaf_hash(act.leaf.encode()), act.index, checkpoint.size, act.hashes, checkpoint.root
    )


def _check_seal(certificate: CheckedCertificate, origin: str, keys: Iterable[NoteKey]) -> None:
    unsealed = {name: value for name, value in certificate.content.items() if name != "seal"}
    try:
        note = Note.parse(certificate.content["seal"])
        note.verify([key for key in keys if key.name == origin])
    except ProofError as flaw:
        raise ProofError(f"the certificate's seal: {flaw}") from None
    if note.text != seal_text(origin, unsealed):
        raise ProofError(
            "the certificate is not the one that was sealed: what it says of each act holds, but an act was taken out,"
            " or something outside of the acts was altered"
        )
    if str(note) != certificate.content["seal"] or len(note.signatures) != 1:
        raise ProofError("the certificate's seal holds, and has something added")


# ------------------------------------------------------------------------------------------------------- reading


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > _MOST:
        raise ProofError(f"a certificate has at most {_MOST} bytes")
    body = data.removesuffix(b"\n")
    content = _json(body, "the file is no certificate")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ProofError(f"the file is no certificate of the format {FORMAT}")
    try:
        canonical = canonical_json(content) == body
    except UnsupportedOperation:
        canonical = False
    if not canonical:
        raise ProofError("the certificate is not in the canonical form of RFC 8785: it was altered after it was made")
    if content.keys() != _TOP:
        raise ProofError("the certificate lacks a member, or has one that its version does not know")
    for name in _TOP - {"acts"}:
        if not isinstance(content[name], str):
            raise ProofError(f"the certificate's {name!r} is not text")
    if not isinstance(content["acts"], list):
        raise ProofError("the certificate's acts are no list")
    return content


def _json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ProofError(f"{what}: it is not JSON") from None


def _act(number: int, value: object) -> CheckedAct:
    if not isinstance(value, dict) or value.keys() != _ACT:
        raise ProofError(f"act {number} lacks a member, or has one that its version does not know")
    body, leaf, index, hashes = (value[name] for name in ("body", "leaf", "index", "hashes"))
    if not isinstance(body, str) or not isinstance(leaf, str) or type(index) is not int or index < 0:
        raise ProofError(f"act {number}: its body, its leaf or its place in the log is malformed")
    if not isinstance(hashes, list) or len(hashes) > _MOST_HASHES or not all(isinstance(each, str) for each in hashes):
        raise ProofError(f"act {number}: the hashes of its proof are malformed")
    try:
        entry = read_leaf(leaf)
        proof = tuple(decode(each, "a hash of its proof") for each in hashes)
        content = _json(body, "its body")
        _check_body(content)
    except AuditError as flaw:
        raise ProofError(f"act {number}: {flaw}") from None
    return CheckedAct(content, body, leaf, entry, index, proof)


def _check_body(content: Any) -> None:
    if not isinstance(content, dict) or content.get("format") != BODY_FORMAT:
        raise ProofError(f"its body is not of the format {BODY_FORMAT}")
    if content.keys() != _BODY.keys():
        raise ProofError("its body lacks a member, or has one that its version does not know")
    wrong = [name for name, kind in _BODY.items() if not isinstance(content[name], kind)]
    for name, shape in _ITEMS.items():
        if name not in wrong and not all(_is_shaped(item, shape) for item in content[name]):
            wrong.append(name)
    if not wrong and not (content["log"].keys() == _LOG and all(type(each) is int for each in content["log"].values())):
        wrong.append("log")
    times = [content["at"], *(each for each in content["horizon"].values() if each is not None)] if not wrong else []
    if not wrong and not all(map(_is_time, times)):
        wrong.append("at")
    if wrong:
        raise ProofError(f"its body has a malformed {wrong[0]!r}")


def _is_shaped(item: object, shape: Mapping[str, type]) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == shape.keys()
        and all(type(item[name]) is kind for name, kind in shape.items())
    )


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False

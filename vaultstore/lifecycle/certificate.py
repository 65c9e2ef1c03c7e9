"""The certificate of an erasure: what each act did, with the proof that the audit log says so, sealed by the log's key.

It names the member by their id and nothing else of them. Whoever has it checks it with the log's public key alone.
docs/formats/certificate.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from vaultstore.audit.checkpoint import LeafProof, encode
from vaultstore.audit.log import SIGNING_KEY
from vaultstore.canonical import canonical_json
from vaultstore.errors import UnsupportedOperation
from vaultstore.keys import Signer
from vaultstore.lifecycle.parts import Parts
from vaultstore.records import erasures
from vaultstore.records.base import rfc3339
from vaultstore.records.erasures import StoredAct
from vaultstore.signed_note import Note, NoteKey, sign_note

if TYPE_CHECKING:
    from vaultstore.lifecycle.certificate_check import CheckedCertificate

__all__ = ["FORMAT", "Certificate", "build_certificate", "certify", "seal_text"]

FORMAT = "vaultstore/certificate/v1"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as it is handed over: `data` is the file, RFC 8785 JSON."""

    data: bytes = field(repr=False)

    def read(self) -> CheckedCertificate:
        """What it says, without checking that it is so: for whoever has just made it."""
        from vaultstore.lifecycle.certificate_check import read_certificate

        return read_certificate(self.data)


def certify(parts: Parts, subject: uuid.UUID) -> Certificate:
    """The certificate of a subject's erasure, under the newest checkpoint; one is signed where the acts need it.

    Raises UnsupportedOperation where the subject was not erased, AuditError where the log does not hold.
    """
    with parts.gate_engine.connect() as connection:
        acts = erasures.acts(connection, subject.bytes)
    if not acts:
        raise UnsupportedOperation(f"subject {subject} was not erased, so there is nothing to certify")
    log, entries = parts.log(), [act.entry for act in acts]
    proofs = log.prove(entries) if log.latest() is not None else {}
    if len(proofs) < len(set(entries)):
        log.checkpoint(parts.keys, parts.now)
        proofs = log.prove(entries)
    return build_certificate(subject, acts, proofs, origin=log.origin, now=parts.now, signer=parts.keys)


def build_certificate(
    subject: uuid.UUID,
    acts: list[StoredAct],
    proofs: Mapping[str, tuple[str, LeafProof]],
    *,
    origin: str,
    now: datetime,
    signer: Signer,
) -> Certificate:
    """Put the certificate together. `proofs` are the leaf and proof of each act's entry, under one checkpoint."""
    told = []
    for act in acts:
        leaf, proof = proofs[act.entry]
        hashes = [encode(each) for each in proof.hashes]
        told.append({"body": act.body, "leaf": leaf, "index": proof.index, "hashes": hashes})
    content: dict[str, Any] = {
        "format": FORMAT,
        "origin": origin,
        "subject": str(subject),
        "made_at": rfc3339(now),
        "checkpoint": str(proofs[acts[0].entry][1].checkpoint),
        "acts": told,
    }
    return Certificate(canonical_json({**content, "seal": str(_seal(content, signer, origin))}))


def seal_text(origin: str, content: Mapping[str, Any]) -> str:
    """The text that the log's key signs: `content` is the certificate without its ``seal``.

    No checkpoint has this form, whose second line would be a number, and no report, whose first line is another.
    """
    return f"{FORMAT}\n{origin}\nsha256 {encode(sha256(canonical_json(dict(content))).digest())}\n"


def _seal(content: Mapping[str, Any], signer: Signer, origin: str) -> Note:
    text = seal_text(origin, content)
    signature = signer.sign(SIGNING_KEY, text.encode())
    key = NoteKey(origin, signer.public_keys(SIGNING_KEY)[signature.key_id])
    note = sign_note(text, [(key, lambda _: signature.value)])
    note.verify([key])
    return note

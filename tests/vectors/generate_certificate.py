"""Write certificate.json: a certificate of erasure that holds, and ones with one flaw each.

The signing keys are derived from fixed texts, and Ed25519 is deterministic: the file is the same each time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

OUT = Path(__file__).with_name("certificate.json")

ORIGIN = "example.com/members"
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"vaultstore certificate vectors").digest())
OTHER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"another log's key").digest())
ANNA, BO = (f"018df9a0-0000-7000-8000-00000000000{n}" for n in "ab")
THREAD = "018df9a0-0000-7000-8000-0000000000cc"


def text(value: Any) -> str:
    """RFC 8785, of values without numbers that need thought."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def note_key(key: Ed25519PrivateKey, name: str = ORIGIN) -> str:
    public = b"\x01" + key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    digest = hashlib.sha256(f"{name}\n".encode() + public).digest()[:4]
    return f"{name}+{digest.hex()}+{base64.b64encode(public).decode()}"


def signed(note: str, key: Ed25519PrivateKey = KEY) -> str:
    digest = bytes.fromhex(note_key(key).split("+")[1])
    return f"{note}\n\u2014 {ORIGIN} {base64.b64encode(digest + key.sign(note.encode())).decode()}\n"


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def body(number: int, **changes: Any) -> str:
    act = {
        "format": "vaultstore/erasure/v1",
        "act": "erased",
        "number": number,
        "subject": ANNA,
        "at": "2024-03-01T12:00:00.000250Z",
        "reason": "asked for it",
        "case": None,
        "nonce": f"018df9a0-0000-7000-8000-0000000000{number:02}",
        "keys": [{"category": "contact", "count": 2, "ids": [7, 4294967295]}],
        "held": [{"case": "c-1", "scope": THREAD, "keys": 1}],
        "blanked": [{"model": "Member", "table": "members", "columns": ["nickname", "phone_bidx"], "rows": 1}],
        "deleted": [{"model": "Lead", "table": "leads", "rows": 3}],
        "kept": [{"model": "Member", "column": "store", "because": "a law says so"}],
        "not_declared": [{"model": "Member", "columns": ["created_at"]}],
        "log": {"entries": 2, "lines": 2, "acts": 0, "last": 2},
        "horizon": {"data_backups": "2024-03-31T12:00:00.000250Z", "vault_snapshots": None},
    }
    return text(act | changes)


RELEASE = {
    "act": "released",
    "at": "2024-04-01T12:00:00.000000Z",
    "reason": "the case that held it was closed",
    "case": "c-1",
    "keys": [{"category": "conversation", "count": 1, "ids": [9]}],
    "held": [],
    "horizon": {"data_backups": "2024-05-01T12:00:00.000000Z", "vault_snapshots": None},
}


def leaf(number: int, act: str, said: str, **changes: Any) -> str:
    content = {
        "v": 1,
        "id": f"018df9a0-0000-7000-8000-0000000001{number:02}",
        "time": json.loads(said)["at"],
        "kind": "erase",
        "actor": "p-0123456789abcdef0123456789abcdef",
        "role": "operator",
        "attributes": {},
        "purpose": "privacy.erasure",
        "jti": "operator",
        "case": None,
        "model": None,
        "categories": [],
        "counts": {"keys": 1},
        "outcome": act,
        "field": "sha256:" + hashlib.sha256(said.encode()).hexdigest(),
        "subjects_root": hashlib.sha256(b"").hexdigest(),
    }
    return text(content | changes)


def certificate(
    acts: list[tuple[str, str]], *, key: Ed25519PrivateKey = KEY, edit: Callable[[dict[str, Any]], None] | None = None,
    late: Callable[[dict[str, Any]], None] | None = None, **changes: Any,
) -> str:  # fmt: skip
    """Two leaves: a tree whose root is their parent. `edit` changes it before it is sealed, `late` after."""
    one, two = (hashlib.sha256(b"\x00" + each.encode()).digest() for _, each in acts)
    root = hashlib.sha256(b"\x01" + one + two).digest()
    content: dict[str, Any] = {
        "format": "vaultstore/certificate/v1",
        "origin": ORIGIN,
        "subject": ANNA,
        "made_at": "2024-04-02T00:00:00.000000Z",
        "checkpoint": signed(f"{ORIGIN}\n2\n{b64(root)}\n", key),
        "acts": [
            {"body": said, "leaf": entry, "index": at, "hashes": [b64(two if at == 0 else one)]}
            for at, (said, entry) in enumerate(acts)
        ],
    } | changes
    if edit is not None:
        edit(content)
    digest = hashlib.sha256(text(content).encode()).digest()
    content["seal"] = signed(f"vaultstore/certificate/v1\n{ORIGIN}\nsha256 {b64(digest)}\n", key)
    if late is not None:
        late(content)
    return text(content)


def main() -> None:
    first, second = body(1), body(2, **RELEASE)
    acts = [(first, leaf(1, "erased", first)), (second, leaf(2, "released", second))]

    def acts_of(one: str, two: str = second, **of_leaf: Any) -> list[tuple[str, str]]:
        return [(one, leaf(1, json.loads(one)["act"], one, **of_leaf)), (two, leaf(2, json.loads(two)["act"], two))]

    def set_in(place: int, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda content: content["acts"][place].__setitem__(name, value)

    def put(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
        return lambda content: content.__setitem__(name, value)

    def refused(name: str, reason: str, made: str) -> dict[str, str]:
        return {"name": name, "reason": reason, "error": "ProofError", "certificate": made}

    altered = first.replace("asked for it", "was told to")
    lost = {name: value for name, value in json.loads(first).items() if name != "held"}
    content = {
        "about": "Certificates of erasure, docs/formats/certificate.md. Written by generate_certificate.py.",
        "key": note_key(KEY),
        "good": certificate(acts),
        "says": {"subject": ANNA, "acts": ["erased", "released"], "keys": [2, 1], "held": 0, "size": 2},
        "refused": [
            refused("a body altered", "act 1: its body is not the one that its entry", certificate(
                acts, edit=set_in(0, "body", altered))),
            refused("a leaf altered", "act 1: the proof does not lead", certificate(
                [(first, acts[0][1]), acts[1]],
                edit=set_in(0, "leaf", leaf(1, "erased", first, actor="p-" + "0" * 32)))),
            refused("a proof altered", "act 2: the proof does not lead", certificate(
                acts, edit=set_in(1, "hashes", [b64(bytes(32))]))),
            refused("a place altered", "act 1: the proof does not lead", certificate(acts, edit=set_in(0, "index", 1))),
            refused("an act of another subject", "act 1: it is of another subject", certificate(
                acts_of(body(1, subject=BO)))),
            refused("another subject", "act 1: it is of another subject", certificate(acts, subject=BO)),
            refused("an entry of another kind", "act 1: its entry in the audit log is of something else", certificate(
                acts_of(first, kind="seal"))),
            refused("the erasure left out", "act 1: the acts are not all of one erasure", certificate(
                acts, edit=lambda c: c["acts"].pop(0))),
            refused("the release left out after sealing", "is not the one that was sealed", certificate(
                acts, late=lambda c: c["acts"].pop())),
            refused("another time after sealing", "is not the one that was sealed", certificate(
                acts, late=put("made_at", "2024-04-03T00:00:00.000000Z"))),
            refused("no act", "has no act", certificate(acts, edit=put("acts", []))),
            refused("another log's key", "checkpoint: no key that is trusted here", certificate(acts, key=OTHER)),
            refused("another log", "is of the log example.com/others", certificate(acts, origin="example.com/others")),
            refused("a member too many", "has one that its version does not know", certificate(acts, more="x")),
            refused("another version", "no certificate of the format", certificate(
                acts, format="vaultstore/certificate/v2")),
            refused("a body without what is held", "act 1: its body lacks a member", certificate(
                acts_of(text(lost)))),
            refused("a body of another version", "act 1: its body is not of the format", certificate(
                acts_of(body(1, format="vaultstore/erasure/v2")))),
            refused("a count as text", "act 1: its body has a malformed 'keys'", certificate(
                acts_of(body(1, keys=[{"category": "contact", "count": "2", "ids": []}])))),
            refused("spaces", "not in the canonical form", certificate(acts).replace('":"', '": "', 1)),
            refused("no JSON", "it is not JSON", certificate(acts)[:-1]),
        ],
    }  # fmt: skip
    OUT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write audit_leaf.json: entries as the format builds them, and what their verification refuses.

Run it after a deliberate change of the format only: the file is what PostgreSQL's functions and any other
implementation are held to.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from vaultstore.audit import Line, build_entry, erase_line
from vaultstore.audit.lines import LINE_SIZE

OUT = Path(__file__).with_name("audit_leaf.json")

BASE: dict[str, Any] = {
    "id": "018df9a0-1111-7000-8000-000000000001",
    "time": "2024-03-01T12:00:00.000250+00:00",
    "kind": "disclose",
    "actor": "u-17",
    "role": "matchmaker",
    "attributes": {"store": "sh-01"},
    "purpose": "sales.outreach",
    "jti": "018df9a0-2222-7000-8000-000000000002",
    "case": None,
    "model": "Member",
    "categories": ["sales_card"],
    "counts": {"subjects": 0},
    "outcome": "disclosed",
    "lines": [],
}


def subject(n: int) -> str:
    return hashlib.sha256(b"subject %d" % n).digest()[:16].hex()


def lines(count: int, outcomes: tuple[str, ...] = ("disclosed",)) -> list[dict[str, Any]]:
    return [{"subject": subject(n), "number": n, "outcome": outcomes[n % len(outcomes)]} for n in range(1, count + 1)]


CASES: dict[str, dict[str, Any]] = {
    "no subject": {"outcome": "refused:not.granted"},
    "one subject": {"lines": lines(1), "counts": {"subjects": 1}},
    "three subjects, two outcomes": {
        "lines": lines(3, ("disclosed", "subject.restricted")),
        "counts": {"subjects": 3, "refused": 1},
        "outcome": "partial",
    },
    "seven subjects, several categories out of order": {
        "lines": lines(7),
        "counts": {"subjects": 7},
        "categories": ["profile", "contact", "preference"],
        "purpose": "matching",
    },
    "a case, a local time, text that is not ASCII": {
        "case": "2024-沪-17",
        "time": "2024-03-01T20:00:00+08:00",
        "actor": '红娘-3 "x" \\ \u2028',
        "attributes": {"store": "上海一店", "city": "上海"},
        "purpose": "care.complaint",
        "categories": ["care_card"],
        "lines": lines(2),
        "counts": {"subjects": 2},
    },
    "a search names its field": {
        "kind": "search",
        "field": "phone",
        "categories": [],
        "counts": {"needles": 2},
        "purpose": "care.complaint",
    },
    "the largest number": {
        "lines": [{"subject": subject(1), "number": 2**63 - 1, "outcome": "disclosed"}],
        "counts": {"subjects": 1},
    },
}


def build(changes: dict[str, Any]) -> dict[str, Any]:
    given = BASE | changes
    given["salts"] = b"".join(
        hashlib.sha256(f"{given['id']} {n}".encode()).digest() for n in range(len(given["lines"]))
    ).hex()
    entry = build_entry(
        **given
        | {
            "time": datetime.fromisoformat(given["time"]),
            "salts": bytes.fromhex(given["salts"]),
            "lines": [Line(bytes.fromhex(x["subject"]), x["number"], x["outcome"]) for x in given["lines"]],
        }
    )
    return {
        "given": given,
        "lines": entry.lines.hex(),
        "outcomes": list(entry.outcomes),
        "subjects_root": json.loads(entry.leaf)["subjects_root"],
        "leaf": entry.leaf,
        "leaf_hash": entry.leaf_hash.hex(),
    }


def main() -> None:
    entries = {name: build(changes) for name, changes in CASES.items()}
    good = entries["three subjects, two outcomes"]
    leaf, packed, outcomes = good["leaf"], bytes.fromhex(good["lines"]), good["outcomes"]
    first, rest = packed[:LINE_SIZE], packed[LINE_SIZE:]
    erased = erase_line(packed, outcomes, ["sales_card"], first[:16])

    def refused(name: str, reason: str, **changes: Any) -> dict[str, Any]:
        vector = {"leaf": leaf, "lines": packed, "outcomes": outcomes} | changes
        return {"name": name, "reason": reason, "error": "AuditError", **vector, "lines": vector["lines"].hex()}

    differs = "are not the ones its subjects_root was made over"
    content = {
        "about": "Audit leaves and lines, docs/formats/audit-leaf.md; bytes in hex. Written by generate_audit.py.",
        "entries": [{"name": name, **vector} for name, vector in entries.items()],
        "erased": {"leaf": leaf, "lines": erased.hex(), "outcomes": outcomes},
        "refused": [
            refused("a subject changed", differs, lines=bytes([first[0] ^ 1]) + first[1:] + rest),
            refused("a salt changed", differs, lines=first[:16] + bytes([first[16] ^ 1]) + first[17:] + rest),
            refused("a number changed", differs, lines=first[:48] + bytes([first[48] ^ 1]) + first[49:] + rest),
            refused("an outcome changed", differs, lines=first[:56] + b"\1" + rest),
            refused("lines swapped", differs, lines=rest[:LINE_SIZE] + first + rest[LINE_SIZE:]),
            refused("a line missing", differs, lines=rest),
            refused("a line cut short", "line 3 is cut short: 56 bytes", lines=packed[:-1]),
            refused("an unknown outcome", "line 1: outcome 9 is not among", lines=first[:56] + b"\x09" + rest),
            refused("erased in name only", "line 1 is marked as erased", lines=first[:56] + b"\xff" + rest),
            refused("outcomes exchanged", differs, outcomes=outcomes[::-1]),
            refused("another actor", "canonical", leaf=leaf.replace('"actor":"u-17"', '"actor": "u-18"')),
            refused("another version", "version", leaf=leaf.replace('"v":1', '"v":2')),
            refused("a member missing", "lacks 'jti'", leaf=leaf.replace(f'"jti":"{BASE["jti"]}",', "")),
            refused("a member too many", "does not know", leaf=leaf[:-1] + ',"w":0}'),
        ],
    }
    OUT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

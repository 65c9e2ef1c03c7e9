"""Write export.json: a member's copy, built by hand from docs/formats/export.md, and what it says.

Run it after a deliberate change of the format only.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

OUT = Path(__file__).with_name("export.json")

SUBJECT = "76cc0573-08ec-479a-a025-33dc0a68013d"
ROWS: dict[str, list[dict[str, Any]]] = {
    "Person": [
        {
            "id": SUBJECT,
            "town": "上海",
            "born": "1988-02-29",
            "seen_at": "2021-11-02T09:30:00.000000Z",
            "income": "12000.50",
            "height": 168,
            "big": "9007199254740993",
            "photo": "AAEC",
            "prefs": {"tags": ["a", 1, None]},
            "phone": None,
        }
    ],
    "Note": [],
}
SCHEMA = {
    "Person": {
        "id": "uuid",
        "town": "str",
        "born": "date?",
        "seen_at": "datetime",
        "income": "decimal?",
        "height": "int?",
        "big": "int",
        "photo": "bytes",
        "prefs": "json",
        "phone": "str?",
    },
    "Note": {"id": "uuid", "text": "str"},
}


def vectors() -> dict[str, Any]:
    """The content of the file."""
    head = {
        "format": "vaultstore/export/v1",
        "origin": "vaultstore.local/vectors",
        "subject": SUBJECT,
        "made_at": "2021-11-02T10:00:00.000000Z",
        "made_for": {"purpose": "member.self", "case": None},
        "schema": SCHEMA,
        "states": [{"state": "active", "since": "2021-11-01T00:00:00.000000Z", "reason": None}],
        "consents": [],
        "cases": [],
    }
    lines = ["{", *(f'"{name}":{_json(value)},' for name, value in head.items()), '"rows":{']
    for at, (model, rows) in enumerate(ROWS.items()):
        lines.append(f'{"," if at else ""}"{model}":[')
        lines += [f"{',' if number else ''}{_json(row)}" for number, row in enumerate(rows)]
        lines.append("]")
    withheld = [{"model": "Note", "field": "mood", "reason": "purpose member.self does not read mood"}]
    counts = {model: len(rows) for model, rows in ROWS.items()}
    lines += ["},", f'"withheld":{_json(withheld)},', f'"counts":{_json(counts)},']
    body = "\n".join(lines) + "\n"
    digest = sha256(body.encode()).hexdigest()
    file = f'{body}"sha256":"{digest}",\n"seal":null\n}}\n'
    return {"file": file, "says": {**head, "rows": ROWS, "withheld": withheld}, "sha256": digest}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


if __name__ == "__main__":
    OUT.write_text(json.dumps(vectors(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

"""What Vault's own audit device recorded of data keys being unwrapped: a JSON object a line.

The mount is set up so that each item's reference (the id of our audit entry) and wrap context (whose key it is) stand
there in clear; everything else that could tell a secret is an HMAC.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vaultstore.errors import AuditError

__all__ = ["Unwrap", "VaultLog"]

_WRAP = b"vaultstore/wrap/v1"


@dataclass(frozen=True, slots=True)
class Unwrap:
    """One data key that Vault was asked to unwrap. None where the log does not tell, or nobody said."""

    line: int
    """Of the log, from 1."""
    time: datetime
    purpose: str | None
    jti: str | None
    category: str
    subject: bytes | None
    scope: bytes
    reference: str | None
    opened: bool
    """Whether Vault gave the key out."""


class VaultLog:
    """The unwraps in an audit log of Vault's, of the keys of one store, as they were answered: iterate over it once.

    `lines` come from a file opened for bytes; `mount` is the Transit mount and `prefix` begins the keys' names.
    Iterating raises AuditError naming the line that is not one of such a log, or that hides references behind HMACs.
    """

    def __init__(self, lines: Iterable[bytes], mount: str, prefix: str) -> None:
        self._lines, self._start = lines, f"{mount}/decrypt/{prefix}cat-"
        self._first = self._last = b""

    def __repr__(self) -> str:
        return "<VaultLog>"

    def __iter__(self) -> Iterator[Unwrap]:
        needle = self._start.encode()
        number, raw = 0, b""
        for number, raw in enumerate(self._lines, 1):
            self._first = self._first or raw
            if needle in raw:  # parsing is what costs time
                yield from self._unwraps(number, raw)
            elif raw[:1] not in (b"{", b"\n", b"\r"):
                raise AuditError(f"line {number} is not one of Vault's audit log: a JSON object a line")
        self._last = raw

    def covers(self) -> tuple[datetime, datetime] | None:
        """The times of the first and the last line that were read, once all were; None of an empty log."""
        if not self._first:
            return None
        return _time(1, self._first), _time(-1, self._last)

    def _unwraps(self, number: int, raw: bytes) -> Iterator[Unwrap]:
        try:
            record = json.loads(raw)
            if record["type"] == "response" and record["request"]["path"].startswith(self._start):
                yield from _items(number, record, record["request"]["path"].removeprefix(self._start))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise AuditError(f"line {number} is cut short, or not one of Vault's audit log") from None


def _time(number: int, raw: bytes) -> datetime:
    try:
        return datetime.fromisoformat(json.loads(raw)["time"])
    except (ValueError, LookupError, TypeError):
        which = "the last line" if number < 0 else f"line {number}"
        raise AuditError(f"{which} is cut short, or not one of Vault's audit log") from None


def _items(number: int, record: dict[str, Any], category: str) -> Iterator[Unwrap]:
    data = record["request"].get("data") or {}
    metadata = (record.get("auth") or {}).get("metadata") or {}
    asked = data.get("batch_input", [data])
    answer = (record.get("response") or {}).get("data") or {}
    answered = answer.get("batch_results", [answer])
    time = datetime.fromisoformat(record["time"])
    for at, item in enumerate(asked):
        reference, context = item.get("reference"), item.get("context", "")
        if str(reference).startswith("hmac-") or context.startswith("hmac-"):
            raise AuditError(
                f"line {number} hides references or contexts behind HMACs: `vaultstore policy apply` sets the mount so"
                " that it shows them, for what comes after"
            )
        subject, scope = _whose(context)
        opened = at < len(answered) and "plaintext" in answered[at] and not record.get("error")
        yield Unwrap(
            number, time, metadata.get("purpose"), metadata.get("jti"), category, subject, scope, reference, opened
        )


def _whose(context: str) -> tuple[bytes | None, bytes]:
    """Subject and scope of a wrap context, base64 of PAE("vaultstore/wrap/v1", subject, category, scope)."""
    try:
        parts = list(_unpae(base64.b64decode(context, validate=True)))
    except (binascii.Error, ValueError, IndexError):
        return None, b""
    return (parts[1], parts[3]) if len(parts) == 4 and parts[0] == _WRAP else (None, b"")


def _unpae(raw: bytes) -> Iterator[bytes]:
    count, at = int.from_bytes(raw[:8], "little"), 8
    for _ in range(min(count, 5)):
        size = int.from_bytes(raw[at : at + 8], "little")
        if at + 8 + size > len(raw):
            raise ValueError("cut short")
        yield raw[at + 8 : at + 8 + size]
        at += 8 + size

"""How well flags tell scams from small talk, and what they cost beside sealing the message.

``python -m benchmarks.chat_safety [FILE ...]`` reads CSV files with the columns ``body`` and ``is_scam``
(chats.csv and the chat_safety files of tests/data by default: a set that rules were written with, one that they were
tuned on, and one that was held out). A message counts as alarmed where it raises any flag:
`vaultstore.members.safety_rules.alarmed`.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.measure import alternate
from vaultstore import masks
from vaultstore.codec import codec_for, mask_codec
from vaultstore.envelope import new_nonces, seal
from vaultstore.members.safety_rules import alarmed

DATA = Path(__file__).parents[1] / "tests" / "data"
FILES = ("chats.csv", "chat_safety.csv", "chat_safety_development.csv", "chat_safety_held_out.csv")
ROUNDS = 5
SAMPLE = 1_000
KEY, AAD = AESGCM(bytes(range(32))), b"vaultstore/v1 chat_messages.body"
BODY = codec_for(str, pad=128)


def main(paths: Sequence[str]) -> int:
    """Print recall and false-alarm rate of each file, and microseconds a message."""
    mask = masks.flags("chat-safety")
    print(f"{mask.fingerprint}")
    rows: list[tuple[str, bool]] = []
    for path in map(Path, paths or [str(DATA / name) for name in FILES]):
        with path.open(encoding="utf-8-sig", newline="") as file:
            read = [(row["body"], row["is_scam"] == "1") for row in csv.DictReader(file)]
        rows += read
        print(f"\n{path.name}: {len(read):,} messages, {len(set(read)):,} different texts")
        # Hold-out by text: equal messages never stand on both sides.
        texts = sorted({body for body, _ in read})
        random.Random(4711).shuffle(texts)
        half = frozenset(texts[: len(texts) // 2])
        report("all", read, mask)
        report("one random half of the texts", [row for row in read if row[0] in half], mask)
        report("the other half", [row for row in read if row[0] not in half], mask)
    sample = [body for body, _ in random.Random(4711).choices(rows, k=SAMPLE)]
    times = alternate(
        {
            "flags of a message": lambda: [mask.mask(body) for body in sample],
            "sealing it and its flags": lambda: [_sealed(body) for body in sample],
        },
        ROUNDS,
    )
    print()
    for name, result in times.items():
        print(f"{name}: {result.median / SAMPLE * 1e6:.0f} us a message")
    return 0


def report(name: str, rows: Sequence[tuple[str, bool]], mask: masks.Mask) -> None:
    """Print how many scams alarm, and how many others."""
    alarms = [(alarmed(mask.mask(body)), scam) for body, scam in rows]
    scams = [raised for raised, scam in alarms if scam]
    others = [raised for raised, scam in alarms if not scam]
    print(
        f"  {name}: recall {_share(scams)} ({sum(scams)} of {len(scams)}), "
        f"false alarms {_share(others)} ({sum(others)} of {len(others)})"
    )


def _share(raised: Sequence[bool]) -> str:
    return f"{sum(raised) / len(raised):.4f}" if raised else "-"


def _sealed(body: str) -> tuple[bytes, bytes]:
    nonces = new_nonces(2)
    return (
        seal(KEY, 1, nonces[0], BODY.encode(body), AAD),
        seal(KEY, 1, nonces[1], mask_codec.encode(["money"]), AAD),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

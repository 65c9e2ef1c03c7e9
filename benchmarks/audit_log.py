"""A long audit log: how fast entries get their places, how fast all of it is checked, and in how much memory.

``python -m benchmarks.audit_log [ENTRIES]`` (1,000,000 by default; ten thousand and that many are compared).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from vaultstore import LocalKeys, records
from vaultstore.audit import Line, build_entry
from vaultstore.audit.log import AuditLog, note_keys
from vaultstore.audit.verify import verify_log
from vaultstore.policy.access import KeyAccess
from vaultstore.records import pseudonyms
from vaultstore.records.base import rfc3339

ORIGIN = "bench.example/log"


def fill(folder: Path, count: int) -> tuple[sa.Engine, LocalKeys]:
    """A log of `count` disclosures of five members each, as the gate writes them."""
    engine = records.configure_sqlite(sa.create_engine(f"sqlite:///{folder / 'gate.db'}"))
    records.create_all(engine, engine)
    keys = LocalKeys.memory()
    keys.provision(KeyAccess("bench", frozenset(), (), {}))
    with engine.begin() as connection:
        secret = pseudonyms.key_of(connection)
    begin = datetime.now(UTC) - timedelta(days=30)
    members = [os.urandom(16) for _ in range(1000)]
    raw = engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute("BEGIN")
    for at in range(count):
        moment = begin + timedelta(seconds=at)
        actor = f"u-{at % 100}"
        entry = build_entry(
            id=f"e-{at}",
            time=moment,
            kind="disclose",
            actor=pseudonyms.pseudonym(secret, actor),
            role="matchmaker",
            attributes={"store": "sh-01"},
            purpose="sales.outreach",
            jti="j",
            case=None,
            model="Member",
            categories=["sales_card"],
            counts={"disclosed": 5, "subjects": 5},
            outcome="disclosed",
            lines=[Line(members[(at + i) % 1000], at + 1, "disclosed") for i in range(5)],
            salts=os.urandom(160),
        )
        cursor.execute(
            "INSERT INTO vs_entries (id, time, kind, actor, leaf, lines, outcomes) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry.id, rfc3339(moment), "disclose", actor, entry.leaf, entry.lines, '["disclosed"]'),
        )
        cursor.execute("INSERT INTO vs_pending (seq) VALUES (?)", (cursor.lastrowid,))
    cursor.execute("COMMIT")
    raw.close()
    return engine, keys


def run(count: int) -> None:
    """Measure one log, in this process, and print a line."""
    with tempfile.TemporaryDirectory() as folder:
        engine, keys = fill(Path(folder), count)
        log = AuditLog(engine, ORIGIN)
        began = time.perf_counter()
        log.sequence()
        sequenced = time.perf_counter() - began
        note = log.checkpoint(keys, datetime.now(UTC))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        result = verify_log(engine, ORIGIN, note_keys(keys, ORIGIN), [note])
        took = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert result.whole, result.findings
        began = time.perf_counter()
        proofs = log.prove([f"e-{count // 2}"])
        proved = time.perf_counter() - began
        [(_, proof)] = proofs.values()
        print(
            f"{count:>9,} entries: {count / sequenced:>7,.0f}/s into the tree, {count / took:>7,.0f}/s checked,"
            f" {after / 1024:.0f} MB at most ({(after - before) / 1024:+.0f} while checking),"
            f" a proof of {len(proof.hashes)} hashes in {proved * 1000:.1f} ms",
            flush=True,
        )
        engine.dispose()


def main() -> None:
    """Each size in a process of its own, since memory is measured at its peak."""
    if os.environ.get("VAULTSTORE_BENCH_ONE"):
        run(int(sys.argv[1]))
        return
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for count in (10_000, most):
        subprocess.run(
            [sys.executable, "-m", "benchmarks.audit_log", str(count)],
            env={**os.environ, "VAULTSTORE_BENCH_ONE": "1"},
            check=True,
        )


if __name__ == "__main__":
    main()

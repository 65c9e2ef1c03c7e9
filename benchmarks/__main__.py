"""`make bench`: print ratios against plain SQLAlchemy, with the target of each."""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections import Counter
from pathlib import Path

import sqlalchemy
from rich.console import Console
from rich.table import Table

from benchmarks.inserts import SEALED_CATEGORIES, insert_cases, transit_floor
from benchmarks.measure import Result, alternate
from benchmarks.reads import read_cases
from benchmarks.world import ACTOR, World
from vaultstore.keys import Keys, LocalKeys, VaultKeys
from vaultstore.testing.openbao import OpenBaoServer

console = Console()


def main() -> None:
    """Parse the command line and run what it names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--vault", action="store_true", help="also insert against a real OpenBao server")
    options = parser.parse_args()
    console.print(
        f"Python {platform.python_version()}, SQLAlchemy {sqlalchemy.__version__}, {platform.machine()}, "
        f"{options.rows:,} rows, {options.rounds} alternating rounds, medians"
    )
    table = Table("work", "median", "ratio", "target", box=None, pad_edge=False, header_style="bold")
    reads(table, options.rows, options.rounds)
    inserts(table, options.rows, max(3, options.rounds // 3))
    if options.vault:
        vault_inserts(table, options.rows)
    console.print(table)


def reads(table: Table, rows: int, rounds: int) -> None:
    """Rows one and two of the targets."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), LocalKeys.memory())
        world.fill_people(rows)
        results = alternate(read_cases(world), rounds)
        world.close()
    plain, cards = results["plain rows"], results["plain cards"]
    add(table, "read rows, plain", plain)
    add(table, "read rows in clear, vaultstore", results["vaultstore rows"], plain, "at most 2.2x")
    add(table, "read rows, sqlalchemy-utils (AES-GCM)", results["sqlalchemy-utils rows"], plain)
    add(table, "read cards, plain", cards)
    add(table, "read cards, vaultstore", results["vaultstore cards"], cards, "at most 2.5x")


def inserts(table: Table, rows: int, rounds: int) -> None:
    """Row four with a local key file."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), LocalKeys.memory())
        results = alternate(insert_cases(world, rows), rounds)
        world.close()
    plain = results["plain insert"]
    add(table, "insert, plain", plain)
    add(table, "insert, the floor: as wide, with a keyring, AES-GCM", results["floor insert"], plain)
    add(table, "insert, vaultstore, local keys", results["vaultstore insert"], plain, "at most 4x")


def vault_inserts(table: Table, rows: int) -> None:
    """Row four against OpenBao: requests a key, and time beside what Transit itself takes."""
    requests: Counter[str] = Counter()
    with OpenBaoServer() as server, tempfile.TemporaryDirectory() as folder:
        keys: Keys = VaultKeys(
            server.url,
            token=server.root_token,
            on_request=lambda method, path, items: requests.update([path.rpartition("transit/")[2]]),
        )
        world = World(Path(folder), keys)
        cases = insert_cases(world, rows)
        cases["vaultstore insert"]()
        requests.clear()
        store = world.store
        service = keys.login(store._issuer.exchange(store.verify(store.issue(ACTOR, "bench.write"))))
        results = alternate({"transit": lambda: transit_floor(service, rows), **cases}, 3)
        service.close()
        world.close()
    sealed, plain, transit = results["vaultstore insert"], results["plain insert"], results["transit"]
    bound = Result(tuple(p + t for p, t in zip(plain.times, transit.times, strict=True)))
    least = Result(tuple(f + t for f, t in zip(results["floor insert"].times, transit.times, strict=True)))
    add(table, "insert, plain + Transit's own time", bound)
    add(table, "insert, the floor + Transit's own time", least, bound)
    add(table, "insert, vaultstore, OpenBao", sealed, bound, "at most 1.5x")
    wraps = {c: n for c, n in requests.items() if c.rpartition("/")[2].endswith(SEALED_CATEGORIES)}
    console.print(f"requests in {4 * 2} inserts and floors: {dict(sorted(wraps.items()))}")


def add(table: Table, name: str, result: Result, base: Result | None = None, target: str = "") -> None:
    """Add a line."""
    table.add_row(name, f"{result.median * 1e3:,.0f} ms", f"{result.ratio(base):.2f}x" if base else "", target)


if __name__ == "__main__":
    main()

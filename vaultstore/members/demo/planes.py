"""The planes' demo (``make planes-demo``): apply a policy to two fresh servers, verify it, drift away from it, heal.

It ends with status 1 where a drift is not named or not healed, or an attack of the compromised login gets through.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from vaultstore.members.demo import narration
from vaultstore.members.demo.planes_attacks import ATTACKS, attack, forged_leads
from vaultstore.members.demo.planes_drifts import DRIFTS, Drift, play
from vaultstore.members.demo.planes_stage import Bao, Postgres, World, set_world

__all__ = ["run"]

_WIDEST = 118
_HEAD, _TAIL = 4, 1
"""Lines of a plan that are shown of each plane, first and last."""


def run(bao: Bao, postgres: Postgres, folder: Path, console: Console, *, whole: bool = False) -> bool:
    """Play every act on two fresh servers; whether all of it went as it should. `whole` shows plans in full."""
    narration.heading(console, "A fresh OpenBao, a fresh PostgreSQL, and a policy of eighteen purposes")
    narration.note(console, "The member store's schema is made by its migrations. No plane is applied yet.")
    world = set_world(bao, postgres, folder)
    try:
        held = [
            _applied(world, console, whole=whole),
            _verified(world, console),
            _drifts(world, console, DRIFTS),
            _verified(world, console),
            _attacked(world, console),
        ]
    finally:
        world.close()
    return all(held)


def _command(world: World, console: Console, *arguments: str, shown: Callable[[Sequence[str]], Sequence[str]]) -> int:
    """Run a command, show what it says, and give its exit code."""
    console.print(Text("$ vaultstore ", "bold").append(" ".join(arguments)))
    with console.status("…"):
        done = world.command(*arguments)
    for line in shown([*done.stdout.splitlines(), *done.stderr.splitlines()]):
        console.print(Text(line, _colour(line)))
    console.print(Text(f"exit code {done.returncode}", "green" if done.returncode == 0 else "red"))
    return done.returncode


def _colour(line: str) -> str:
    marks = {"+": "green", "~": "yellow", "-": "red", "✗": "red", "│": "", "…": "dim"}
    return "dim" if line.startswith("note: ") else marks.get(line.strip()[:1], "")


def _shortened(lines: Sequence[str]) -> Sequence[str]:
    """Of each plan the first few lines and the last one."""
    shown: list[str] = []
    block: list[str] = []

    def end() -> None:
        left = len(block) - _HEAD - _TAIL
        shown.extend(block if left <= 1 else [*block[:_HEAD], f"  … {left} more", *block[-_TAIL:]])
        block.clear()

    for line in lines:
        if line.startswith("  "):
            block.append(line[:_WIDEST])
        else:
            end()
            shown.append(line)
    end()
    return shown


def _applied(world: World, console: Console, *, whole: bool) -> bool:
    narration.heading(console, "Apply: the plan, and then what it says")
    cut = list if whole else _shortened
    first = _command(world, console, "policy", "apply", "--yes", shown=cut)
    narration.note(console, "Once more: what matches is left alone.")
    again = _command(world, console, "policy", "apply", "--dry-run", shown=cut)
    return first == again == 0


def _verified(world: World, console: Console) -> bool:
    narration.heading(console, "Verify: every cell of the policy, tried with real tokens and roles")
    return _command(world, console, "policy", "verify", shown=list) == 0


def _drifts(world: World, console: Console, drifts: Sequence[Drift]) -> bool:
    narration.heading(console, f"{len(drifts)} drifts, planted one by one")
    played = []
    for number, drift in enumerate(drifts, 1):
        console.print(Text(f"{number:>3} ", "dim").append(drift.what, "bold"))
        if number == 1:
            found = play(world, drift, meanwhile=partial(_red, world, console, drift.plane))
        else:
            with console.status("…"):
                found = play(world, drift)
        played.append(found)
        named = [line for line in found.lines if drift.names in line]
        _line(console, "verify  ", named[0] if named else "DID NOT NAME IT", "red", more=len(found.lines) - 1)
        _line(console, "healed  ", found.by or "NOT AT ALL", "green" if found.healed else "bold red")
        if not found.healed:
            _line(console, "verify  ", "is still red", "bold red")
    good = sum(found.ok for found in played)
    _verdict(console, good == len(played), f"{len(played)} drifts planted, {good} named and healed.")
    return good == len(played)


def _red(world: World, console: Console, plane: str) -> bool:
    """What the command itself says, once: its exit code is what a scheduler acts on."""
    return _command(world, console, "policy", "verify", "--target", plane, "--no-probes", shown=list) == 1


def _line(console: Console, label: str, said: str, style: str, *, more: int = 0) -> None:
    rest = f" (and {more} more)" if more > 0 else ""
    text = Text(said, style)
    text.truncate(console.width - 4 - len(label) - len(rest), overflow="ellipsis")
    console.print(Text(f"    {label}", "dim").append_text(text).append(rest, "dim"))


def _attacked(world: World, console: Console) -> bool:
    narration.heading(console, "The CRM is taken over: its own login, raw SQL, none of our Python")
    leads = world.fill()
    outcomes = []
    for tried in ATTACKS:
        outcomes.append(attack(world, tried))
        mark, style = (" ✓ ", "green") if outcomes[-1].held else (" ✗ ", "bold red")
        console.print(Text(mark, style).append(f"{tried.what}: ").append(outcomes[-1].said, "dim"))
    refused = sum(outcome.held for outcome in outcomes)
    _verdict(console, refused == len(outcomes), f"{len(outcomes)} statements tried, {refused} came to nothing.")
    return (refused == len(outcomes)) & _forged(world, console, leads)


def _forged(world: World, console: Console, leads: int) -> bool:
    """What tells the two modes apart: claims that no issuer ever made."""
    narration.heading(console, "The same login forges its claims: 'I act for u-17'")
    seen = forged_leads(world)
    narration.note(
        console,
        f"Default mode believes a login's word on who acts: it shows {seen} sealed cards and clear columns of"
        f" u-17's {leads} leads. A phone stays closed: no purpose of the CRM has its key.",
    )
    world.strict = True
    narration.note(console, "postgres_strict = true takes a ticket that the database made for the issuer:")
    applied = _command(world, console, "policy", "apply", "--yes", shown=_shortened)
    strict = forged_leads(world)
    _verdict(console, seen == leads and strict == 0, f"Default mode: {seen} rows. Strict mode: {strict} rows.")
    return applied == 0 and seen == leads and strict == 0


def _verdict(console: Console, good: bool, words: str) -> None:
    console.print()
    console.print(Text(words, "bold green" if good else "bold red"))


@click.command()
@click.option("--whole", is_flag=True, help="Show plans in full.")
def main(whole: bool) -> None:
    """Apply a policy to a fresh OpenBao and PostgreSQL, verify it, plant drifts, and look like an intruder."""
    from vaultstore.testing import OpenBaoServer, PostgresServer

    console = Console(highlight=False)
    console.width = min(console.width, _WIDEST) if console.is_terminal else _WIDEST
    with (
        tempfile.TemporaryDirectory(prefix="vaultstore-planes-") as folder,
        OpenBaoServer() as bao,
        PostgresServer() as postgres,
    ):
        good = run(bao, postgres, Path(folder), console, whole=whole)
    console.print()
    console.print(Text("All of it went as it should." if good else "Not all of it went as it should.", "bold"))
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()

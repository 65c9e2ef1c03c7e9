"""The script from curtain to curtain: a table of abuses, a table of promises, and a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from vaultstore import Store
from vaultstore.members.demo import narration
from vaultstore.members.scenario.abuses import ABUSES
from vaultstore.members.scenario.promises import PROMISES
from vaultstore.members.scenario.scene import Scene, set_scene
from vaultstore.members.scenario.tries import Abuse, Kept, Outcome, attempt, keep

__all__ = ["Setting", "replay", "run"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the script plays: an empty store, and how to speak of it."""

    store: Store
    gate: Engine
    where: str
    """One line: the database and the key service."""
    planes: bool
    """Whether Vault and PostgreSQL enforce the policy too."""


def run(setting: Setting, console: Console, *, data: Path | None, members: int = 400, seed: int = 2021) -> bool:
    """Play every abuse and every promise; whether none got through and all are kept."""
    narration.heading(console, "The exposé, replayed")
    narration.note(console, setting.where)
    counts: list[str] = []
    with console.status("importing…"):
        scene = set_scene(
            setting.store,
            setting.gate,
            data,
            planes=setting.planes,
            members=members,
            seed=seed,
            progress=lambda kind, rows: counts.append(f"{rows:,} {kind}"),
        )
    narration.note(console, f"imported {', '.join(counts)}")
    narration.heading(console, "The abuses, each attempted the way it was done")
    tried = []
    for abuse in ABUSES:
        with console.status(f"{abuse.number}. {abuse.what}…"):
            outcomes = list(replay(scene, abuse))
        tried += outcomes
        _show_abuse(console, abuse, outcomes)
    narration.heading(console, "The promises, each with its evidence")
    kept = []
    for promise in PROMISES:
        with console.status(f"{promise.number}. {promise.what}…"):
            kept.append(keep(scene, promise))
        _show_promise(console, kept[-1])
    return _verdict(console, tried, kept)


def replay(scene: Scene, abuse: Abuse) -> Iterable[Outcome]:
    """Each try of an abuse that this set-up has the planes for."""
    return (attempt(scene, tried) for tried in abuse.tries if scene.planes or not tried.planes)


def _show_abuse(console: Console, abuse: Abuse, outcomes: Sequence[Outcome]) -> None:
    console.print(Text(f"{abuse.number:>3}  ", "dim").append(abuse.what, "bold"))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    table.add_column(width=4)
    table.add_column(width=12)
    table.add_column(width=45)
    table.add_column()
    for each in outcomes:
        mark, style = ("✓", "green") if each.held else ("✗", "bold red")
        said = each.said if each.held else f"GOT THROUGH: {each.said}"
        told = Text(said, "dim" if each.held else style)
        table.add_row(Text(f"   {mark}", style), Text(each.plane, "cyan"), Text(each.what), told)
    console.print(table)


def _show_promise(console: Console, kept: Kept) -> None:
    mark, style = ("✓", "green") if kept.kept else ("✗", "bold red")
    console.print(Text(f" {mark} ", style).append(f"{kept.number}. ", "dim").append(kept.what, "bold"))
    said = kept.said if kept.kept else f"NOT KEPT: {kept.said}"
    console.print(Text(f"      {said}", "dim" if kept.kept else style))


def _verdict(console: Console, tried: Sequence[Outcome], kept: Sequence[Kept]) -> bool:
    through, broken = [t for t in tried if not t.held], [k for k in kept if not k.kept]
    bad, good = "bold red", "bold green"
    told = f"{len(tried)} tries at {len(ABUSES)} abuses: {len(through)} got through."
    console.print()
    console.print(Text(told, bad if through else good))
    console.print(Text(f"{len(kept)} promises: {len(kept) - len(broken)} kept.", bad if broken else good))
    return not through and not broken

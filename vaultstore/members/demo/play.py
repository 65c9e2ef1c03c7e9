"""The demo from curtain to curtain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from sqlalchemy import Engine

from vaultstore import Actor, Store
from vaultstore.members.demo import narration
from vaultstore.members.demo.abuses import ABUSES, attempt
from vaultstore.members.demo.investigation import investigate
from vaultstore.members.demo.stage import Stage, set_stage
from vaultstore.members.demo.trail import acts
from vaultstore.members.demo.views import at_rest, page_of_cards, through

__all__ = ["Setting", "run"]

_SHOWN = 14


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the demo plays: an empty store, the gate's database, and how to speak of them."""

    store: Store
    gate: Engine
    where: str
    """One line: the database and the key service."""
    caveat: str
    """What this set-up does not defend against."""
    unwraps: Callable[[], int] | None = field(default=None)
    """Unwrap requests that the key service itself has logged so far."""


def run(setting: Setting, console: Console, *, members: int = 250, seed: int = 2021) -> bool:
    """Play every scene; whether each abuse was refused, by the error that should refuse it."""
    narration.heading(console, f"A store of {members} made-up members")
    narration.note(console, setting.where)
    narration.note(console, setting.caveat)
    stage = _filled(setting, console, members, seed)
    _same_member(stage, console)
    _page(setting, stage, console)
    held = _abuses(stage, console)
    _audit(setting, console)
    return held


def _filled(setting: Setting, console: Console, members: int, seed: int) -> Stage:
    counts: list[str] = []
    with console.status("importing…"):
        stage = set_stage(
            setting.store,
            setting.gate,
            members=members,
            seed=seed,
            progress=lambda kind, rows: counts.append(f"{rows:,} {kind}"),
        )
    narration.note(console, f"imported {', '.join(counts)}")
    return stage


def _same_member(stage: Stage, console: Console) -> None:
    narration.heading(console, "One member, four readers, the same rows")
    seen = [
        at_rest(stage),
        through(stage, "a matchmaker", stage.matchmaker, "sales.outreach"),
        through(stage, "the safety team", Actor("s-1", role="safety_analyst"), "safety.triage"),
        through(stage, "the member", stage.member, "member.self"),
    ]
    narration.views(console, seen)
    text = investigate(stage)
    narration.note(
        console, "With a case and the yes of two colleagues, under their own tokens, safety reads that message:"
    )
    console.print(f"  “{text}”", style="bold green", markup=False)


def _page(setting: Setting, stage: Stage, console: Console) -> None:
    narration.heading(console, "A matchmaker's page of leads")
    before = setting.unwraps() if setting.unwraps else 0
    page = page_of_cards(stage)
    narration.cards(console, page)
    if setting.unwraps:
        count = setting.unwraps() - before
        narration.note(
            console,
            f"… {len(page)} cards: {count} unwrap request{'s' * (count != 1)}, counted in OpenBao's own audit log",
        )
    else:
        narration.note(console, f"… {len(page)} cards, disclosed together")


def _abuses(stage: Stage, console: Console) -> bool:
    narration.heading(console, "The abuses, tried")
    tried = []
    for abuse in ABUSES:
        if abuse.needs(stage):
            tried.append(attempt(stage, abuse))
            narration.abuse_row(console, tried[-1])
    narration.verdict(console, tried)
    return all(each.held for each in tried)


def _audit(setting: Setting, console: Console) -> None:
    every = acts(setting.gate)
    narration.heading(console, f"What the gate wrote down: the last {min(_SHOWN, len(every))} of {len(every)} entries")
    narration.audit(console, every[-_SHOWN:])

"""``vaultstore trace``: a leaked list against the audit log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaultstore.cli.common import Failure, console, dir_option, printable, read_token

if TYPE_CHECKING:
    from vaultstore.evidence.leak import Leak
    from vaultstore.evidence.trace import Traced
    from vaultstore.store import Store

__all__ = ["trace_command"]

_BATCH = 500
_SHOWN = 20
_PURPOSE = "audit.trace"
_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.command("trace")
@dir_option
@click.argument("leaked", metavar="LEAKED.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="A token for audit.trace; - reads stdin.")
@click.option("--since", type=_TIME, help="Only disclosures from then on (UTC).")
@click.option("--until", type=_TIME, help="Only disclosures before then (UTC): when the leak was first seen.")
@click.option("--insiders", type=click.IntRange(1, 3), default=3, show_default=True, help="Most that leaked together.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def trace_command(
    folder: Path,
    leaked: Path,
    token: str | None,
    since: datetime | None,
    until: datetime | None,
    insiders: int,
    as_json: bool,
) -> None:
    """Find out whose disclosures explain a leaked list of phone or ID numbers, or that none do.

    The list can have any form. Its numbers are searched through the blind indexes under audit.trace: every batch is
    audited and counted against the limits. Nothing of any member is opened, and no number is shown.
    """
    from rich.progress import Progress

    from vaultstore.cli.audit import open_log
    from vaultstore.cli.store import open_store
    from vaultstore.evidence.leak import read_leak
    from vaultstore.evidence.trace import levels_of, trace

    token = read_token(token)
    found = read_leak(leaked.read_bytes())
    if not found.lines:
        raise Failure(f"{leaked}: not one line has a phone or ID number that can be read")
    with (
        open_store(folder) as store,
        open_log(folder) as at,
        Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar,
    ):
        if store.verify(token).purpose.name != _PURPOSE:
            raise Failure(f"this takes a token for {_PURPOSE}")
        subjects, searched = _subjects(store, token, found)
        fields = [name for name, numbers in (("phone", found.phones), ("id_number", found.ids)) if numbers]
        task = bar.add_task("reading the log", total=None)
        traced = trace(
            at.engine,
            subjects,
            levels_of(store.policy, "Member", fields),
            since=since and since.replace(tzinfo=UTC),
            until=until and until.replace(tzinfo=UTC),
            insiders=insiders,
            progress=lambda count: bar.advance(task, count),
        )
    if as_json:
        click.echo(json.dumps(_as_json(traced, found, searched), ensure_ascii=False, indent=2, default=str))
    else:
        _show(traced, found, searched)


def _subjects(store: Store, token: str, leak: Leak) -> tuple[set[bytes], int]:
    """(members whose numbers are in the leak, numbers that were searched before a limit was used up)."""
    from sqlalchemy import select

    from vaultstore.errors import BudgetExhausted
    from vaultstore.members.models import Member

    subjects: set[bytes] = set()
    searched = 0
    for field, numbers in ((Member.phone, leak.phones), (Member.id_number, leak.ids)):
        for batch in _batches(sorted(numbers)):
            with store.session(token) as session:
                try:
                    subjects.update(i.bytes for i in session.scalars(select(Member.id).where(field.in_(batch))))
                except BudgetExhausted:
                    return subjects, searched
            searched += len(batch)
    return subjects, searched


def _batches(numbers: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(numbers), _BATCH):
        yield numbers[start : start + _BATCH]


def _show(traced: Traced, leak: Leak, searched: int) -> None:
    from rich.table import Table

    from vaultstore.evidence.trace_words import sentences

    out = console()
    total = len(leak.phones) + len(leak.ids)
    out.print(
        f"{leak.lines:,} lines with {len(leak.phones):,} phone and {len(leak.ids):,} ID numbers ({leak.encoding})"
    )
    if leak.unreadable:
        more = f" and {len(leak.unreadable) - _SHOWN:,} more" if len(leak.unreadable) > _SHOWN else ""
        out.print(f"not read: lines {', '.join(map(str, leak.unreadable[:_SHOWN]))}{more}")
    if searched < total:
        out.print(f"A limit of {_PURPOSE} is used up: {searched:,} of {total:,} numbers were searched. Go on tomorrow.")
    span = f", {traced.earliest:%Y-%m-%d} to {traced.latest:%Y-%m-%d}" if traced.earliest and traced.latest else ""
    out.print(f"{traced.leaked:,} members are in it; {traced.entries:,} disclosures were looked at{span}\n")
    for sentence in sentences(traced):
        out.print(printable(sentence), markup=False, style="bold red" if sentence.startswith("CANARY") else None)
    ranking = traced.ranking
    if not ranking.suspects:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("actor", "role", "store", "leaked", "of the leak", "saw", "by chance", "likelier", "first", "last"):
        table.add_column(name, justify="right" if name in ("leaked", "of the leak", "saw", "by chance") else "left")
    for one in ranking.suspects[:_SHOWN]:
        known = traced.actors[one.actor]
        table.add_row(
            printable(one.actor),
            printable(known.role),
            printable(known.group or "-"),
            f"{one.hits:,}",
            f"{one.coverage:.0%}",
            f"{one.saw:,}",
            f"{one.by_chance:,.1f}",
            f"10^{one.evidence:.0f}",
            f"{known.first:%Y-%m-%d %H:%M}" if known.first else "",
            f"{known.last:%Y-%m-%d %H:%M}" if known.last else "",
        )
    out.print()
    out.print(table)
    if len(ranking.suspects) > _SHOWN:
        out.print(f"and {len(ranking.suspects) - _SHOWN:,} more: --json lists them all")


def _as_json(traced: Traced, leak: Leak, searched: int) -> dict[str, Any]:
    from dataclasses import asdict
    from uuid import UUID

    from vaultstore.evidence.trace_words import sentences

    return {
        "lines": leak.lines,
        "unreadable": list(leak.unreadable),
        "numbers": {"phones": len(leak.phones), "ids": len(leak.ids), "searched": searched},
        "members": traced.leaked,
        "says": list(sentences(traced)),
        "canaries": [
            {
                "member": UUID(bytes=found.canary.subject),
                "actor": found.canary.actor,
                "store": found.canary.store,
                "shown_to": [{"actor": actor, "clear": clear} for actor, clear in found.shown_to],
            }
            for found in traced.canaries
        ],
        "clear": asdict(traced.clear),
        "masked": asdict(traced.masked),
        "actors": {
            name: {"role": one.role, "store": one.group, "purposes": sorted(one.purposes), "first": one.first,
                   "last": one.last}
            for name, one in traced.actors.items() if one.first
        },
        "stuffing": asdict(traced.stuffing),
    }  # fmt: skip

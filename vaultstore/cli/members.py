"""``vaultstore members``: bring members, their messages and their views into a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import Failure, console, dir_option, printable

if TYPE_CHECKING:
    from rich.console import Console

    from vaultstore.members.report import ImportReport

__all__ = ["members_group"]

_SHOWN = 20


@click.group("members")
def members_group() -> None:
    """Members, their messages and their views."""


@members_group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option(
    "--kind", type=click.Choice(["members", "chats", "views"]), help="What the file holds [the header tells]."
)
@dir_option
@click.option("--chunk", type=click.IntRange(1, 5_000), default=500, show_default=True, help="Rows a transaction.")
@click.option("--notice", default="imported", show_default=True, help="Consent notice that consent dates stand for.")
@click.option(
    "--report", "report_to", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as JSON."
)
def import_command(file: Path, kind: str | None, folder: Path, chunk: int, notice: str, report_to: Path | None) -> None:
    """Import FILE, a CSV file of members, chats or views.

    Run it again whenever you like: what is there already is left alone. A line that can't be stored is listed with
    its reason, never with its values, and costs no other line.
    """
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from vaultstore.cli.store import open_store
    from vaultstore.members.importer import Importer

    screen = console(stderr=True)
    bar = Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=screen,
        disable=not screen.is_terminal,
        transient=True,
    )
    with open_store(folder) as store, bar:
        task = bar.add_task(escape(file.name), total=file.stat().st_size, rate="")

        def progress(behind: int, report: ImportReport) -> None:
            rate = report.read / report.seconds if report.seconds else 0.0
            bar.update(task, completed=behind, rate=f"{rate:,.0f} rows/s")

        report = Importer(store, chunk=chunk, notice=notice).file(file, kind, progress)
    _show(console(), report)
    if report_to is not None:
        report_to.write_text(json.dumps(report.as_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if report.nothing_read:
        raise Failure("not one line of this file could be stored")


def _show(screen: Console, report: ImportReport) -> None:
    from rich.table import Table
    from rich.text import Text

    counts = Table(title=Text(f"{report.kind} from {report.file}"), title_justify="left")
    for column in ("read", "written", "already there", "refused", "consents recorded", "seconds"):
        counts.add_column(column, justify="right")
    counts.add_row(
        *(f"{n:,}" for n in (report.read, report.written, report.already, len(report.refused), report.consents)),
        f"{report.seconds:.1f}",
    )
    screen.print(counts)
    if report.suppressed:
        screen.print(f"{report.suppressed:,} of them said no under another account: they are in no pool")
    if report.ignored:
        screen.print(f"Columns that are not stored: {', '.join(map(printable, report.ignored))}", markup=False)
    if not report.refused:
        return
    lines = Table(title="Refused lines", title_justify="left")
    lines.add_column("line", justify="right")
    lines.add_column("column")
    lines.add_column("reason")
    for refusal in sorted(report.refused)[:_SHOWN]:
        lines.add_row(str(refusal.line), refusal.column, refusal.reason)
    screen.print(lines)
    if len(report.refused) > _SHOWN:
        screen.print(f"and {len(report.refused) - _SHOWN:,} more: --report FILE lists them all")

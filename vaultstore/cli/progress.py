"""A bar for bulk jobs: how far, how fast, how long still. On stderr, and a line at the end where it is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import console

if TYPE_CHECKING:
    from vaultstore.lifecycle.jobs import OnProgress, Progress, Summary

__all__ = ["job_progress", "say_how_it_ended"]


@contextmanager
def job_progress(title: str) -> Iterator[OnProgress]:
    """Show a bar for a job while the block runs; what it gives is a job's ``on_progress``."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    shown = console(stderr=True)
    if not shown.is_terminal:
        yield _nothing
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Bars(*columns, console=shown, transient=True) as bars:
        task = bars.add_task(title, total=None, rate="")
        began: list[tuple[float, int]] = []

        def on_progress(now: Progress) -> None:
            gone = now.done + now.failed
            began.append((time.monotonic(), gone)) if not began else None
            took = time.monotonic() - began[0][0]
            rate = f"{(gone - began[0][1]) / took:,.0f}/s" if took > 0.5 else ""
            bars.update(task, total=max(now.rows, gone), completed=gone, rate=rate)

        yield on_progress


def say_how_it_ended(summary: Summary, what: str) -> None:
    """Print a job's result: `what` was done to the rows (``rewrapped``), and which rows could not be done."""
    rate = f", {summary.done / summary.seconds:,.0f}/s" if summary.done and summary.seconds >= 0.1 else ""
    went_on = " (went on where an earlier run had stopped)" if summary.resumed else ""
    click.echo(f"{summary.done:,} {what}{rate}{went_on}")
    if summary.failed:
        click.echo(f"{summary.failed:,} could not be done; see `vaultstore jobs failures {summary.job}`:", err=True)
        for failure in summary.failures:
            click.echo(f"  {failure.key}: {failure.reason}", err=True)
        if summary.failed > len(summary.failures):
            click.echo(f"  and {summary.failed - len(summary.failures):,} more", err=True)


def _nothing(now: Progress) -> None:
    pass

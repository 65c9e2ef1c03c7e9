"""``vaultstore jobs``: what bulk jobs there were, and the rows that they could not do."""

from __future__ import annotations

from pathlib import Path

import click

from vaultstore.cli.common import console, dir_option

__all__ = ["jobs_group"]


@click.group("jobs")
def jobs_group() -> None:
    """Bulk jobs: rewraps, moves, rebuilt masks. A job that was stopped goes on when its command runs again."""


@jobs_group.command("list")
@dir_option
def list_command(folder: Path) -> None:
    """List the latest jobs, newest first."""
    from rich.table import Table

    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        found = store.jobs.latest()
    if not found:
        click.echo("there were no jobs yet")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("job", "kind", "of", "began", "state", "rows", "done", "failed"):
        table.add_column(name, justify="right" if name in ("rows", "done", "failed") else "left")
    for job in found:
        state = "finished" if job.finished_at else "unfinished"
        began = f"{job.started_at:%Y-%m-%d %H:%M}"
        table.add_row(job.id, job.kind, job.about, began, state, f"{job.rows:,}", f"{job.done:,}", f"{job.failed:,}")
    console().print(table)


@jobs_group.command("failures")
@dir_option
@click.argument("job")
def failures_command(folder: Path, job: str) -> None:
    """List every row that JOB (an id) could not do, and why."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        for failure in store.jobs.failures(job):
            click.echo(f"{failure.key}  {failure.reason}")

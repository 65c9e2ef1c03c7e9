"""``vaultstore projections``: which masks are out of date, and making them anew."""

from __future__ import annotations

from pathlib import Path

import click

from vaultstore.cli.common import console, dir_option, read_token

__all__ = ["projections_group"]


@click.group("projections")
def projections_group() -> None:
    """Masks that are kept beside the values they were made from."""


@projections_group.command("status")
@dir_option
@click.option("--all", "show_all", is_flag=True, help="Those too that are as they should be.")
def status_command(folder: Path, show_all: bool) -> None:
    """List the projections whose masks are not the ones that the models declare, or that lack some.

    Exit code 1 where there are any.
    """
    from rich.table import Table

    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        found = store.projections.status()
    stale = [one for one in found if one.state != "current"]
    shown = found if show_all else stale
    if shown:
        table = Table(box=None, pad_edge=False)
        for name in ("field", "projection", "state", "made from", "missing", "left out"):
            table.add_column(name, justify="right" if name in ("missing", "left out") else "left")
        for one in shown:
            place = f"{one.model}.{one.field}"
            table.add_row(place, one.projection, one.state, one.category, f"{one.missing:,}", f"{one.left_out:,}")
        console().print(table)
    click.echo(f"{len(found) - len(stale)} of {len(found)} projections are as they should be")
    if stale:
        commands = dict.fromkeys(f"vaultstore projections rebuild {one.model} {one.category}" for one in stale)
        click.echo("to make the others anew: " + "; ".join(commands), err=True)
        raise SystemExit(1)


@projections_group.command("rebuild")
@dir_option
@click.argument("model")
@click.argument("category")
@click.option("--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="The token; - reads it from stdin.")
@click.option("--all", "every", is_flag=True, help="Make all masks anew, not only those that are out of date.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many at once.")
def rebuild_command(folder: Path, model: str, category: str, token: str | None, every: bool, workers: int) -> None:
    """Make the masks of CATEGORY (a source category) of MODEL anew, under a token for maintenance.projection.

    The store stays in use meanwhile. A run that was stopped goes on when the command runs again.
    """
    from vaultstore.cli.progress import job_progress, say_how_it_ended
    from vaultstore.cli.store import open_store

    given = read_token(token)
    with open_store(folder) as store, job_progress(f"{model} {category}") as on_progress:
        summary = store.projections.rebuild(
            model, category, given, every=every, workers=workers, on_progress=on_progress
        )
    if not summary.job:
        click.echo(f"every mask of {category} of {model} is as it should be")
        return
    say_how_it_ended(summary, "masked anew")

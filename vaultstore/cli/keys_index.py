"""``vaultstore keys rotate-index``: a new key for a blind index, step by step, while the store is in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import console, dir_option, read_token

if TYPE_CHECKING:
    from vaultstore.store import Store

__all__ = ["rotate_index_command"]


@click.command("rotate-index")
@dir_option
@click.argument("index", required=False)
@click.argument("step", type=click.Choice(["start", "backfill", "finish"]), required=False)
@click.option("--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="The token; - reads it from stdin.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many at once.")
def rotate_index_command(folder: Path, index: str | None, step: str | None, token: str | None, workers: int) -> None:
    """Rotate the key of INDEX (members.phone) step by step; without a step, show how the indexes stand.

    start: rows are written with digests of a new version and found by both (maintenance.keys). backfill: the digests of
    all rows are made anew (maintenance.index). finish: the old version is given up for good (maintenance.keys).
    """
    from vaultstore.cli.progress import job_progress, say_how_it_ended
    from vaultstore.cli.store import open_store

    if index is None or step is None:
        with open_store(folder) as store:
            _show(store, index)
        return
    given = read_token(token)
    with open_store(folder) as store:
        if step == "start":
            version = store.indexes.rotate(index, given)
            click.echo(f"{index}: rows get digests of version {version} from now on; next: backfill")
        elif step == "finish":
            click.echo(f"{index}: version {store.indexes.finish(index, given)} is the only one there is")
        else:
            with job_progress(index) as on_progress:
                summary = store.indexes.backfill(index, given, workers=workers, on_progress=on_progress)
            say_how_it_ended(summary, "indexed anew")
            if summary.failed:
                raise SystemExit(1)


def _show(store: Store, index: str | None) -> None:
    from rich.table import Table

    found = [one for one in store.indexes.status() if index in (None, one.index)]
    if not found:
        raise click.UsageError(f"there is no blind index called {index}")
    table = Table(box=None, pad_edge=False)
    for name in ("index", "field", "version", "next", "state"):
        table.add_column(name, justify="right" if name in ("version", "next") else "left")
    for one in found:
        stage = "backfill" if not one.settled else "finish"
        shown = "as it should be" if one.next is None else f"being rotated; next: {stage}"
        following = "" if one.next is None else str(one.next)
        table.add_row(one.index, f"{one.model}.{one.field}", str(one.current), following, shown)
    console().print(table)

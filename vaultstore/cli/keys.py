"""``vaultstore keys``: new versions of the categories' keys, data keys moved to them, old versions given up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import LazyGroup, console, dir_option, read_token

if TYPE_CHECKING:
    from vaultstore.store import Store

__all__ = ["keys_group"]

_token_option = click.option(
    "--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="The token; - reads it from stdin."
)
_all_option = click.option("--all", "every", is_flag=True, help="Every category, one after the other.")


@click.group("keys", cls=LazyGroup, lazy={"rotate-index": "vaultstore.cli.keys_index:rotate_index_command"})
def keys_group() -> None:
    """Upkeep of keys, under a token of a purpose that keeps keys (maintenance.keys). Sessions go on meanwhile."""


@keys_group.command("rotate")
@dir_option
@click.argument("category", required=False)
@_all_option
@_token_option
def rotate_command(folder: Path, category: str | None, every: bool, token: str | None) -> None:
    """Add a version to the key of CATEGORY. New data keys are wrapped under it; old ones open as before."""
    from vaultstore.cli.store import open_store

    given = read_token(token)
    with open_store(folder) as store:
        for name in _named(store, category, every):
            click.echo(f"{name}: version {store.keyring.rotate(name, given)}")


@keys_group.command("rewrap")
@dir_option
@click.argument("category", required=False)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many at once.")
@_token_option
def rewrap_command(folder: Path, category: str | None, workers: int, token: str | None) -> None:
    """Wrap the data keys of CATEGORY, or of every one, anew under the newest version. No data key is shown.

    A run that was stopped goes on when the command runs again. Exit code 1 where rows could not be done.
    """
    from vaultstore.cli.progress import job_progress, say_how_it_ended
    from vaultstore.cli.store import open_store

    given, failed = read_token(token), 0
    with open_store(folder) as store:
        for name in _named(store, category, every=category is None):
            with job_progress(name) as on_progress:
                summaries = store.keyring.rewrap(name, given, workers=workers, on_progress=on_progress)
            for summary in summaries:
                say_how_it_ended(summary, f"{name} rewrapped")
            failed += summaries[-1].failed
    if failed:
        raise SystemExit(1)


@keys_group.command("retire")
@dir_option
@click.argument("category", required=False)
@_all_option
@_token_option
def retire_command(folder: Path, category: str | None, every: bool, token: str | None) -> None:
    """Give up every version of the key of CATEGORY but the newest, for good: wraps of them never open again.

    Refused, with counts, while a live wrap is of an older version. Stopped half-way, run it again.
    """
    from vaultstore.cli.store import open_store

    given = read_token(token)
    with open_store(folder) as store:
        for name in _named(store, category, every):
            click.echo(f"{name}: version {store.keyring.retire(name, given)} is the oldest there is")


@keys_group.command("status")
@dir_option
@_token_option
def status_command(folder: Path, token: str | None) -> None:
    """Show the versions of each category's key, and how many live wraps are of which."""
    from rich.table import Table

    from vaultstore.cli.store import open_store

    given = read_token(token)
    with open_store(folder) as store:
        found = store.keyring.status(given)
    table = Table(box=None, pad_edge=False)
    for name in ("category", "newest", "oldest that opens", "live wraps by version", "to rewrap"):
        table.add_column(name, justify="right" if name in ("newest", "oldest that opens", "to rewrap") else "left")
    for key in found:
        held = ", ".join(f"v{version}: {count:,}" for version, count in sorted(key.wraps.items())) or "none"
        opens = str(key.oldest) if key.kept >= key.oldest else f"{key.oldest} ({key.kept} is still kept)"
        table.add_row(key.category, str(key.newest), opens, held, f"{key.behind:,}")
    console().print(table)


def _named(store: Store, category: str | None, every: bool) -> list[str]:
    if (category is None) != every:
        raise click.UsageError("name a category, or --all, and not both")
    return [category] if category is not None else sorted(store.policy.catalogue.categories)

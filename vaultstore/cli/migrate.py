"""``vaultstore migrate``: a plaintext column becomes an encrypted one, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import Failure, console, dir_option, read_token

if TYPE_CHECKING:
    from vaultstore.lifecycle.moves import MoveStatus
    from vaultstore.lifecycle.moves_verify import Looked

__all__ = ["migrate_group"]

_SHOWN = 20

_token = click.option("--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="The token; - reads it from stdin.")
_workers = click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many at once.")
_field = click.argument("field", metavar="MODEL.FIELD")


@click.group("migrate")
def migrate_group() -> None:
    """Move a plaintext column to an encrypted one: start, backfill, verify, cutover, drop."""


@migrate_group.command("start")
@dir_option
@_field
def start_command(folder: Path, field: str) -> None:
    """Begin to move MODEL.FIELD: from now on the database watches the plaintext column.

    The encrypted columns have to be there, see `op.add_encrypted_column`.
    """
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        move = store.moves.start(field)
        status = store.moves.status(field)
    click.echo(f"{move.table}.{move.plain} is on its way to {move.sealed}: {status.plain:,} rows to seal")
    click.echo(status.next)


@migrate_group.command("status")
@dir_option
@_field
def status_command(folder: Path, field: str) -> None:
    """Say how far MODEL.FIELD has come, which steps were taken, and what comes next."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        status = store.moves.status(field)
    _show(status)


@migrate_group.command("backfill")
@dir_option
@_field
@_token
@_workers
def backfill_command(folder: Path, field: str, token: str | None, workers: int) -> None:
    """Seal the rows of MODEL.FIELD that are not, under a token whose purpose writes its category.

    The store stays in use meanwhile. Stopped at any point, it goes on when the command runs again. Rows that can't be
    sealed are listed, and do not stop the others; then the exit code is 1.
    """
    from vaultstore.cli.progress import job_progress, say_how_it_ended
    from vaultstore.cli.store import open_store

    token = read_token(token)
    with open_store(folder) as store:
        with job_progress(f"sealing {field}") as on_progress:
            summary = store.moves.backfill(field, token, workers=workers, on_progress=on_progress)
        say_how_it_ended(summary, "sealed")
        click.echo(store.moves.status(field).next)
    if summary.failed:
        raise SystemExit(1)


@migrate_group.command("verify")
@dir_option
@_field
@_token
def verify_command(folder: Path, field: str, token: str | None) -> None:
    """Open every sealed value of MODEL.FIELD and compare it with its plaintext; lists rows where they differ.

    The token's purpose has to read the category in clear. Exit code 1 where a row is not as it should be.
    """
    from vaultstore.cli.progress import job_progress
    from vaultstore.cli.store import open_store

    token = read_token(token)
    with open_store(folder) as store:
        with job_progress(f"comparing {field}") as on_progress:
            looked = store.moves.verify(field, token, on_progress=on_progress)
        status = store.moves.status(field)
    _say_how_it_looked(looked)
    if not looked.failed and status.move.changed:
        click.echo("old code wrote plaintext meanwhile", err=True)
    click.echo(status.next)
    if status.move.state != "verified":
        raise SystemExit(1)


@migrate_group.command("cutover")
@dir_option
@_field
@_token
@_workers
def cutover_command(folder: Path, field: str, token: str | None, workers: int) -> None:
    """Empty the plaintext of MODEL.FIELD; from now on the database refuses plaintext that is not sealed.

    Every row is opened and compared once more, right before its plaintext goes. There is no way back. Stopped at any
    point, it goes on when the command runs again.
    """
    from vaultstore.cli.progress import job_progress, say_how_it_ended
    from vaultstore.cli.store import open_store

    token = read_token(token)
    with open_store(folder) as store:
        with job_progress(f"emptying {field}") as on_progress:
            summary = store.moves.cutover(field, token, workers=workers, on_progress=on_progress)
        say_how_it_ended(summary, "emptied")
        status = store.moves.status(field)
    click.echo(status.next)
    if not status.move.cut:
        raise SystemExit(1)


@migrate_group.command("drop")
@dir_option
@_field
@_token
def drop_command(folder: Path, field: str, token: str | None) -> None:
    """Allow the plaintext column of MODEL.FIELD to be dropped, after a last look at every row.

    Then `op.drop_plaintext_column` in a migration drops it. An SQLite file is rewritten, so that nothing is left in it.
    """
    from vaultstore.cli.progress import job_progress
    from vaultstore.cli.store import open_store

    token = read_token(token)
    with open_store(folder) as store:
        with job_progress(f"opening {field}") as on_progress:
            dropped = store.moves.drop(field, token, on_progress=on_progress)
        status = store.moves.status(field)
    if dropped.looked is not None:
        click.echo(f"{dropped.looked.rows:,} rows: all open, none holds plaintext")
    for note in dropped.notes:
        click.echo(f"note: {note}")
    click.echo(status.next)


def _show(status: MoveStatus) -> None:
    from rich.table import Table

    move = status.move
    click.echo(f"{move.name}: {move.state} ({move.table}.{move.plain} -> {move.sealed})")
    click.echo(
        f"{status.plain:,} rows hold plaintext, {status.sealed:,} a sealed value, {status.unsealed:,} no sealed one yet"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("step", "when (UTC)", "rows", "failed", "digest", "by"):
        table.add_column(name, justify="right" if name in ("rows", "failed") else "left")
    for step in status.steps:
        digest = (step.digest or "")[:16]
        when = f"{step.taken_at:%Y-%m-%d %H:%M}"
        table.add_row(step.step, when, f"{step.rows:,}", f"{step.failed:,}", digest, step.actor or "")
    console().print(table)
    click.echo(status.next)


def _say_how_it_looked(looked: Looked) -> None:
    if looked.failed:
        click.echo(f"{looked.failed:,} of {looked.rows:,} rows are not as they should be:", err=True)
        for failure in looked.failures[:_SHOWN]:
            click.echo(f"  {failure.key}: {failure.reason}", err=True)
        if looked.failed > _SHOWN:
            click.echo(f"  and {looked.failed - _SHOWN:,} more", err=True)
    elif not looked.same:
        raise Failure("the rows changed while they were compared: run it again")
    else:
        click.echo(f"{looked.rows:,} rows: each opens to what its plaintext holds (HMAC {looked.digest[:16]}...)")

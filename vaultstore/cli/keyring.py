"""``vaultstore keyring``: the wrapped data keys, backed up apart from the data, and brought back."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from vaultstore.cli.common import Failure, dir_option
from vaultstore.cli.progress import job_progress

__all__ = ["keyring_group"]

_AS = click.option("--as", "name", metavar="NAME", help="Who does it, for the audit log [the login's name].")


@click.group("keyring")
def keyring_group() -> None:
    """The keyring: wrapped data keys. Back it up apart from the data, and keep those backups for a short time only."""


@keyring_group.command("export")
@dir_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_AS
def export_command(folder: Path, file: Path, name: str | None) -> None:
    """Write every wrapped key to FILE, readable by you alone. No key is ever unwrapped for it.

    Take it after the backup of the data. An export that was broken off goes on where it was.
    """
    from vaultstore.cli.store import open_store

    with open_store(folder) as store, _bar("exporting") as on_keys:
        done = store.keyring_dump.export(file, operator=name or getpass.getuser(), on_keys=on_keys)
    went_on = " (went on where an earlier run had stopped)" if done.resumed else ""
    click.echo(f"{done.path}: {done.count:,} keys{went_on}")


@keyring_group.command("import")
@dir_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Where the keyring has another wrap of a key, take the file's.")
@_AS
def import_command(folder: Path, file: Path, replace: bool, name: str | None) -> None:
    """Bring the keys in FILE back. Those of erased members are refused; what is there already stays as it is.

    The whole file is checked first: that this store wrote it, and that nobody changed it. Harmless when repeated.
    """
    from vaultstore.cli.store import open_store

    with open_store(folder) as store, _bar("importing") as on_keys:
        operator = name or getpass.getuser()
        done = store.keyring_dump.import_(file, operator=operator, replace=replace, on_keys=on_keys)
    click.echo(
        f"{done.added:,} keys added, {done.same:,} were there already, {done.older:,} are there under a newer version"
    )
    if done.replaced:
        click.echo(f"{done.replaced:,} keys replaced")
    if done.erased:
        click.echo(f"{done.erased:,} keys refused: their members are erased")
    if done.retired:
        click.echo(f"{done.retired:,} keys refused: the version that wraps them was given up")
    for one in done.listed:
        scope = f" scope {one.scope.hex()}" if one.scope else ""
        place = f"{uuid.UUID(bytes=one.subject)} {one.category}{scope} key {one.key_id}"
        click.echo(f"  another wrap: {place}", err=True)
    if done.conflicts:
        raise Failure(
            f"{done.conflicts:,} keys refused: the keyring has another wrap of them (--replace takes the file's)"
        )


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    from vaultstore.lifecycle.work import Progress

    with job_progress(title) as on_progress:
        yield lambda done, total: on_progress(Progress(total, done, 0))

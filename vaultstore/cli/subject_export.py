"""``vaultstore subject export|import|rotate-keys``: a copy of a member's data, and new keys for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from vaultstore.cli.common import dir_option, printable, read_token

__all__ = ["export_command", "import_command", "rotate_keys_command"]

_NEW = click.Path(dir_okay=False, path_type=Path)
_token = click.option("--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="The token; - reads it from stdin.")


@click.command("export")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--out", metavar="FILE", type=_NEW, required=True, help="The file to write: JSON, for machines.")
@click.option("--html", metavar="FILE", type=_NEW, help="Write a page to read and to print, too.")
@_token
def export_command(folder: Path, member: uuid.UUID, out: Path, html: Path | None, token: str | None) -> None:
    """Write a copy of all that is kept of MEMBER (an id), in clear.

    The token is the member's own or one of privacy.request. What its purpose does not read is listed. The files can be
    read by their owner alone, and none that is there is overwritten: they hold what the store protects.
    """
    from vaultstore.cli.store import open_store
    from vaultstore.lifecycle.portability import Export

    given = read_token(token)
    with _new(html) as page, _new(out) as file, open_store(folder) as store:
        assert file is not None
        done = store.portability.export_to(file, member, given)
        file.flush()
        if page is not None:
            page.write(Export(out.read_bytes()).html().encode())
    rows = ", ".join(f"{count:,} of {model}" for model, count in done.rows.items() if count)
    click.echo(f"{out}: {rows or 'no rows'}{'' if done.sealed else '; this process could not seal it'}")
    if html is not None:
        click.echo(f"{html}: written")
    for item in done.withheld:
        what = " ".join(value for key, value in item.items() if key != "reason")
        click.echo(printable(f"not in it: {what}: {item['reason']}"), err=True)


@click.command("import")
@dir_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--leave-out", is_flag=True, help="Leave out models that the token's purpose does not write.")
@click.option("--unsealed", is_flag=True, help="Take a file that bears no seal of this store, as it is.")
@_token
def import_command(folder: Path, file: Path, leave_out: bool, unsealed: bool, token: str | None) -> None:
    """Read a copy back, as a member who is not here: all of its rows, or none.

    FILE is what `subject export` wrote. It was altered, or does not fit? Then it says where, and nothing is written.
    """
    from vaultstore.cli.store import open_store

    given = read_token(token)
    with open_store(folder) as store:
        done = store.portability.import_(file.read_bytes(), given, unsealed=unsealed, leave_out=leave_out)
    if done.identical:
        click.echo(f"{done.subject} is here already, exactly so: nothing was written")
    else:
        rows = ", ".join(f"{count:,} of {model}" for model, count in done.rows.items() if count)
        click.echo(f"{done.subject}: {rows} written")
    for what, why in done.left.items():
        click.echo(printable(f"left out: {what}: {why}"), err=True)


@click.command("rotate-keys")
@dir_option
@click.argument("member", type=click.UUID)
@_token
def rotate_keys_command(folder: Path, member: uuid.UUID, token: str | None) -> None:
    """Seal all that is kept of MEMBER (an id) under new data keys, and destroy the old ones.

    For after an incident: old copies of the member's ciphertext open no more. The token is one of privacy.rekey. Exit
    code 1 where something could not be done and keeps its keys.
    """
    from vaultstore.cli.store import open_store

    given = read_token(token)
    with open_store(folder) as store:
        done = store.subject_keys.rotate(member, given)
    rows = ", ".join(f"{count:,} of {model}" for model, count in done.rows.items() if count)
    click.echo(f"{done.keys:,} new keys, {done.destroyed:,} old ones destroyed; sealed anew: {rows or 'no rows'}")
    for what, why in done.left.items():
        click.echo(printable(f"not rotated: {what}: {why}"), err=True)
    if done.left:
        raise SystemExit(1)


@contextmanager
def _new(path: Path | None) -> Iterator[BinaryIO | None]:
    """A file that was not there, for its owner alone; it is gone again where the block raises."""
    if path is None:
        yield None
        return
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already, and is not overwritten") from None
    try:
        with os.fdopen(number, "wb") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise

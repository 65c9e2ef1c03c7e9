"""``vaultstore init``: an embedded store in a folder."""

from __future__ import annotations

import shlex
import shutil
from contextlib import ExitStack
from pathlib import Path

import click

from vaultstore.cli.common import dir_option

__all__ = ["init_command"]


@click.command("init")
@dir_option
def init_command(folder: Path) -> None:
    """Make an embedded store: settings, a key file, the shipped policy and two SQLite databases.

    Nothing that is there already is overwritten.
    """
    from vaultstore.cli.store import load_models
    from vaultstore.errors import SettingsError
    from vaultstore.members import schema
    from vaultstore.members.resources import copy_policies
    from vaultstore.policy import Policy
    from vaultstore.settings import FILE_NAME, Settings
    from vaultstore.store import Store

    folder = folder.resolve()
    settings = Settings(folder=folder)
    key_file, database = folder / settings.key_file, folder / "members.db"
    parts = [folder / FILE_NAME, settings.policy_path, key_file, database, database.with_name("gate.db")]
    for part in parts:
        if part.exists() or part.is_symlink():
            raise SettingsError(f"{part} is already there: nothing was touched")
    with ExitStack() as undo:
        undo.callback(_remove, parts)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        policy = Policy.load(copy_policies(settings.policy_path))
        models = load_models(settings.models)
        with schema.targets_of(settings.database_url) as targets:
            schema.upgrade(targets)  # not create_all alone: a later version will have to know where to start from
        with (
            settings.open_keys() as keys,
            Store.open(settings.database_url, keys=keys, policy=policy, models=models, issuer=settings.issuer) as store,
        ):
            store.create_all()
        settings.save()  # last: a folder without it holds no store
        undo.pop_all()
    _tell(folder)


def _remove(parts: list[Path]) -> None:
    """Take back what a failed start has made; none of it was there before."""
    for part in parts:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            for file in part.parent.glob(f"{part.name}*"):  # with SQLite's -wal and -shm
                file.unlink(missing_ok=True)


def _tell(folder: Path) -> None:
    where = "" if folder == Path.cwd() else f" --dir {shlex.quote(str(folder))}"
    click.echo(f"Made an embedded store in {folder}.")
    click.echo("Whoever holds this folder holds keys and data: it is for trying things out and for small tools.")
    click.echo("\nNext:")
    for line in (
        f"vaultstore members import{where} FILE.csv",
        f"vaultstore policy matrix{where}",
        f"vaultstore token issue{where} --actor u-17 --role matchmaker --purpose sales.pool --attr store=STORE",
        f"vaultstore show{where} MEMBER --token TOKEN",
    ):
        click.echo(f"  {line}")

"""``vaultstore demo``: a store of made-up members, and the abuses that it refuses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import Failure, console

if TYPE_CHECKING:
    from vaultstore import Store
    from vaultstore.keys import Keys
    from vaultstore.members.demo import Setting

__all__ = ["demo_command"]

_WIDEST = 118
_CAVEATS = {  # (embedded, vault) -> what this set-up does not defend against
    (True, False): "Embedded: one plane, no defence against its own process or whoever holds the folder.",
    (True, True): "OpenBao holds the keys; the gate is a file, no defence against whoever can write to the folder.",
    (False, False): "The database holds the gate; the keys are a file, no defence against whoever can read it.",
    (False, True): "Everybody acts through one database login here: a service would have one of its own.",
}


@click.command("demo")
@click.option("--members", type=click.IntRange(10, 100_000), default=250, show_default=True, help="Made-up members.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the store in this new folder [a temporary one].",
)
@click.option("--vault", is_flag=True, help="Keep the keys in an OpenBao server that the demo starts itself.")
@click.option("--database", help="An empty PostgreSQL database, as a URL [SQLite files].")
@click.option("--seed", type=int, default=2021, show_default=True, help="The same seed makes the same members.")
def demo_command(members: int, folder: Path | None, vault: bool, database: str | None, seed: int) -> None:
    """Fill a store with made-up members, look at one of them with everybody's eyes, and try the abuses.

    Ends with status 1 if any abuse gets through.
    """
    import logging

    from vaultstore.members.demo import run

    logging.getLogger("vaultstore").addHandler(logging.NullHandler())  # a store that is thrown away keeps no journal
    with ExitStack() as resources:
        screen = console()
        screen.width = min(screen.width, _WIDEST)
        setting = _setting(resources, folder, vault=vault, database=database)
        held = run(setting, screen, members=members, seed=seed)
    if folder is not None:
        gone = " Its keys went with the demo's OpenBao: nothing in it opens again." if vault else ""
        click.echo(f"\nThe store is kept in {folder}.{gone}")
    if not held:
        raise Failure("an abuse was not refused as it should be")


def _setting(resources: ExitStack, folder: Path | None, *, vault: bool, database: str | None) -> Setting:
    from sqlalchemy import create_engine

    from vaultstore import Policy, Store
    from vaultstore.errors import SettingsError
    from vaultstore.members import Base
    from vaultstore.members.demo import Setting
    from vaultstore.members.resources import copy_policies
    from vaultstore.settings import FILE_NAME, Settings

    if folder is None:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="vaultstore-demo-")))
    elif (folder / FILE_NAME).exists() or (folder / "members.db").exists():
        raise SettingsError(f"{folder} holds a store already: the demo wants a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(folder=folder.resolve(), database=_with_driver(database) or "sqlite:///members.db")
    policies = copy_policies(settings.policy_path)
    keys, unwraps = _openbao(resources) if vault else (resources.enter_context(settings.open_keys()), None)
    if not vault:
        settings.save()  # an OpenBao server of the demo's own ends with it: no later command could open that store
    embedded = database is None
    where = f"Data in {'two SQLite files' if embedded else 'PostgreSQL'}, keys in {'OpenBao' if vault else 'a file'}."
    gate = create_engine(
        f"sqlite:///{settings.folder / 'gate.db'}" if embedded else settings.database_url, hide_parameters=True
    )
    resources.callback(gate.dispose)
    store = resources.enter_context(
        Store.open(settings.database_url, gate=gate, keys=keys, policy=Policy.load(policies), models=Base)
    )
    _refuse_a_full_one(store)
    return Setting(
        store=store,
        gate=gate,
        where=where,
        caveat=_CAVEATS[embedded, vault],
        unwraps=unwraps,
    )


def _openbao(resources: ExitStack) -> tuple[Keys, Callable[[], int]]:
    from vaultstore import VaultKeys
    from vaultstore.testing import OpenBaoServer

    click.echo("starting OpenBao…")
    server = resources.enter_context(OpenBaoServer("raft", max_request_json_strings=20_000))
    keys = resources.enter_context(VaultKeys(server.url, token=server.root_token))

    def unwraps() -> int:
        paths = (entry["request"]["path"] for entry in server.audit_entries() if entry["type"] == "request")
        return sum("/decrypt/" in path for path in paths)

    return keys, unwraps


def _with_driver(database: str | None) -> str | None:
    """The usual ``postgresql://`` with the driver that vaultstore works through."""
    if database is None:
        return None
    for prefix in ("postgresql://", "postgres://"):
        if database.startswith(prefix):
            return "postgresql+psycopg://" + database.removeprefix(prefix)
    if not database.startswith("postgresql+"):
        raise click.BadParameter("a URL such as postgresql://user@host/name", param_hint="--database")
    return database


def _refuse_a_full_one(store: Store) -> None:
    from sqlalchemy import inspect

    from vaultstore.errors import SettingsError

    if inspect(store.engine).has_table("members"):
        raise SettingsError("this database has a table 'members' already: the demo wants an empty one")

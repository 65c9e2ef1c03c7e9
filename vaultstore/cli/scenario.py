"""``vaultstore scenario``: the exposé replayed, abuse by abuse, and every promise with its evidence."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import Failure, console

if TYPE_CHECKING:
    from vaultstore.members.scenario import Setting

__all__ = ["scenario_command"]

_WIDEST = 150


@click.command("scenario")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with members.csv, chats.csv and views.csv [made-up people].",
)
@click.option("--members", type=click.IntRange(250, 100_000), default=400, show_default=True, help="Made-up members.")
@click.option("--vault", is_flag=True, help="On PostgreSQL and OpenBao with the policy applied; it starts both itself.")
@click.option("--seed", type=int, default=2021, show_default=True, help="The same seed makes the same members.")
def scenario_command(data: Path | None, members: int, vault: bool, seed: int) -> None:
    """Attempt every abuse of the exposé the way it was done, and show how each promise is kept.

    Ends with status 1 if any abuse gets through or any promise is not kept.
    """
    from vaultstore.members.scenario import run

    logging.getLogger("vaultstore").addHandler(logging.NullHandler())  # a store that is thrown away keeps no journal
    screen = console()
    screen.width = min(screen.width, _WIDEST)
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="vaultstore-scenario-")))
        setting = resources.enter_context((_on_servers if vault else _embedded)(folder))
        good = run(setting, screen, data=data, members=members, seed=seed)
    if not good:
        raise Failure("an abuse got through, or a promise is not kept")


@contextmanager
def _embedded(folder: Path) -> Iterator[Setting]:
    from sqlalchemy import create_engine

    from vaultstore import LocalKeys, Policy, Store
    from vaultstore.members import Base
    from vaultstore.members.resources import copy_policies
    from vaultstore.members.scenario import Setting
    from vaultstore.records import configure_sqlite

    gate = configure_sqlite(create_engine(f"sqlite:///{folder / 'gate.db'}", hide_parameters=True))
    with ExitStack() as resources:
        resources.callback(gate.dispose)
        store = resources.enter_context(
            Store.open(
                f"sqlite:///{folder / 'members.db'}",
                gate=gate,
                keys=resources.enter_context(LocalKeys.open(folder / "keys.json")),
                policy=Policy.load(copy_policies(folder / "policies")),
                models=Base,
            )
        )
        store.create_all()
        where = "Data in two SQLite files, keys in a file: the library, the gate and the key service refuse."
        yield Setting(store, gate, where, planes=False)


@contextmanager
def _on_servers(folder: Path) -> Iterator[Setting]:
    from sqlalchemy import create_engine

    from vaultstore import Policy, Store, VaultKeys
    from vaultstore.cli.opening import open_planes, source_of
    from vaultstore.members import Base
    from vaultstore.members.resources import copy_policies
    from vaultstore.members.scenario import Setting
    from vaultstore.members.schema import targets_of, upgrade
    from vaultstore.settings import Settings
    from vaultstore.testing import OpenBaoServer, PostgresServer

    click.echo("starting OpenBao and PostgreSQL…")
    with ExitStack() as resources:
        bao = resources.enter_context(OpenBaoServer("raft", max_request_json_strings=20_000))
        postgres = resources.enter_context(PostgresServer())
        database = postgres.create_database("members")
        settings = Settings(folder=folder, database=database, keys="vault", vault_url=bao.url)
        copy_policies(settings.policy_path)
        settings.save()
        with targets_of(settings.database_url) as targets:
            upgrade(targets)
        os.environ["VAULTSTORE_VAULT_TOKEN"] = bao.root_token
        try:
            with open_planes(source_of(folder)) as opened:
                for plane in opened.planes:
                    plane.apply()
        finally:
            del os.environ["VAULTSTORE_VAULT_TOKEN"]
        keys = resources.enter_context(VaultKeys(bao.url, token=bao.root_token, hmac_rate=settings.vault_hmac_rate))
        gate = create_engine(database, hide_parameters=True)
        resources.callback(gate.dispose)
        policy = Policy.load(settings.policy_path)
        store = resources.enter_context(Store.open(database, gate=gate, keys=keys, policy=policy, models=Base))
        store.subjects.publish_rules()
        where = "Data in PostgreSQL, keys in OpenBao, the policy applied to both: every plane refuses for itself."
        yield Setting(store, gate, where, planes=True)

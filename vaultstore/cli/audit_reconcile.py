"""``vaultstore audit reconcile``: Vault's own audit log against ours."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vaultstore.cli.audit import open_log
from vaultstore.cli.common import Failure, console, dir_option

__all__ = ["reconcile_command"]

_SHOWN = 200


@click.command("reconcile")
@dir_option
@click.argument("vault_log", metavar="VAULT_AUDIT.log", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def reconcile_command(folder: Path, vault_log: Path) -> None:
    """Match every unwrap in Vault's own audit log with an entry of ours, and the other way round.

    An unwrap without an entry is a read past the gate. Exit code 1 where the logs differ.
    """
    from rich.progress import Progress

    from vaultstore.errors import AuditError
    from vaultstore.evidence.reconcile import Mismatch, reconcile
    from vaultstore.evidence.vault_log import VaultLog

    out = console()
    shown = 0

    def tell(mismatch: Mismatch) -> None:
        nonlocal shown
        shown += 1
        if shown <= _SHOWN:
            click.secho(f"{mismatch.kind}: {mismatch.text}", fg="red")

    with open_log(folder) as at, vault_log.open("rb") as lines:
        log = VaultLog(lines, at.settings.vault_mount, at.settings.vault_prefix)
        with Progress(console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task("comparing", total=vault_log.stat().st_size)
            try:
                result = reconcile(at.engine, log, tell, lambda _: bar.update(task, completed=lines.tell()))
            except AuditError as flaw:
                raise Failure(f"{vault_log}: {flaw}") from None
    if shown > _SHOWN:
        out.print(f"... and {shown - _SHOWN:,} more")
    covers = log.covers()
    if covers is None:
        raise Failure(f"{vault_log} is empty: nothing was compared")
    span = f" from {covers[0]:%Y-%m-%d %H:%M:%S} to {covers[1]:%Y-%m-%d %H:%M:%S} UTC"
    out.print(f"{result.unwraps:,} unwraps in Vault's log{span}: {result.matched:,} have their entry")
    out.print(f"{result.refused:,} were refused by Vault" if result.refused else "none was refused by Vault")
    out.print(
        f"{result.entries:,} disclosures of ours in that time; {result.from_open_keys:,} of them used keys that were"
        " open already"
    )
    if result.found:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in result.found.most_common())
        raise Failure(f"the logs differ: {counts}")
    out.print("the logs agree")

"""``vaultstore subject``: what a member has a right to."""

from __future__ import annotations

import getpass
import uuid
from datetime import UTC, datetime
from pathlib import Path

import click

from vaultstore.cli.common import LazyGroup, dir_option

__all__ = ["subject_group"]

_NEW = click.Path(dir_okay=False, path_type=Path)


_LAZY = {
    "certificate": "vaultstore.cli.subject_erase:certificate_command",
    "erase": "vaultstore.cli.subject_erase:erase_command",
    "export": "vaultstore.cli.subject_export:export_command",
    "import": "vaultstore.cli.subject_export:import_command",
    "isolate-dormant": "vaultstore.cli.subject_states:isolate_command",
    "lift": "vaultstore.cli.subject_states:lift_command",
    "restrict": "vaultstore.cli.subject_states:restrict_command",
    "rotate-keys": "vaultstore.cli.subject_export:rotate_keys_command",
    "state": "vaultstore.cli.subject_states:state_command",
}
"""Subcommands of other modules: name -> ``module:attribute``."""


@click.group("subject", cls=LazyGroup, lazy=_LAZY)
def subject_group() -> None:
    """What members have a right to: who read their data, a copy of it, that it rests, that it is destroyed."""


@subject_group.command("report")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print the report's file, as JSON with all proofs.")
@click.option("--out", metavar="FILE", type=_NEW, help="Write that file: it is what `audit check-report` checks.")
@click.option("--html", metavar="FILE", type=_NEW, help="Write a page to read and to print.")
@click.option("--checkpoint", is_flag=True, help="Sign the log first, so that every line up to now can be proved.")
@click.option("--as", "name", metavar="NAME", help="Who makes it, for the audit log [the login's name].")
def report_command(
    folder: Path,
    member: uuid.UUID,
    as_json: bool,
    out: Path | None,
    html: Path | None,
    checkpoint: bool,
    name: str | None,
) -> None:
    """Report what was done with the data of MEMBER (an id): who, when, why, which data, with proofs.

    Without --json, --out or --html it is printed to read. Making a report is audited, and stands in the next one.
    """
    from vaultstore.audit.log import AuditLog
    from vaultstore.cli.audit import open_log
    from vaultstore.cli.store import open_store

    if checkpoint:
        with open_log(folder) as at, at.keys() as keys:
            log: AuditLog = at.log
            log.checkpoint(keys, datetime.now(UTC))
    from vaultstore.settings import Settings

    origin = Settings.load(folder).log_origin
    with open_store(folder) as store:
        report = store.report(member, operator=name or getpass.getuser(), origin=origin)
    if out is not None:
        out.write_bytes(report.data)
        click.echo(f"{out}: written", err=as_json)
    if html is not None:
        html.write_text(report.html(), encoding="utf-8")
        click.echo(f"{html}: written", err=as_json)
    if as_json:
        click.echo(report.data.decode())
    elif out is None and html is None:
        click.echo(report.text(), nl=False)

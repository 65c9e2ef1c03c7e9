"""``vaultstore subject restrict``, ``lift``, ``state`` and ``isolate-dormant``: members whose data rest."""

from __future__ import annotations

import getpass
import uuid
from datetime import timedelta
from pathlib import Path

import click

from vaultstore.cli.common import DURATION, console, dir_option, printable

__all__ = ["isolate_command", "lift_command", "restrict_command", "state_command"]

_REASON = "Why; it is kept, and is no place for personal data."
_NAME = "Who does it, for the audit log [the login's name]."


@click.command("restrict")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--reason", metavar="TEXT", required=True, help=_REASON)
@click.option("--as", "name", metavar="NAME", help=_NAME)
def restrict_command(folder: Path, member: uuid.UUID, reason: str, name: str | None) -> None:
    """Let the data of MEMBER (an id) rest: purposes that the policy does not list find no row of theirs any more."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        store.subjects.restrict(member, reason=reason, operator=name or getpass.getuser())
    click.echo(f"{member} is restricted")


@click.command("lift")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--reason", metavar="TEXT", required=True, help=_REASON)
@click.option("--as", "name", metavar="NAME", help=_NAME)
def lift_command(folder: Path, member: uuid.UUID, reason: str, name: str | None) -> None:
    """Lift the restriction of MEMBER (an id)."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        store.subjects.lift(member, reason=reason, operator=name or getpass.getuser())
    click.echo(f"{member} is active")


@click.command("state")
@dir_option
@click.argument("member", type=click.UUID)
def state_command(folder: Path, member: uuid.UUID) -> None:
    """Show the state of MEMBER (an id), and how they came to it."""
    from vaultstore.cli.store import open_store
    from vaultstore.errors import NotDisclosed

    with open_store(folder) as store:
        found = store.subjects.history(member)
    if not found:
        raise NotDisclosed(f"no subject {member} is registered", reason="subject.unknown", subject=member)
    out = console()
    out.print(f"{member} is {found[-1].state}")
    for change in found:
        why = f": {printable(change.reason)}" if change.reason else ""
        out.print(f"  {change.changed_at:%Y-%m-%d %H:%M} UTC  {change.state}{why}", markup=False)


@click.command("isolate-dormant")
@dir_option
@click.option("--inactive-for", type=DURATION, required=True, help="How long nobody saw them, such as 365d.")
@click.option("--dry-run", is_flag=True, help="Only count them.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many at once.")
@click.option("--as", "name", metavar="NAME", help=_NAME)
def isolate_command(folder: Path, inactive_for: timedelta, dry_run: bool, workers: int, name: str | None) -> None:
    """Restrict every member who was not seen for so long; a member who never logged in counts from when they came.

    Whoever is restricted already, erased or a canary is passed over. The store stays in use meanwhile. A run that was
    stopped goes on when the command runs again.
    """
    from vaultstore.cli.progress import job_progress, say_how_it_ended
    from vaultstore.cli.store import open_store

    with open_store(folder) as store, job_progress("isolate") as on_progress:
        summary = store.subjects.isolate_dormant(
            inactive_for,
            operator=name or getpass.getuser(),
            dry_run=dry_run,
            workers=workers,
            on_progress=on_progress,
        )
    if dry_run:
        click.echo(f"{summary.rows:,} would be looked at; nothing was changed")
        return
    say_how_it_ended(summary, "restricted")

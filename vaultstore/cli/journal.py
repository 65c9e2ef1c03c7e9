"""``vaultstore journal``: how a store stands to its journal, and doing again what a restored backup has forgotten."""

from __future__ import annotations

import getpass
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import Failure, console, dir_option

if TYPE_CHECKING:
    from vaultstore.lifecycle.journals import Outcome

__all__ = ["journal_group"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_AS = click.option("--as", "name", metavar="NAME", help="Who does it, for the audit log [the login's name].")


@click.group("journal")
def journal_group() -> None:
    """The journal: erasures, withdrawals, restrictions and revocations, apart from the databases."""


@journal_group.command("status")
@dir_option
def status_command(folder: Path) -> None:
    """Show how far the store has applied its journal; exit code 1 where the store does not open."""
    from rich.table import Table

    from vaultstore.cli.store import open_store

    with open_store(folder, replaying=True) as store:
        status = store.journal.status()
    table = Table(show_header=False, box=None, pad_edge=False)
    if status.path is None:
        table.add_row("journal", "none is kept (setting journal): a restored backup undoes erasures")
    else:
        table.add_row("journal", f"{status.path}" + (f" ({status.journal})" if status.journal else ", not begun yet"))
        table.add_row("lines", f"{status.lines:,}")
        table.add_row("applied", "none" if status.applied is None else f"up to line {status.applied + 1:,}")
        table.add_row("missing", f"{status.missing:,}")
    table.add_row("entries in the log", "unknown" if status.log is None else f"{status.log:,}")
    if status.kept is not None:
        table.add_row("newest kept checkpoint", f"{status.kept:,} entries")
    console().print(table)
    if status.why is not None:
        raise Failure(f"the store does not open: {status.why}")


@journal_group.command("verify")
@dir_option
@click.argument("file", type=_FILE, required=False)
def verify_command(folder: Path, file: Path | None) -> None:
    """Check every line of FILE, or of the store's journal, against the one before; exit code 1 where one was changed.

    With FILE no store is needed. Without, the store's own notes are held against the journal too.
    """
    from vaultstore.lifecycle.journal_file import JournalFile

    if file is not None:
        _report(file, Counter(line.kind for line in JournalFile(file).lines()))
        return
    from vaultstore.cli.store import open_store
    from vaultstore.settings import Settings

    path = Settings.load(folder).journal_path
    if path is None:
        raise Failure("no journal is kept (setting journal)")
    if not path.exists():
        raise Failure(f"{path} is not there: not begun yet, or gone; see `vaultstore journal status`")
    kinds = Counter(line.kind for line in JournalFile(path).lines())
    with open_store(folder, replaying=True) as store:
        status = store.journal.status()
    _report(path, kinds)
    if status.why is not None:
        raise Failure(status.why)


@journal_group.command("replay")
@dir_option
@click.argument("files", nargs=-1, metavar="[FILE]...", type=_FILE)
@click.option("--dry-run", is_flag=True, help="Say what is missing, and do nothing.")
@_AS
def replay_command(folder: Path, files: tuple[Path, ...], dry_run: bool, name: str | None) -> None:
    """Do again what FILEs, or the store's own journal, say and the store has forgotten. Then it opens.

    Name the journals of all services and hosts at once: they are replayed in order of time. Harmless when repeated.
    """
    from vaultstore.cli.store import open_store

    with open_store(folder, replaying=True) as store:
        if dry_run:
            found = store.journal.missing(files)
            for path, line in found:
                click.echo(f"{path}:{line.number + 1}: {line.kind} of {line.at:%Y-%m-%d %H:%M:%S} UTC")
            click.echo(f"{len(found):,} missing from the store; nothing was done")
            return
        outcome = store.journal.replay(files, operator=name or getpass.getuser())
    _tell(outcome)


@journal_group.command("lost")
@dir_option
@click.argument("journals", nargs=-1, metavar="[JOURNAL]...")
@click.option("--yes", is_flag=True, help="Do it: what stood in that journal alone is not done again by any replay.")
@_AS
def lost_command(folder: Path, journals: tuple[str, ...], yes: bool, name: str | None) -> None:
    """Give up a journal whose file is gone for good, so that the store opens and begins a new one. It is audited.

    JOURNAL is the id of a service's, as it asks for it; without one it is the store's own.
    """
    from vaultstore.cli.store import open_store

    if not yes:
        raise click.UsageError("look for the file first, where copies of it are kept; then say --yes")
    with open_store(folder, replaying=True) as store:
        lost = store.journal.give_up(journals, operator=name or getpass.getuser())
    for journal in lost:
        click.echo(f"given up: journal {journal}")
    if not lost:
        click.echo("no journal is missing")


def _report(path: Path, kinds: Counter[str]) -> None:
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()) if kind != "begin")
    click.echo(f"{path}: {kinds.total():,} lines hold together{f': {told}' if told else ''}")


def _tell(outcome: Outcome) -> None:
    done = outcome.replayed
    for path in outcome.torn:
        click.echo(f"{path}: its last line was cut short, and was taken away: it was never applied")
    for kind in sorted({*done.applied, *done.already}):
        click.echo(f"{kind}: {done.applied[kind]:,} applied, {done.already[kind]:,} were done already")
    if not done.applied and not done.already:
        click.echo("nothing was missing")
    if done.leftovers:
        click.echo(f"keys of {done.leftovers:,} erased members had come back, and were destroyed")
    loss = outcome.log
    if loss is not None:
        click.echo(
            f"THE AUDIT LOG LOST ENTRIES: it had {loss.log:,} when it was restored, and a signed checkpoint says"
            f" {loss.kept:,}. Entry {loss.entry} says so. `audit verify --checkpoint` goes on to report that"
            " checkpoint: keep it, and keep new ones in a new folder"
        )

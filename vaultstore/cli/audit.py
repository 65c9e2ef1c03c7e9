"""``vaultstore audit``: put entries into the signed tree, publish checkpoints, check everything, prove one entry."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import DURATION, Failure, LazyGroup, console, dir_option
from vaultstore.settings import Settings, listed

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from vaultstore.audit.log import AuditLog
    from vaultstore.keys import Keys
    from vaultstore.signed_note import Note, NoteKey

__all__ = ["LogAt", "audit_group", "keys_from", "open_log", "read_note"]

_LAZY = {
    "anomalies": "vaultstore.cli.audit_anomalies:anomalies_command",
    "check-certificate": "vaultstore.cli.audit_certificate:check_certificate_command",
    "check-report": "vaultstore.cli.audit_report:check_report_command",
    "inspection": "vaultstore.cli.audit_anomalies:inspection_command",
    "reconcile": "vaultstore.cli.audit_reconcile:reconcile_command",
}
"""Subcommands of other modules: name -> ``module:attribute``."""


@click.group("audit", cls=LazyGroup, lazy=_LAZY)
def audit_group() -> None:
    """The audit log: sign it, check it, and show what it says."""


@dataclass(frozen=True, slots=True)
class LogAt:
    """The log of a store, as its settings name it."""

    settings: Settings
    engine: Engine
    log: AuditLog

    @contextmanager
    def keys(self) -> Iterator[Keys]:
        """The store's key service."""
        with self.settings.open_keys() as keys:
            yield keys


@contextmanager
def open_log(folder: Path) -> Iterator[LogAt]:
    """The audit log of the store in `folder`; no policy, model or key is needed to read it. Raises SettingsError."""
    from sqlalchemy import create_engine, make_url

    from vaultstore.audit.log import AuditLog
    from vaultstore.errors import SettingsError
    from vaultstore.records import configure_sqlite

    settings = Settings.load(folder)
    url = make_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        gate = Path(url.database or "").with_name("gate.db")
        if not gate.exists():
            raise SettingsError(f"{gate} is missing: this store is not whole")
        url = url.set(database=str(gate))
    engine = create_engine(url, hide_parameters=True)
    if url.get_backend_name() == "sqlite":
        configure_sqlite(engine)
    try:
        yield LogAt(settings, engine, AuditLog(engine, settings.log_origin))
    finally:
        engine.dispose()


def keys_from(at: LogAt | None, file: Path | None) -> list[NoteKey]:
    """The keys that checkpoints are verified with: from a file of one key a line, else the store's key service."""
    from vaultstore.audit.log import note_keys
    from vaultstore.signed_note import NoteKey

    if file is not None:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [NoteKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
    if at is None:
        raise click.UsageError("name the file of the log's public keys with --keys")
    with at.keys() as keys:
        return note_keys(keys, at.log.origin)


def read_note(path: Path) -> Note:
    """The note in a file. Raises ProofError that names the file."""
    from vaultstore.errors import ProofError
    from vaultstore.signed_note import Note

    try:
        return Note.parse(path.read_bytes())
    except ProofError as flaw:
        raise ProofError(f"{path}: {flaw}") from None


_KEYS = click.option(
    "--keys",
    "keys_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Public keys of the log and its witnesses, one a line, as `audit keys` prints them [asks the key service].",
)


@audit_group.command("keys")
@dir_option
def keys_command(folder: Path) -> None:
    """Print the public keys that checkpoints of this log are signed with: give them to whoever is to check it."""
    with open_log(folder) as at:
        for key in keys_from(at, None):
            click.echo(str(key))


@audit_group.command("sequence")
@dir_option
@click.option("--every", type=DURATION, metavar="DURATION", help="Go on, and do it this often, until stopped.")
def sequence_command(folder: Path, every: timedelta | None) -> None:
    """Give committed entries their places in the tree. One process does it at a time; others do nothing."""
    stop = threading.Event()
    with open_log(folder) as at:
        if every is not None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while True:
            done = at.log.sequence()
            if done or every is None:
                click.echo(f"{done} entries put into the tree; it has {at.log.size}")
            if every is None or stop.wait(every.total_seconds()):
                return


@audit_group.command("checkpoint")
@dir_option
@click.option("--publish", "folders", metavar="FOLDER", multiple=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--unwitnessed", is_flag=True, help="Do not ask the witnesses of the settings to sign too.")
@click.option("--quorum", type=click.IntRange(1), help="Witnesses that are enough [all of them].")
def checkpoint_command(folder: Path, folders: tuple[Path, ...], unwitnessed: bool, quorum: int | None) -> None:
    """Sign the log as it is now. `--publish FOLDER` also writes the checkpoint there; it may be given again.

    Keep it where whoever runs the database can't reach: only a checkpoint from elsewhere shows a log that was cut.
    """
    from vaultstore.evidence.publish import Witness, to_folder, to_witnesses
    from vaultstore.lifecycle.journals import held_to

    with open_log(folder) as at, at.keys() as keys:
        kept, journal = at.settings.checkpoints_path, at.settings.journal_path
        # A log that went back is not signed as if nothing had happened: that would be a second history.
        held_to(at.engine, at.log.origin, keys, journal, kept, replaying=False)
        witnesses = [Witness.parse(text) for text in listed(at.settings.witnesses)] if not unwitnessed else []
        note = at.log.checkpoint(keys, datetime.now(UTC))
        failed: dict[str, str] = {}
        if witnesses:
            note, failed = to_witnesses(at.engine, at.log, note, witnesses, quorum=quorum)
        click.echo(str(note), nl=False)
        for where in folders:
            click.echo(f"written to {to_folder(note, where)}", err=True)
    for name, why in failed.items():
        click.echo(f"not signed by {name}: {why}", err=True)
    if len(witnesses) - len(failed) < (len(witnesses) if quorum is None else quorum):
        raise Failure("too few witnesses signed this checkpoint")


@audit_group.command("require")
@dir_option
@click.argument("within", metavar="DURATION|off")
def require_command(folder: Path, within: str) -> None:
    """Have nothing disclosed while the last checkpoint that witnesses signed is older than DURATION; `off` lifts it.

    It holds for every process on this database, at once. Run `audit checkpoint` more often than that.
    """
    span = None if within == "off" else DURATION.convert(within, None, None)
    with open_log(folder) as at:
        if span is not None and not at.settings.witnesses:
            raise Failure("there are no witnesses in the settings: nothing could be disclosed any more")
        at.log.require_checkpoint_within(span)
    click.echo("no checkpoint is required" if span is None else f"a checkpoint witnessed within {within} is required")


@audit_group.command("verify")
@dir_option
@click.option(
    "--checkpoint",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that was kept elsewhere; may be given again.",
)
@_KEYS
def verify_command(folder: Path, files: tuple[Path, ...], keys_file: Path | None) -> None:
    """Check every entry, every hash and every checkpoint; exit code 1 where anything was changed."""
    import time

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vaultstore.audit.verify import verify_log

    out = console()
    with open_log(folder) as at:
        keys, kept = keys_from(at, keys_file), [read_note(path) for path in files]
        began = time.monotonic()
        columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task("", total=at.log.size)
            result = verify_log(at.engine, at.log.origin, keys, kept, lambda count: bar.advance(task, count))
        took = time.monotonic() - began
    size = result.checkpoint.size
    rate = f"{size / took:,.0f} entries/s" if took > 0 else ""
    out.print(f"{size:,} entries checked ({rate}), {result.waiting:,} not in the tree yet")
    out.print(f"{result.signed} signed checkpoints hold; {size - result.covered:,} entries came after the last of them")
    if result.erased_lines:
        out.print(f"{result.erased_lines:,} lines are erased, as the acts of erasure say")
    for checkpoint in result.kept:
        out.print(f"the log continues the kept checkpoint of {checkpoint.size:,} entries")
    if not files:
        out.print(
            "a cut end, an older copy, a second history: NOT CHECKED, which takes a checkpoint from elsewhere"
            " (--checkpoint)"
        )
    for finding in result.findings:
        click.secho(str(finding), fg="red")
    if not result.whole:
        raise Failure(f"the log was changed; the first sign of it: {result.findings[0]}")
    out.print("nothing was found that is not as it was written")


@audit_group.command("prove")
@dir_option
@click.argument("entry")
def prove_command(folder: Path, entry: str) -> None:
    """Print the proof that an entry is in the log of the newest checkpoint, and the entry's leaf, for `check-proof`."""
    with open_log(folder) as at:
        found = at.log.prove([entry])
    if entry not in found:
        raise Failure("there is no entry of that id under the newest checkpoint: sign one, or look at the id")
    leaf, proof = found[entry]
    click.echo(f"{leaf}\n{proof}", nl=False)


@audit_group.command("check-proof")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--keys", "keys_file", metavar="FILE", required=True, type=click.Path(exists=True, path_type=Path))
def check_proof_command(file: Path, keys_file: Path) -> None:
    """Check what `audit prove` printed, with the log's public keys alone: no store, database or network is needed."""
    from vaultstore.audit.checkpoint import LeafProof
    from vaultstore.errors import ProofError

    keys = keys_from(None, keys_file)
    try:
        leaf, _, proof = file.read_text(encoding="utf-8").partition("\n")
        checkpoint = LeafProof.parse(proof).verify(leaf.encode(), keys[0].name if keys else "", keys)
    except (ProofError, UnicodeDecodeError) as flaw:
        raise Failure(f"{file}: {flaw}") from None
    click.echo(f"the entry is in the log {checkpoint.origin} of {checkpoint.size} entries")

"""``vaultstore policy compile``, ``apply`` and ``verify``: what the planes are told, and whether they still do it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vaultstore.cli.common import Failure, console, dir_option, failure_of, printable
from vaultstore.cli.findings import as_json, counted, show_absent, show_notes, show_plan, show_reports

if TYPE_CHECKING:
    from vaultstore.cli.opening import Source, Target
    from vaultstore.planes import Plane, Probe
    from vaultstore.planes.report import PlaneReport

__all__ = ["apply_command", "compile_command", "verify_command"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_EVERY = 20
"""Probes between two updates of the progress line."""


def _target(command: _Command) -> _Command:
    choice = click.Choice(["vault", "postgres", "library", "all"])
    return click.option("--target", type=choice, default="all", show_default=True, help="Only this plane.")(command)


def _live(command: _Command) -> _Command:
    """``--dir``, ``--target`` and ``--database``, of the commands that ask servers."""
    database = click.option(
        "--database", metavar="URL", help="The database as an operator reaches it [the store's own URL]."
    )
    return dir_option(_target(database(command)))


@click.command("compile")
@dir_option
@click.option(
    "--policies",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File or folder of the policy [the store's].",
)
@click.option("--models", metavar="MODULE:BASE", help="Declarative base, or several with commas [the store's].")
@_target
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write files into DIR.")
def compile_command(folder: Path, policies: Path | None, models: str | None, target: Target, out: Path | None) -> None:
    """Print what a fresh Vault and PostgreSQL would be told, for people to read. Asks no server for anything."""
    from vaultstore.cli.opening import compiled, source_of

    texts = compiled(source_of(folder, policies, models), target)
    if out is None:
        click.echo("\n".join(text.rstrip("\n") + "\n" for text in texts.values()), nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
        click.echo(str(out / name))


@click.command("apply")
@_live
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def apply_command(folder: Path, target: Target, database: str | None, dry_run: bool, yes: bool) -> None:
    """Make Vault and PostgreSQL enforce the policy, then publish it. Shows what it will do, and asks.

    It takes an operator's rights: VAULTSTORE_VAULT_TOKEN, and a database URL. Repeating it does nothing; after a
    failure it goes on where it stopped. Until its last step the gate decides by the policy before.
    """
    from vaultstore.cli.notes import notes_of
    from vaultstore.cli.opening import open_planes, source_of

    source = source_of(folder)
    _check(source)
    out = console()
    with open_planes(source, target, database) as opened:
        show_absent(out, opened.absent)
        plans = [(plane, plane.plan()) for plane in opened.planes]
        for plane, changes in plans:
            show_plan(out, plane.name, changes)
        wanted = sum(len(changes) for _, changes in plans)
        if wanted and not dry_run:
            if not yes:
                _ask(wanted)
            _apply(opened.planes)
        show_notes(out, notes_of(source, opened))


@click.command("verify")
@_live
@click.option("--json", "as_data", is_flag=True, help="As JSON.")
@click.option("--no-probes", is_flag=True, help="Only compare facts: try no cell.")
def verify_command(folder: Path, target: Target, database: str | None, as_data: bool, no_probes: bool) -> None:
    """Try every cell of the policy on the live planes, and compare their facts; exit code 1 on any difference.

    Too open and too closed count alike. Real tokens and roles are used; nothing stays behind.
    """
    from vaultstore.cli.opening import open_planes, source_of

    source = source_of(folder)
    out = console()
    with open_planes(source, target, database) as opened:
        reports = _examine(opened.planes, probes=not no_probes)
    if as_data:
        click.echo(json.dumps(as_json(reports, opened.absent, probed=not no_probes), ensure_ascii=False, indent=2))
    else:
        show_absent(out, opened.absent)
        show_reports(out, reports, probed=not no_probes)
    found = sum(len(report.differences) for report in reports)
    if found:
        raise Failure(f"the planes are not what the policy says: {counted(found, 'difference')}")


def _check(source: Source) -> None:
    """Raise Failure where the policy has an error, its own tests and bars included: such a one is not rolled out."""
    report = source.policy.check(source.bound.catalogue, source.policy.lock_file)
    for error in report.errors:
        click.secho(printable(f"{error}"), fg="red", err=True)
    if not report.ok:
        raise Failure(f"the policy has {counted(len(report.errors), 'error')}: nothing was looked at")


def _ask(wanted: int) -> None:
    """Raise Failure where nobody can be asked, Abort where the answer is no."""
    if not _interactive():
        raise Failure("nobody is here to ask: look at the plan with --dry-run, then give --yes")
    click.confirm(f"Make {counted(wanted, 'change')}?", abort=True)


def _interactive() -> bool:
    return sys.stdin.isatty()


def _apply(planes: Sequence[Plane]) -> None:
    done: list[str] = []
    for plane in planes:
        try:
            changes = plane.apply()
        except Exception as error:
            so_far = "; ".join([*done, f"{plane.name} stopped"])
            again = f"{so_far}. What was done stays; run `vaultstore policy apply` again: it goes on from there"
            failure = failure_of(error)
            if failure is None:
                click.echo(again, err=True)
                raise
            raise Failure(f"{plane.name}: {failure.message} ({again})") from None
        if changes:
            done.append(f"{plane.name}: {counted(len(changes), 'change')} made")
            click.echo(done[-1])


def _examine(planes: Sequence[Plane], *, probes: bool) -> list[PlaneReport]:
    from vaultstore.planes.report import examine

    reports = []
    with console(stderr=True).status("looking…") as status:
        for plane in planes:
            tried = 0
            status.update(f"{plane.name}: comparing facts…")

            def told(probe: Probe, plane: Plane = plane) -> None:
                nonlocal tried
                tried += 1
                if tried % _EVERY == 0:
                    status.update(f"{plane.name}: {tried:,} cells tried, now {probe.cell.purpose}")

            reports.append(examine(plane, probes=probes, tried=told))
    return reports

"""``vaultstore audit check-report``: a member's report, checked with the log's public key alone."""

from __future__ import annotations

from pathlib import Path

import click

from vaultstore.cli.audit import keys_from
from vaultstore.cli.common import Failure, console

__all__ = ["check_report_command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("check-report")
@click.argument("file", type=_FILE)
@click.option(
    "--keys",
    "keys_file",
    metavar="FILE",
    required=True,
    type=_FILE,
    help="Public keys of the log, one a line, as `audit keys` prints them.",
)
@click.option(
    "--earlier", metavar="FILE", type=_FILE, help="A former report of the same member: nothing of it may be missing."
)
def check_report_command(file: Path, keys_file: Path, earlier: Path | None) -> None:
    """Check a member's report: each line, its numbers, and that nothing in it was altered. No store is needed.

    Exit code 1 where something does not hold, or a number is missing.
    """
    from vaultstore.errors import ProofError
    from vaultstore.evidence.check_report import check_report
    from vaultstore.evidence.report_text import Gap

    keys = keys_from(None, keys_file)
    try:
        former = None if earlier is None else earlier.read_bytes()
        report = check_report(file.read_bytes(), keys, former)
    except ProofError as flaw:
        raise Failure(f"{file}: {flaw}") from None
    out = console()
    proved = len(report.lines) - len(report.waiting)
    out.print(f"the report of {report.subject}, made {report.made_at:%Y-%m-%d %H:%M} UTC, is as it was sealed")
    out.print(f"{proved:,} of {len(report.lines):,} lines are in the log {report.origin} of {report.size:,} entries")
    if report.waiting:
        out.print(f"{_listed(report.waiting)} not yet provable: the log was not signed over them yet")
    if report.withheld:
        out.print(f"{_listed(report.withheld)} withheld for now: a later report has to show the same entries")
    if earlier is not None:
        out.print("every line of the earlier report is in it, unchanged")
    if report.gaps:
        raise Failure("; ".join(str(Gap(*gap)) for gap in report.gaps))
    out.print(f"no number from 1 to {report.last:,} is missing")


def _listed(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    more = f" and {len(numbers) - 10:,} more" if len(numbers) > 10 else ""
    return f"{'line' if len(numbers) == 1 else 'lines'} {shown}{more}:"

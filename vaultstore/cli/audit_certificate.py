"""``vaultstore audit check-certificate``: a certificate of erasure, checked with the log's public key alone."""

from __future__ import annotations

from pathlib import Path

import click

from vaultstore.cli.audit import keys_from
from vaultstore.cli.common import Failure, console

__all__ = ["check_certificate_command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("check-certificate")
@click.argument("file", type=_FILE)
@click.option(
    "--keys",
    "keys_file",
    metavar="FILE",
    required=True,
    type=_FILE,
    help="Public keys of the log, one a line, as `audit keys` prints them.",
)
def check_certificate_command(file: Path, keys_file: Path) -> None:
    """Check a certificate of erasure: each act, its place in the log, and that nothing was altered. No store is needed.

    Exit code 1 where something does not hold.
    """
    from vaultstore.errors import ProofError
    from vaultstore.lifecycle.certificate_check import check_certificate

    try:
        certificate = check_certificate(file.read_bytes(), keys_from(None, keys_file))
    except ProofError as flaw:
        raise Failure(f"{file}: {flaw}") from None
    out = console()
    first = certificate.acts[0]
    out.print(f"{certificate.subject} was erased at {first.at:%Y-%m-%d %H:%M} UTC: {first.content['reason']}")
    out.print(f"{first.keys:,} data keys were destroyed, {first.content['log']['lines']:,} audit lines taken out")
    for act in certificate.acts[1:]:
        when = f"when case {act.content['case']} was closed" if act.content["case"] else "when it was repeated"
        out.print(f"{act.keys:,} more at {act.at:%Y-%m-%d %H:%M} UTC, {when}")
    for held in certificate.held:
        out.print(
            f"case {held['case']} holds {held['keys']:,} keys of {held['scope']} still: ask for a later certificate"
        )
    for kind, end in sorted(certificate.horizon.items()):
        gone = "at a time that nobody named" if end is None else f"by {end:%Y-%m-%d %H:%M} UTC"
        out.print(f"{kind.replace('_', ' ')} of before are gone {gone}")
    out.print(f"each act is in the log {certificate.origin} of {certificate.size:,} entries; the seal holds")

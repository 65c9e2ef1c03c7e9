"""``vaultstore subject erase`` and ``certificate``: destroy what is a member's, and prove that it was done."""

from __future__ import annotations

import getpass
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import Failure, console, dir_option

if TYPE_CHECKING:
    from vaultstore.lifecycle.erasure import Erased

__all__ = ["certificate_command", "erase_command"]

_NEW = click.Path(dir_okay=False, path_type=Path)


@click.command("erase")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--reason", metavar="TEXT", required=True, help="Why; it stands in the certificate.")
@click.option("--out", metavar="FILE", type=_NEW, help="Write the certificate, which signs the audit log first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--as", "name", metavar="NAME", help="Who does it, for the audit log [the login's name].")
def erase_command(folder: Path, member: uuid.UUID, reason: str, out: Path | None, yes: bool, name: str | None) -> None:
    """Destroy the data keys of MEMBER (an id), their indexes, what the models declare, and their audit lines.

    Nothing brings it back. What an open case holds stays for that case until it closes. Repeating it is harmless.
    """
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        if store.subjects.state(member) is None:
            raise Failure(f"nobody is registered by the id {member}: is it spelled right?")
        if not yes:
            click.confirm(f"Erase {member}? Nothing brings it back", abort=True, err=True)
        erased = store.subjects.erase(member, reason=reason, operator=name or getpass.getuser())
        _tell(erased)
        if out is not None:
            out.write_bytes(store.subjects.certificate(member).data)
            click.echo(f"{out}: written")


@click.command("certificate")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--out", metavar="FILE", required=True, type=_NEW, help="Where to write it.")
def certificate_command(folder: Path, member: uuid.UUID, out: Path) -> None:
    """Write the signed certificate of a member's erasure: `audit check-certificate` checks it anywhere.

    The audit log is signed first where it has not been since.
    """
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        certificate = store.subjects.certificate(member)
    out.write_bytes(certificate.data)
    click.echo(f"{out}: written")


def _tell(erased: Erased) -> None:
    out = console()
    if not erased.new:
        out.print(f"{erased.subject} was erased at {erased.at:%Y-%m-%d %H:%M} UTC; nothing was left to destroy")
    first = erased.bodies[0]
    if erased.new:
        out.print(f"{erased.subject} is erased: {erased.keys:,} data keys destroyed")
        for act, verb in (("blanked", "emptied"), ("deleted", "deleted")):
            for each in first[act]:
                if each["rows"]:
                    columns = f": {', '.join(each['columns'])}" if each.get("columns") else ""
                    out.print(f"  {each['rows']:,} of {each['model']} {verb}{columns}")
        out.print(f"  {first['log']['lines']:,} lines taken out of the audit log")
        kept: dict[tuple[str, str], list[str]] = {}
        for each in first["kept"]:
            kept.setdefault((each["model"], each["because"]), []).append(each["column"])
        for (model, why), names in kept.items():
            out.print(f"  kept of {model}: {', '.join(names)}: {why}")
        for each in first["not_declared"]:
            out.print(f"  not declared, so still there: {each['model']}: {', '.join(each['columns'])}")
    for each in erased.held:
        out.print(f"  held by case {each['case']} until it closes: {each['keys']:,} keys of {each['scope']}")
    unknown = sorted(kind for kind, end in first["horizon"].items() if end is None)
    if erased.new and unknown:
        words = ", ".join(kind.replace("_", " ") for kind in unknown)
        out.print(f"  when copies of before are gone is not known of: {words} (setting retention)")

"""``vaultstore token``: issue a purpose-bound token, or look into one."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import click

from vaultstore.cli.common import DURATION, PAIR, console, dir_option, printable, read_token

__all__ = ["token_group"]

_TIMES = ("iat", "nbf", "exp")


@click.group("token")
def token_group() -> None:
    """Issue and inspect purpose-bound tokens."""


@token_group.command("issue")
@dir_option
@click.option("--actor", metavar="ID", help="Who acts: a stable id.")
@click.option("--role", metavar="ROLE", help="The role they act in.")
@click.option("--purpose", required=True, metavar="PURPOSE", help="What for: a purpose of the policy.")
@click.option("--attr", "attributes", type=PAIR, multiple=True, help="An attribute, such as store=sh-01. Repeatable.")
@click.option("--subject", "subjects", type=click.UUID, multiple=True, help="Only this member. Repeatable.")
@click.option("--case", metavar="CASE", help="The case it is for.")
@click.option("--ttl", type=DURATION, help="How long it holds, such as 5m [as long as the purpose allows].")
@click.option(
    "--assertion",
    metavar="FILE",
    type=click.File(),
    help="The identity provider's token, - for stdin: the issuer takes actor and role from it.",
)
def issue_command(
    folder: Path,
    actor: str | None,
    role: str | None,
    purpose: str,
    attributes: tuple[tuple[str, str], ...],
    subjects: tuple[uuid.UUID, ...],
    case: str | None,
    ttl: timedelta | None,
    assertion: TextIO | None,
) -> None:
    """Print a token, and nothing else, on stdout.

    The store's key file vouches for whatever you say here. Where the store's issuer_url names an issuer, that process
    takes actor, role and attributes from --assertion instead; --role then names one where it holds several.
    """
    from vaultstore.cli.store import open_store
    from vaultstore.grants import Actor

    if assertion is not None:
        if actor or attributes:
            raise click.UsageError("--assertion says who acts: leave out --actor and --attr")
        click.echo(_from_issuer(folder, assertion, purpose, role, subjects, case, ttl))
        return
    if actor is None or role is None:
        raise click.UsageError("say who acts: --actor and --role, or --assertion where there is an issuer")
    named = dict(attributes)
    if len(named) != len(attributes):
        raise click.UsageError("--attr: a name is given twice")
    with open_store(folder) as store:
        token = store.issue(Actor(actor, role, named), purpose, subjects=subjects or None, case=case, ttl=ttl)
    click.echo(token)


def _from_issuer(
    folder: Path,
    assertion: TextIO,
    purpose: str,
    role: str | None,
    subjects: tuple[uuid.UUID, ...],
    case: str | None,
    ttl: timedelta | None,
) -> str:
    from vaultstore.settings import Settings

    settings = Settings.load(folder)
    if not settings.issuer_url:
        raise click.UsageError("--assertion is for an issuer: set issuer_url, or VAULTSTORE_ISSUER_URL")
    text = assertion.read(32 * 1024).strip()  # more than the issuer reads: it says so
    with settings.open_issuer() as client:
        return client.issue(text, purpose, subjects or None, case, ttl, role=role)


@token_group.command("inspect")
@dir_option
@click.argument("token", default="-")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def inspect_command(folder: Path, token: str, as_json: bool) -> None:
    """Show what TOKEN says; without it, or with -, it comes from stdin (and stays out of the shell's history).

    Where DIR holds a store, the token is verified too, and one that does not verify ends with exit code 1. The token
    itself is never printed.
    """
    from vaultstore.errors import TokenError
    from vaultstore.settings import FILE_NAME
    from vaultstore.tokens import inspect

    token = read_token(token)
    seen = inspect(token)
    flaw: TokenError | None = None
    if (folder / FILE_NAME).exists():
        from vaultstore.cli.store import open_store

        with open_store(folder) as store:
            try:
                store.verify(token)
            except TokenError as error:
                flaw = error
        seen["verified"] = flaw is None
    else:
        seen["verified"] = None
    if as_json:
        click.echo(json.dumps(seen, ensure_ascii=False, indent=2))
    else:
        _show(seen)
    if flaw is not None:
        raise flaw


def _show(seen: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    verdict = {
        True: Text("verified: signature, times and purpose hold (revocation is the gate's to check)", "green"),
        False: Text("NOT verified: do not believe what it says", "red"),
        None: Text("not verified: there is no store here to verify it with", "yellow"),
    }[seen["verified"]]
    table = Table(show_header=False)
    table.add_column("claim", style="bold")
    table.add_column("value", overflow="fold")
    for part in ("header", "claims"):
        for name, value in seen[part].items():
            table.add_row(Text(printable(name)), Text(_readable(name, value)))
        table.add_section()
    out = console()
    out.print(verdict)
    out.print(table)


def _readable(name: str, value: object) -> str:
    if name in _TIMES and type(value) is int:
        try:
            return f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
        except (ValueError, OverflowError, OSError):
            pass
    if isinstance(value, str):
        return printable(value)
    return printable(json.dumps(value, ensure_ascii=False))

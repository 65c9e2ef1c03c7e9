"""``vaultstore consent``: what members agreed to, under which notice, and that they took it back."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import console, dir_option, printable

if TYPE_CHECKING:
    from vaultstore.policy import BoundPolicy

__all__ = ["consent_group"]


@click.group("consent")
def consent_group() -> None:
    """Write down what members consent to, and take it back."""


@consent_group.command("grant")
@dir_option
@click.argument("member", type=click.UUID)
@click.argument("kind")
@click.option("--notice", metavar="VERSION", required=True, help="Version of the notice that the member was shown.")
@click.option("--evidence", metavar="TEXT", help="How that is known, such as a form's id; no personal data.")
def grant_command(folder: Path, member: uuid.UUID, kind: str, notice: str, evidence: str | None) -> None:
    """Write down that MEMBER (an id) gave the consent KIND, having read that notice."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        _known(store.policy, kind)
        store.consents.grant(member, kind, notice_version=notice, evidence=evidence)
    click.echo(f"{member} consents to {kind} (notice {notice})")


@consent_group.command("withdraw")
@dir_option
@click.argument("member", type=click.UUID)
@click.argument("kind")
def withdraw_command(folder: Path, member: uuid.UUID, kind: str) -> None:
    """End the consent KIND of MEMBER (an id): the very next disclosure that takes it is refused, in every process."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        ended = store.consents.withdraw(member, kind)
        if not ended:
            _known(store.policy, kind)
    click.echo(f"{member} no longer consents to {kind}" if ended else f"{member} gave no consent to {kind} that holds")


@consent_group.command("history")
@dir_option
@click.argument("member", type=click.UUID)
def history_command(folder: Path, member: uuid.UUID) -> None:
    """Show every consent of MEMBER (an id), oldest first: kind, notice, since when, until when, how it is known."""
    from vaultstore.cli.store import open_store

    with open_store(folder) as store:
        found = store.consents.history(member)
    out = console()
    if not found:
        out.print(f"{member} never gave a consent")
    for one in found:
        until = f"withdrawn {one.withdrawn_at:%Y-%m-%d %H:%M} UTC" if one.withdrawn_at else "holds"
        how = f"; {printable(one.evidence)}" if one.evidence else ""
        since = f"{one.granted_at:%Y-%m-%d %H:%M} UTC"
        out.print(f"{one.kind}  notice {printable(one.notice_version)}  given {since}  {until}{how}", markup=False)


def _known(policy: BoundPolicy, kind: str) -> None:
    """Refuse a kind that nothing in the policy asks for: it would be a slip that nobody notices."""
    from vaultstore.errors import UnsupportedOperation
    from vaultstore.policy.words import hint, shown

    kinds = {p.requires.consent for p in policy.purposes.values()} | {c.consent for c in policy.categories.values()}
    known = sorted(each for each in kinds if each is not None)
    if kind not in known:
        near = hint(kind, known) or f"; there are: {', '.join(known) or 'none'}"
        raise UnsupportedOperation(f"no purpose and no category of the policy takes a consent {shown(kind)}{near}")

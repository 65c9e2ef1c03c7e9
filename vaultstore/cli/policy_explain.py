"""``vaultstore policy explain``: one decision, the line of policy behind it, and how one member stands to it now."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import console, dir_option, duration, printable
from vaultstore.errors import SettingsError
from vaultstore.policy.rights import consents_of

if TYPE_CHECKING:
    from vaultstore.cli.policy_subject import Standing
    from vaultstore.policy import BoundPolicy, Explanation

__all__ = ["explain_command"]

_COLOURS = {"clear": "green", "masked": "yellow", "denied": "red"}


@click.command("explain")
@dir_option
@click.option(
    "--policies",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File or folder of the policy [the store's].",
)
@click.option("--models", metavar="MODULE:BASE", help="Declarative base, or several with commas [the store's].")
@click.option("--purpose", required=True, metavar="PURPOSE", help="A purpose of the policy.")
@click.option("--field", required=True, metavar="MODEL.FIELD", help="An encrypted field, such as Member.phone.")
@click.option("--subject", type=click.UUID, metavar="UUID", help="Also how this member stands to it, in the store.")
@click.option("--database", metavar="URL", help="With --subject: the database as an operator reaches it [the store's].")
def explain_command(
    folder: Path,
    policies: Path | None,
    models: str | None,
    purpose: str,
    field: str,
    subject: uuid.UUID | None,
    database: str | None,
) -> None:
    """Why a purpose gets what it gets of a field, and the line of policy that says so.

    With --subject also whether the gate would open that member's row now, and what refuses. It looks at the gate's
    records only: no sensitive value is read, no limit is charged.
    """
    from vaultstore.cli.store import policy_and_models
    from vaultstore.policy import explain

    model, dot, name = field.partition(".")
    if not (dot and model and name):
        raise click.UsageError("--field is MODEL.FIELD, such as Member.phone")
    if database is not None and subject is None:
        raise click.UsageError("--database goes with --subject: nothing else here asks a database")
    source = policy_and_models(folder, policies, models)
    bound = source.policy.bind(source.catalogue)
    told = explain(bound, purpose, model, name)
    stands = None if subject is None else _standing(folder, database, bound, purpose, subject)
    _explain(told, bound)
    if subject is not None and stands is not None:
        _tell(told, subject, stands)


def _standing(folder: Path, database: str | None, bound: BoundPolicy, purpose: str, subject: uuid.UUID) -> Standing:
    from vaultstore.cli.opening import with_driver
    from vaultstore.cli.policy_subject import gate_tables, standing
    from vaultstore.settings import FILE_NAME, Settings

    if not (folder / FILE_NAME).exists():
        raise SettingsError(
            f"{folder / FILE_NAME} is missing: --subject looks into a store, name its folder with --dir"
        )
    settings = Settings.load(folder)
    if database is not None:
        settings = replace(settings, database=with_driver(database))
    with gate_tables(settings.database_url) as connection:
        return standing(connection, bound, purpose, subject)


def _say() -> Callable[..., None]:
    out = console()
    return lambda text, style="": out.print(printable(text), style=style, markup=False)


def _explain(told: Explanation, bound: BoundPolicy) -> None:
    cell, purpose, say = told.cell, told.purpose, _say()
    say(f"{cell.purpose} gets {cell.model}.{cell.field}: {told.decision}", f"bold {_COLOURS[told.decision.kind]}")
    say(f"  because {told.decision.because}")
    say(f"  {told.decision.place}: {told.line.strip()}")
    say(f"  search: {'by equality' if cell.search else 'no'}; write: {'yes' if cell.write else 'no'}")
    if told.decision.kind != "denied":
        say(f"  rows: {told.rows or 'all'}")
    if purpose.keeps_keys:
        say(f"  keys: it may {', '.join(sorted(purpose.keeps_keys))} those of every category, and opens nothing by it")
    if purpose.replaces_keys:
        say("  keys: it may replace a named subject's data keys, and destroy the old ones")
    say(f"  requires: {', '.join(purpose.requires.words()) or 'nothing more'}")
    for category, kind in consents_of(purpose, bound.categories).items():
        say(f"  consent for {category}: {kind}, to open or write it")
    for verb, limits in purpose.limits.items():
        say(f"  limit on {verb}: " + ", ".join(f"{limit.max} per {limit.per} by {limit.by}" for limit in limits))
    say(f"  roles: {', '.join(sorted(purpose.roles))}")
    serving = [name for name, service in bound.services.items() if cell.purpose in service.purposes]
    say(f"  services: {', '.join(serving) or 'none serves it'}")
    say(f"  a token holds for {duration(purpose.ttl)}; {purpose.batch} at a time")


def _tell(told: Explanation, subject: uuid.UUID, stands: Standing) -> None:
    say = _say()
    say(f"member {subject}", "bold")
    for fact in stands.facts:
        say(f"  {fact}")
    refusals = list(stands.refusals)
    if told.decision.kind == "denied":
        refusals.insert(0, ("not.granted", f"{told.cell.purpose} does not read {told.cell.model}.{told.cell.field}"))
    if refusals:
        say("  would the gate admit it now? no", "red")
        for code, reason in refusals:
            say(f"    {code}: {reason}")
        return
    scope = [f"a row that {told.rows} shows to the actor"] if told.rows else []
    limits = ["room in the limits"] if "disclose" in told.purpose.limits else []
    roles = f"the role {' or '.join(sorted(told.purpose.roles))}"
    say(f"  would the gate admit it now? yes, with {'; '.join([roles, *stands.conditions, *scope, *limits])}", "green")

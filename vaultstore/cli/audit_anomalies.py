"""``vaultstore audit anomalies`` and ``inspection``: who departs from their peers, and one store in detail."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from vaultstore.cli.audit import open_log
from vaultstore.cli.common import Failure, console, dir_option, printable

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

    from vaultstore.evidence.anomalies import Anomalies, Departure, Followed, StoresOf
    from vaultstore.evidence.anomalies_tally import Tally
    from vaultstore.policy import Policy

__all__ = ["anomalies_command", "inspection_command"]

_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_SINCE = click.option("--since", type=_WHEN, metavar="DATE", help="From this day on, in the policy's time zone.")
_UNTIL = click.option("--until", type=_WHEN, metavar="DATE", help="Up to this day, which is left out.")


@click.command("anomalies")
@dir_option
@_SINCE
@_UNTIL
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="Only this role; may be given again.")
@click.option("--pseudonyms", is_flag=True, help="Name actors as members' reports do, not by their ids.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def anomalies_command(
    folder: Path,
    since: datetime | None,
    until: datetime | None,
    roles: tuple[str, ...],
    pseudonyms: bool,
    as_json: bool,
) -> None:
    """List actors whose reading departs from their peers': same role, stores of about the same size.

    Volume, bursts, hours, refusals, searches, breadth across stores, members never followed up. A departure is a reason
    to look, not a verdict.
    """
    with _counted(folder, since, until, roles) as (tally, found, _):
        entries = tally.entries
    told = [_as_json(departure, pseudonyms) for departure in found.departures]
    if as_json:
        content = {
            "entries": entries,
            "compared": found.compared,
            "too_few_peers": len(found.alone),
            "unmeasured": list(found.unmeasured),
            "departures": told,
        }
        click.echo(json.dumps(content, ensure_ascii=False, indent=2))
        return
    out = console()
    out.print(f"{entries:,} entries; {found.compared:,} actors compared with their peers")
    for one in told:
        store = f", store {one['store']}" if one["store"] else ""
        out.print(printable(f"{one['actor']} ({one['peers']}{store}): {one['score']:.1f}"), markup=False)
        for finding in one["findings"]:
            days = f" [{'; '.join(finding['days'])}]" if finding["days"] else ""
            line = f"  {finding['kind']}: {finding['did']}; usual: {finding['usual']}{days}"
            out.print(printable(line), markup=False)
    if not told:
        out.print("nobody departs from their peers")
    if found.alone:
        out.print(f"{len(found.alone):,} actors have too few peers to say what is usual")
    for sentence in found.unmeasured:
        out.print(f"not measured: {sentence}")


@click.command("inspection")
@dir_option
@click.argument("store")
@click.option(
    "--html", required=True, metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="The page."
)
@_SINCE
@_UNTIL
@click.option("--actors", is_flag=True, help="Name actors by their ids, not by pseudonyms.")
def inspection_command(
    folder: Path, store: str, html: Path, since: datetime | None, until: datetime | None, actors: bool
) -> None:
    """Write a page about STORE for whoever inspects it: who read what, what was refused, what to look at first.

    It names no member.
    """
    from vaultstore.evidence.inspection import inspect_store
    from vaultstore.evidence.inspection_html import inspection_page

    with _counted(folder, since, until, ()) as (tally, found, policy):
        inspected = inspect_store(tally, found, store, policy.rules.purposes, policy.rules.timezone)
    if not inspected.staff:
        raise Failure(f"the log has no entry of anybody of the store {store!r} in that time")
    html.write_text(inspection_page(inspected, pseudonyms=not actors), encoding="utf-8")
    click.echo(f"{html}: written")


def _as_json(departure: Departure, pseudonyms: bool) -> dict[str, Any]:
    who = departure.who
    return {
        "actor": who.pseudonym if pseudonyms else who.actor,
        "role": who.role,
        "store": who.store,
        "peers": departure.peers,
        "score": round(departure.score, 2),
        "findings": [
            {"kind": f.kind, "score": round(f.score, 2), "usual": f.usual, "did": f.did, "days": list(f.days)}
            for f in departure.findings
        ],
    }


@contextmanager
def _counted(
    folder: Path, since: datetime | None, until: datetime | None, roles: Collection[str]
) -> Iterator[tuple[Tally, Anomalies, Policy]]:
    """The log, counted once, and who departs."""
    from vaultstore.evidence.anomalies import find_anomalies
    from vaultstore.evidence.anomalies_tally import Scope, tally
    from vaultstore.policy import Policy

    with open_log(folder) as at, _members(folder) as (stores_of, followed):
        policy = Policy.load(at.settings.policy_path)
        zone = ZoneInfo(policy.rules.timezone)
        # Members among themselves have no peers at work.
        own = {n for n, p in policy.rules.purposes.items() if p.requires.subjects == "self" or p.roles == {"member"}}
        scope = Scope(_moment(since, zone), _moment(until, zone), roles, own)
        with tally(at.engine, zone, scope) as counted:
            yield counted, find_anomalies(counted, stores_of, followed), policy


def _moment(day: datetime | None, zone: ZoneInfo) -> datetime | None:
    return None if day is None else day.replace(tzinfo=zone).astimezone(UTC)


@contextmanager
def _members(folder: Path) -> Iterator[tuple[StoresOf | None, Followed | None]]:
    """What clear columns say of members: whose store they are of, and who has a lead of them."""
    from sqlalchemy import create_engine

    from vaultstore.cli.store import load_models
    from vaultstore.settings import Settings

    settings = Settings.load(folder)
    tables: dict[str, Table] = {}
    for base in load_models(settings.models, settings.folder):
        tables |= {m.class_.__name__: m.local_table for m in base.registry.mappers}
    engine = create_engine(settings.database_url, hide_parameters=True)
    member, lead = tables.get("Member"), tables.get("Lead")
    try:
        yield (
            _stores_of(engine, member) if member is not None and {"id", "store"} <= {*member.c.keys()} else None,
            _followed(engine, lead) if lead is not None and {"member_id", "actor_id"} <= {*lead.c.keys()} else None,
        )
    finally:
        engine.dispose()


def _stores_of(engine: Engine, member: Table) -> StoresOf:
    import uuid

    import sqlalchemy as sa

    def stores(members: Collection[bytes]) -> Mapping[bytes, str]:
        query = sa.select(member.c.id, member.c.store).where(member.c.id.in_([uuid.UUID(bytes=m) for m in members]))
        with engine.connect() as connection:
            return {row[0].bytes: row[1] for row in connection.execute(query)}

    return stores


def _followed(engine: Engine, lead: Table) -> Followed:
    import uuid

    import sqlalchemy as sa

    def followed(actor: str, members: Collection[bytes]) -> Collection[bytes]:
        query = sa.select(lead.c.member_id).where(
            lead.c.actor_id == actor, lead.c.member_id.in_([uuid.UUID(bytes=m) for m in members])
        )
        with engine.connect() as connection:
            return {row[0].bytes for row in connection.execute(query)}

    return followed

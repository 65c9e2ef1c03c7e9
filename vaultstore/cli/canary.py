"""``vaultstore canary``: members who are nobody, so that a leak says where it came from."""

from __future__ import annotations

from pathlib import Path

import click

from vaultstore.cli.common import console, dir_option, printable

__all__ = ["canary_group"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("canary")
def canary_group() -> None:
    """Canaries: members who are nobody, so that a leak says where it came from."""


@canary_group.command("plant")
@dir_option
@click.option("--numbers", type=_FILE, required=True, metavar="FILE", help="Numbers of yours: phone[,wechat] a line.")
@click.option("--actors", type=_FILE, metavar="FILE", help="Whom to plant for: actor,store a line.")
@click.option("--store", "stores", multiple=True, metavar="STORE", help="Plant for a whole store; may be repeated.")
@click.option("--per-actor", type=click.IntRange(1, 100), default=1, show_default=True, help="How many for each.")
def plant_command(folder: Path, numbers: Path, actors: Path | None, stores: tuple[str, ...], per_actor: int) -> None:
    """Plant canaries: for each actor one that is their lead, for a store one that all of it can see.

    They are written as registrations, with the consent that members give; nobody in sales can tell them from members.
    Matching does not see them, calls to them are dropped, and `vaultstore trace` names them.
    """
    from rich.table import Table

    from vaultstore.cli.audit import open_log
    from vaultstore.cli.store import open_store
    from vaultstore.evidence.canaries import Post, plan, read_numbers, read_posts
    from vaultstore.members.canaries import plant

    posts = [*(read_posts(actors) if actors is not None else []), *(Post(name) for name in stores)]
    if not posts:
        raise click.UsageError("say whom for: --actors FILE, --store STORE, or both")
    plots = plan(posts, read_numbers(numbers), per_actor)
    with open_store(folder) as store, open_log(folder) as at:
        planted = plant(store, at.engine, plots)
    table = Table("member", "store", "for", "lead", box=None, pad_edge=False)
    for one in planted:
        lead = "" if one.post.actor is None else "handed out" if one.lead else "hand it out in the CRM"
        table.add_row(str(one.member), printable(one.post.store), printable(one.post.actor or "the whole store"), lead)
    out = console()
    out.print(table)
    out.print(f"{len(planted)} canaries planted: keep this list from sales")

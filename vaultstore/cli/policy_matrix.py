"""``vaultstore policy matrix``: the whole policy at a glance, as tables, as JSON or as a page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from vaultstore.cli.common import Failure, console, dir_option

__all__ = ["matrix_command"]


@click.command("matrix")
@dir_option
@click.option(
    "--policies",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File or folder of the policy [the store's].",
)
@click.option("--models", metavar="MODULE:BASE", help="Declarative base, or several with commas [the store's].")
@click.option("--model", help="Only this model.")
@click.option("--purpose", "purposes", multiple=True, help="Only this purpose. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option(
    "--html",
    "page_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="As a page that stands alone, to read and to print; - is the standard output.",
)
def matrix_command(
    folder: Path,
    policies: Path | None,
    models: str | None,
    model: str | None,
    purposes: tuple[str, ...],
    as_json: bool,
    page_file: Path | None,
) -> None:
    """What each purpose gets of each field: clear, masked (the card's name), or nothing."""
    from vaultstore.cli.store import policy_and_models
    from vaultstore.errors import PolicyError
    from vaultstore.policy import matrix

    if as_json and page_file is not None:
        raise click.UsageError("--json and --html don't go together")
    source = policy_and_models(folder, policies, models)
    bound = source.policy.bind(source.catalogue)
    for name in purposes:
        bound.purpose(name)
    if model is not None and source.catalogue.model(model) is None:
        raise PolicyError(f"there is no model {model!r}; there are: {', '.join(sorted(source.catalogue.models))}")
    if page_file is not None:
        from vaultstore.cli.policy_page import page

        _write(page_file, page(bound, purposes, model))
        return
    cells = [
        cell for cell in matrix(bound) if cell.purpose in (purposes or bound.purposes) and model in (None, cell.model)
    ]
    if as_json:
        click.echo(json.dumps([asdict(cell) for cell in cells], ensure_ascii=False, indent=2))
        return
    from vaultstore.cli.matrix import tables

    out = console()
    for part in tables(cells, out.width):
        out.print(part)
    out.print("s: may search by equality; w: may write; ·: nothing", style="dim")


def _write(file: Path, content: str) -> None:
    if str(file) == "-":
        click.echo(content, nl=False)
        return
    try:
        file.write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}") from None
    click.echo(f"{file}: written")

"""``vaultstore show``: one row, field by field, as a token's purpose sees it."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaultstore.cli.common import console, dir_option, printable, read_token

if TYPE_CHECKING:
    from vaultstore.catalogue import Field
    from vaultstore.orm.view import FieldView
    from vaultstore.policy import Decision
    from vaultstore.store import Store

__all__ = ["show_command"]

_COLOURS = {"clear": "green", "masked": "yellow", "denied": "red", "open": ""}


@dataclass(frozen=True, slots=True)
class _Line:
    field: str
    seen: Any
    how: str
    """``clear``, ``masked`` or ``denied``; ``open`` for a column that is not encrypted."""
    why: str
    short: str
    """The reason in a few words, for a table."""


@click.command("show")
@dir_option
@click.argument("member", type=click.UUID)
@click.option("--token", envvar="VAULTSTORE_TOKEN", metavar="TOKEN", help="The token; - reads it from stdin.")
@click.option("--model", default="Member", show_default=True, help="The model that the id is looked up in.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_command(folder: Path, member: uuid.UUID, token: str | None, model: str, as_json: bool) -> None:
    """Show MEMBER (an id) as the token's purpose sees them: each field in clear, masked or denied, and why.

    Without --token the token comes from VAULTSTORE_TOKEN. This is a disclosure like any other: limits count it, and
    the audit log keeps it.
    """
    from vaultstore.cli.store import load_models, model_named, open_store
    from vaultstore.settings import Settings

    token = read_token(token)
    settings = Settings.load(folder)
    cls = model_named(load_models(settings.models, settings.folder), model)
    with open_store(folder) as store:
        purpose = store.verify(token).purpose.name
        lines = _look(store, token, purpose, cls, member)
    if as_json:
        told = [{name: value for name, value in asdict(line).items() if name != "short"} for line in lines]
        click.echo(json.dumps(told, ensure_ascii=False, indent=2, default=str))
    else:
        _show(f"{model} {member} as {purpose} sees them", lines)


def _look(store: Store, token: str, purpose: str, cls: type[Any], member: uuid.UUID) -> list[_Line]:
    from sqlalchemy import inspect

    from vaultstore.errors import NotDisclosed
    from vaultstore.orm.properties import IndexProperty, ProjectionProperty

    model = cls.__name__
    described = store.policy.catalogue.model(model)
    encrypted = {field.name for field in described.fields} if described else set()
    with store.session(token) as session:
        found = session.get(cls, member)
        if found is None:
            raise NotDisclosed(f"{purpose} sees no {model} {member}", reason="not.granted", subject=member)
        view = session.view(found)
        lines = []
        for column in inspect(cls).mapper.column_attrs:
            if column.key in encrypted:
                _, field = store.policy.field(model, column.key)
                lines.append(_line(field, view[column.key], store.policy.decision(purpose, model, column.key)))
            elif not isinstance(column, IndexProperty | ProjectionProperty):
                lines.append(_Line(column.key, getattr(found, column.key), "open", *("not encrypted",) * 2))
    return lines


def _line(field: Field, seen: FieldView, decision: Decision) -> _Line:
    from vaultstore.orm import Clear, Denied

    if isinstance(seen, Denied):
        if decision.kind == "denied":
            return _Line(field.name, None, "denied", decision.because, f"{field.category} is not open to this purpose")
        # The policy would let it be read; it is the gate that does not: restricted, erased, no consent, a limit.
        return _Line(field.name, None, "denied", seen.message, seen.message)
    if isinstance(seen, Clear):
        # What holds nothing is shown as empty in whichever form it would be read.
        how = decision.kind if seen.value is None else "clear"
        return _Line(field.name, seen.value, how, decision.because, f"reads {decision.category}")
    return _Line(field.name, str(seen), "masked", decision.because, f"reads {decision.category}, not {field.category}")


def _show(title: str, lines: list[_Line]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("field", style="bold", no_wrap=True)
    table.add_column("what is seen", overflow="fold", min_width=36)
    table.add_column("how", no_wrap=True)
    table.add_column("why", overflow="fold")
    for line in lines:
        table.add_row(
            Text(line.field),
            Text(_readable(line)),
            Text(line.how, _COLOURS.get(line.how, "")),
            Text(printable(line.short)),
        )
    out = console()
    out.print(Text(title, "bold"))
    out.print(table)
    out.print(Text("vaultstore policy explain tells more of what the policy says", "dim"))


def _readable(line: _Line) -> str:
    if line.how == "denied":
        return ""
    if line.seen is None:
        return "-"
    if isinstance(line.seen, dict | list | bool):
        return printable(json.dumps(line.seen, ensure_ascii=False, default=str))
    return printable(str(line.seen))

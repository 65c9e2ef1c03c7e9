"""``vaultstore policy schema``: what an editor needs to complete and check policy files."""

from __future__ import annotations

import json

import click

__all__ = ["schema_command"]


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of policy files (draft 2020-12), for editors that complete and check YAML by one."""
    from vaultstore.policy.schema import schema

    click.echo(json.dumps(schema(), ensure_ascii=False, indent=2))

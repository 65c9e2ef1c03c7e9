"""``vaultstore policy``: check it, show it, explain a decision, lock the fields it was reviewed with, publish it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vaultstore.cli.common import Failure, dir_option, printable
from vaultstore.cli.planes import apply_command, compile_command, verify_command
from vaultstore.cli.policy_diff import diff_command
from vaultstore.cli.policy_explain import explain_command
from vaultstore.cli.policy_matrix import matrix_command
from vaultstore.cli.policy_schema import schema_command

if TYPE_CHECKING:
    from vaultstore.cli.store import PolicyAndModels
    from vaultstore.policy import Report

__all__ = ["policy_group"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _source(command: _Command) -> _Command:
    """``--dir``, ``--policies`` and ``--models``, passed on as `folder`, `policies` and `models`."""
    policies = click.option(
        "--policies",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="File or folder of the policy [the store's].",
    )
    models = click.option(
        "--models", metavar="MODULE:BASE", help="Declarative base, or several with commas [the store's]."
    )
    return dir_option(policies(models(command)))


@click.group("policy")
def policy_group() -> None:
    """Check, show, explain and publish a policy."""


for _command in (
    matrix_command,
    explain_command,
    diff_command,
    schema_command,
    compile_command,
    apply_command,
    verify_command,
):
    policy_group.add_command(_command)


@policy_group.command("check")
@_source
def check_command(folder: Path, policies: Path | None, models: str | None) -> None:
    """Find everything that is wrong: each error with file, line and column; exit code 1 where there is one.

    It runs the policy's own tests and bars, and compares the models' fields with the lock.
    """
    from vaultstore.cli.store import policy_and_models

    source = policy_and_models(folder, policies, models)
    report = _checked(source)
    counts = (
        _count(len(source.policy.purposes), "purpose"),
        _count(report.tests, "test"),
        _count(len(report.warnings), "warning"),
    )
    click.secho(f"ok: {', '.join(counts)}", fg="green")


@policy_group.command("lock")
@_source
def lock_command(folder: Path, policies: Path | None, models: str | None) -> None:
    """Write fields.lock: the fields, masks and indexes that this policy was reviewed with."""
    from vaultstore.cli.store import policy_and_models
    from vaultstore.errors import PolicyError
    from vaultstore.policy import Lock, write_lock

    source = policy_and_models(folder, policies, models)
    path = source.policy.lock_file
    if path is None:
        raise PolicyError("a lock lies in the policy's folder: name a folder, not a file")
    before = Lock.load(path) if path.exists() else None
    now = write_lock(source.catalogue, path)
    for change in before.diff(now) if before else ():
        click.echo(printable(str(change)))
    click.echo(f"{path}: {_count(len(now.fields), 'field')} locked")


@policy_group.command("publish")
@dir_option
def publish_command(folder: Path) -> None:
    """Make the policy in the store's folder the one that its gate decides by.

    It is checked first. Tokens for purposes that changed stop working, the others go on.
    """
    from vaultstore.cli.store import open_store, policy_and_models

    _checked(policy_and_models(folder))
    with open_store(folder) as store:
        store.publish()
        count = len(store.policy.purposes)
    click.echo(f"{_count(count, 'purpose')} published: tokens for those that changed have to be issued anew")


def _checked(source: PolicyAndModels) -> Report:
    """Print what is wrong with a policy. Raises Failure where there is an error."""
    report = source.policy.check(source.catalogue, source.policy.lock_file)
    for remark in report.warnings:
        click.secho(printable(f"{remark}"), fg="yellow")
    for error in report.errors:
        click.secho(printable(f"{error}"), fg="red")
    if not report.ok:
        raise Failure(f"the policy has {_count(len(report.errors), 'error')}")
    return report


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"

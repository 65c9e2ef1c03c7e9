"""The command line. Each command's module is imported when it is called, so that help and errors come at once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from vaultstore.cli.common import Failure, failure_of

__all__ = ["main"]

_COMMANDS = {
    "init": ("vaultstore.cli.init:init_command", "Make an embedded store in a folder."),
    "demo": ("vaultstore.cli.demo:demo_command", "Watch the abuses being tried and refused."),
    "scenario": ("vaultstore.cli.scenario:scenario_command", "Replay the exposé, abuse by abuse."),
    "members": ("vaultstore.cli.members:members_group", "Bring members, messages and views into a store."),
    "token": ("vaultstore.cli.token:token_group", "Issue and inspect purpose-bound tokens."),
    "issuer": ("vaultstore.cli.issuer:issuer_group", "Run the process that signs tokens."),
    "policy": ("vaultstore.cli.policy:policy_group", "Check, show and explain a policy."),
    "audit": ("vaultstore.cli.audit:audit_group", "Sign, check and use the audit log."),
    "subject": ("vaultstore.cli.subject:subject_group", "What members have a right to."),
    "consent": ("vaultstore.cli.consent:consent_group", "Write down what members consent to, and take back."),
    "keys": ("vaultstore.cli.keys:keys_group", "Rotate keys, rewrap data keys, give old versions up."),
    "keyring": ("vaultstore.cli.keyring:keyring_group", "Back the wrapped data keys up, and bring them back."),
    "journal": ("vaultstore.cli.journal:journal_group", "Apply to a restored store what happened since its backup."),
    "migrate": ("vaultstore.cli.migrate:migrate_group", "Move a plaintext column to an encrypted one."),
    "projections": ("vaultstore.cli.projections:projections_group", "Find masks that are out of date, and make anew."),
    "jobs": ("vaultstore.cli.jobs:jobs_group", "See bulk jobs, and rows that they could not do."),
    "trace": ("vaultstore.cli.trace:trace_command", "Find out where a leaked list came from."),
    "canary": ("vaultstore.cli.canary:canary_group", "Plant members who are nobody, to trace leaks by."),
    "show": ("vaultstore.cli.show:show_command", "Show a member as a token's purpose sees them."),
}


class _Main(click.Group):
    """A group that knows its commands by name and help, and turns what they raise into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.UsageError, Failure, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            # The cause may hold what the message leaves out.
            raise failure from None


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vaultstore", message="%(prog)s %(version)s")
def main() -> None:
    """Member profiles whose sensitive fields nobody reads without a purpose."""

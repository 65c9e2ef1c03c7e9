"""``vaultstore policy diff``: what a change makes wider, to be seen in a review and stopped in CI."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vaultstore.cli.common import console, dir_option, printable

if TYPE_CHECKING:
    from vaultstore.catalogue import Catalogue
    from vaultstore.policy import BoundPolicy, Finding, Lock, PolicyDiff
    from vaultstore.policy.rules import Rules

__all__ = ["diff_command"]

_SIGNS = {"wider": ("+", "bold red"), "changed": ("~", "yellow"), "narrower": ("-", "green"), "note": (" ", "dim")}
_WIDER = 2
"""Exit code where something became wider."""


@dataclass(frozen=True, slots=True)
class _Side:
    """A policy to compare, loaded but not bound."""

    name: str
    rules: Rules
    lock: Lock | None


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", required=False)
@dir_option
@click.option(
    "--policies",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="File or folder of the policy, in a revision too [the store's].",
)
@click.option("--models", metavar="MODULE:BASE", help="Declarative base, or several with commas [the store's].")
@click.option("--allow-widening", is_flag=True, help="End with 0 all the same: for a widening that was agreed on.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def diff_command(
    ctx: click.Context,
    old: str,
    new: str | None,
    folder: Path,
    policies: Path | None,
    models: str | None,
    allow_widening: bool,
    as_json: bool,
) -> None:
    """Tell what became wider and what narrower from OLD to NEW: git revisions, files or folders.

    Without NEW it compares with the working tree. Exit code 2 where anything became wider, or changed in a way that
    can't be put in order. Fields and masks are those of each side's fields.lock.
    """
    from vaultstore.policy import diff

    path, catalogue = _here(folder, policies, models)
    sides = [_side(word, path) for word in (old, new or str(path))]
    if catalogue is None and any(side.lock is None for side in sides):
        catalogue = _models(folder, models)
    found = diff(*(_bound(side, catalogue) for side in sides))
    if as_json:
        counts = {direction: found.count(direction) for direction in _SIGNS}
        findings = [asdict(finding) for finding in found.findings]
        document = {"old": sides[0].name, "new": sides[1].name, **counts, "findings": findings}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        _show(found)
    if found.widens and not allow_widening:
        ctx.exit(_WIDER)


def _here(folder: Path, policies: Path | None, models: str | None) -> tuple[Path, Catalogue | None]:
    """Where the policy lies, and the models where it is said which those are."""
    from vaultstore.cli.store import short_path
    from vaultstore.settings import FILE_NAME, Settings

    has_store = (folder / FILE_NAME).exists()
    settings = Settings.load(folder) if has_store else Settings(folder=folder)
    path = short_path(settings.policy_path if policies is None else policies)
    return path, _models(folder, models) if models is not None or has_store else None


def _models(folder: Path, models: str | None) -> Catalogue:
    from vaultstore.cli.store import load_models
    from vaultstore.orm import catalogue_of
    from vaultstore.settings import FILE_NAME, Settings

    settings = Settings.load(folder) if (folder / FILE_NAME).exists() else Settings(folder=folder.resolve())
    return catalogue_of(*load_models(models or settings.models, settings.folder))


def _side(word: str, path: Path) -> _Side:
    """What `word` names: what is there as a file or folder, else a revision of git that has `path`."""
    from vaultstore.policy import Lock
    from vaultstore.policy.load import load_files, load_texts

    here = Path(word)
    if word and "\0" not in word and (here.exists() or here == path):
        rules = load_files(here)
        lock_file = rules.folder and rules.folder / "fields.lock"
        return _Side(word, rules, Lock.load(lock_file) if lock_file and lock_file.exists() else None)
    from vaultstore.cli.policy_revision import files_at

    found = files_at(word, path)
    lock = None if found.lock is None else Lock.parse(found.lock[1], Path(found.lock[0]))
    return _Side(word, load_texts(found.files), lock)


def _bound(side: _Side, models: Catalogue | None) -> BoundPolicy:
    from vaultstore.policy import BoundPolicy, Lock, catalogue_in

    lock = side.lock
    if lock is None:
        assert models is not None
        lock = Lock.parse(Lock.of(models).text())  # masks are compared as a lock writes them
    return BoundPolicy(side.rules, catalogue_in(lock, side.rules, models))


def _show(found: PolicyDiff) -> None:
    from rich.text import Text

    out = console()
    by_subject: dict[str, list[Finding]] = {}
    for finding in found.findings:
        by_subject.setdefault(finding.subject, []).append(finding)
    for subject, findings in by_subject.items():
        out.print(Text(printable(subject), "bold"))
        for finding in sorted(findings, key=lambda one: list(_SIGNS).index(one.direction)):
            sign, style = _SIGNS[finding.direction]
            line = Text(f"  {sign} ", style).append(f"{finding.direction:9}", style)
            line.append(printable(finding.what), "default not bold not dim")
            out.print(line.append(f"  {printable(finding.place)}" if finding.place else "", "dim not bold"))
    if not found.findings:
        out.print("nothing changed")
    elif found.count("note") == len(found.findings):
        out.print("nothing changed that is enforced")
    else:
        counts = [f"{count} {word}" for word in ("wider", "changed", "narrower") if (count := found.count(word))]
        out.print(Text(", ".join(counts), "bold red" if found.widens else "green"))

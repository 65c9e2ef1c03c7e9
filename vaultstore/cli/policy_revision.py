"""A policy as git has it: files of a revision, read from its object database without checking anything out."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaultstore.errors import PolicyError, SettingsError
from vaultstore.policy.document import MAX_BYTES
from vaultstore.policy.load import checked_names

__all__ = ["PolicyFiles", "files_at"]

_SECONDS = 30
_FILE_MODES = ("100644", "100755")
_LOCK = "fields.lock"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The files of a policy, as `load_texts` takes them, and its lock."""

    files: tuple[tuple[str, bytes], ...]
    """(name, content); a name is ``REVISION:path``, as git writes it."""
    lock: tuple[str, str] | None
    """Name and text of ``fields.lock``, where there is one beside them."""


def files_at(revision: str, path: Path) -> PolicyFiles:
    """The policy at `path` (a file or a folder, there or not in the working tree) as `revision` has it.

    The revision is resolved to one commit before anything else; one that looks like an option is refused. Raises
    SettingsError where git, the repository or the revision is missing, PolicyError where it has no policy there.
    """
    folder = path.absolute()
    while not folder.is_dir():
        folder = folder.parent
    below = path.absolute().relative_to(folder)
    outside = f"{revision!r} is neither a file nor a folder, and {folder} lies in no git repository"
    prefix = _git(folder, "rev-parse", "--show-prefix", error=outside).decode("utf-8", "surrogateescape").rstrip("\n")
    inside = PurePosixPath(os.path.normpath(PurePosixPath(prefix, below.as_posix())))
    unknown = f"{revision!r} is neither a file, nor a folder, nor a revision that git knows in {folder}"
    if not revision or revision.startswith("-"):
        raise SettingsError(unknown)
    commit = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", error=unknown).decode().strip()
    if not _COMMIT.fullmatch(commit):  # ^main is an exclusion
        raise SettingsError(unknown)
    entries = _listed(folder, commit, inside)
    if not entries:
        raise PolicyError("there is no such file or folder in this revision", file=f"{revision}:{inside}")
    is_file = inside in entries
    names = sorted(n for n in entries if is_file or n.suffix.lower() in (".yaml", ".yml"))
    if not is_file:
        checked_names([PurePosixPath(f"{revision}:{name}") for name in names], f"{revision}:{inside}")
    lock = None if is_file else entries.get(inside / _LOCK)
    return PolicyFiles(
        tuple((f"{revision}:{name}", _blob(folder, entries[name])) for name in names),
        None if lock is None else (f"{revision}:{inside / _LOCK}", _blob(folder, lock).decode("utf-8", "replace")),
    )


def _listed(folder: Path, commit: str, inside: PurePosixPath) -> dict[PurePosixPath, str]:
    """Files below `inside` -> their object names. Links and submodules are refused where a policy file would be."""
    found = {}
    # Pathspecs are literal and count from the top: a folder called `*` is just that.
    arguments = ["--", str(inside)] if str(inside) != "." else []
    listing = _git(
        folder, "ls-tree", "-r", "-z", "--full-tree", commit, *arguments, error="git can't list the revision"
    )
    for line in listing.split(b"\0"):
        if not line:
            continue
        head, _, name = line.partition(b"\t")
        mode, _, blob = head.decode("ascii").split(" ")
        path = PurePosixPath(name.decode("utf-8", "surrogateescape"))
        if mode in _FILE_MODES:
            found[path] = blob
        elif path.suffix.lower() in (".yaml", ".yml", ".lock") or path == inside:
            raise PolicyError("a link or a submodule: a revision's policy is made of files", file=str(path))
    return found


def _blob(folder: Path, name: str) -> bytes:
    size = int(_git(folder, "cat-file", "-s", name, error="git can't read the revision"))
    if size > MAX_BYTES * 4:  # the parser refuses what is too long with its name; this bounds what is read
        return b" " * (MAX_BYTES + 1)
    return _git(folder, "cat-file", "blob", name, error="git can't read the revision")


def _git(folder: Path, *arguments: str, error: str) -> bytes:
    """What git says. `error` is the reason that is given where it fails; its own words may hold anything."""
    command = ["git", "--no-pager", "--literal-pathspecs", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        # No shell: each argument arrives as it is.
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except FileNotFoundError:
        raise SettingsError("git is not installed: name files or folders instead of revisions") from None
    except subprocess.TimeoutExpired:
        raise SettingsError(f"git did not answer within {_SECONDS} s") from None
    except ValueError:  # a NUL in an argument
        raise SettingsError(error) from None
    if done.returncode:
        raise SettingsError(error)
    return done.stdout

"""What canaries are planted from: numbers that the operator owns, and the staff and stores they are planted for."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vaultstore import normalize
from vaultstore.errors import SettingsError
from vaultstore.normalize import NotNormalizable

__all__ = ["Number", "Plot", "Post", "plan", "read_numbers", "read_posts"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number that rings at the operator's, and what goes with it."""

    line: int
    phone: str = field(repr=False)
    """In E.164."""
    wechat: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Post:
    """For whom canaries are planted: an actor, by a lead that only they see; or everybody of a store."""

    store: str
    actor: str | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """One canary to be planted."""

    post: Post
    number: Number


def read_numbers(path: Path) -> list[Number]:
    """The numbers of a CSV file without a header: ``phone[,wechat]`` a line; ``#`` begins a comment.

    Raises SettingsError naming the line that is no number, or is there twice.
    """
    normal, found, seen = normalize.phone_e164(region="CN"), [], dict[str, int]()
    for line, cells in _rows(path):
        try:
            phone = normal(cells[0])
        except NotNormalizable:
            raise SettingsError(f"{path}: line {line} is no telephone number") from None
        if phone in seen:
            raise SettingsError(f"{path}: line {line} has the number of line {seen[phone]}")
        seen[phone] = line
        found.append(Number(line, phone, (cells[1] if len(cells) > 1 else "") or None))
    return found


def read_posts(path: Path) -> list[Post]:
    """The staff of a CSV file without a header: ``actor,store`` a line. Raises SettingsError naming the line."""
    found = []
    for line, cells in _rows(path):
        if len(cells) != 2 or not all(cells):
            raise SettingsError(f"{path}: line {line} is not ACTOR,STORE")
        found.append(Post(cells[1], cells[0]))
    return list(dict.fromkeys(found))


def plan(posts: Iterable[Post], numbers: Sequence[Number], each: int) -> list[Plot]:
    """`each` canaries for every post, with a number of its own for each. Raises SettingsError where they run out."""
    wanted = [post for post in posts for _ in range(each)]
    if len(wanted) > len(numbers):
        raise SettingsError(f"{len(wanted)} canaries take as many numbers; there are {len(numbers)}")
    return [Plot(post, number) for post, number in zip(wanted, numbers, strict=False)]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8") from None
    reader = csv.reader(text.splitlines())
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    return [(line, cells) for line, cells in rows if any(cells) and not cells[0].startswith("#")]

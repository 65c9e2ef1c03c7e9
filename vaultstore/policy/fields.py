"""Typed reading of YAML nodes: what a policy expects in a place, or a PolicyError that points at it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import timedelta

from vaultstore.policy.document import Entry, Items, Node, Scalar, Table
from vaultstore.policy.places import Place
from vaultstore.policy.words import hint, shown

__all__ = [
    "MODEL",
    "NAME",
    "PURPOSE",
    "SERVICE",
    "Pattern",
    "choice",
    "duration",
    "entry",
    "flag",
    "items",
    "number",
    "short",
    "table",
    "text",
    "words",
]

_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Pattern:
    """What a name must look like, and how to say so."""

    def __init__(self, regex: str, says: str) -> None:
        self._regex, self.says = re.compile(regex), says

    def check(self, word: str, place: Place, what: str) -> str:
        """`word` itself; PolicyError at `place` where it does not fit."""
        if not self._regex.fullmatch(word):
            raise place.error(f"{what}: {shown(word)} is not a name; {self.says}")
        return word


NAME = Pattern(r"[a-z][a-z0-9_]{0,47}", "use lower-case letters, digits and _, at most 48")
PURPOSE = Pattern(
    r"(?=.{1,64}\Z)[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*", "use lower-case words joined by dots, at most 64"
)
SERVICE = Pattern(r"[a-z][a-z0-9_-]{0,47}", "use lower-case letters, digits, - and _, at most 48")
MODEL = Pattern(r"[A-Za-z_][A-Za-z0-9_]{0,62}", "use the name of a Python class or attribute")


def table(node: Node, what: str, allowed: Collection[str] | None = None) -> Table:
    """A mapping; with `allowed`, one that has no other keys."""
    if not isinstance(node, Table):
        raise _unexpected(node, what, "a mapping")
    for key, entry in node.entries.items() if allowed is not None else ():
        if key not in (allowed or ()):
            raise entry.place.error(f"{what}: unknown key {shown(key)}{hint(key, allowed or ())}")
    return node


def items(node: Node, what: str) -> tuple[Node, ...]:
    """A list that is not empty: an empty one reads like a rule, and says nothing."""
    if not isinstance(node, Items):
        raise _unexpected(node, what, "a list")
    if not node.items:
        raise node.place.error(f"{what}: the list is empty")
    return node.items


def text(node: Node, what: str) -> str:
    """Text that is not blank, with runs of white space made one space."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        raise _unexpected(node, what, "text")
    if not node.value.strip():
        raise node.place.error(f"{what}: the text is empty")
    return " ".join(node.value.split())


def choice(node: Node, what: str, choices: Collection[str]) -> str:
    """One word of `choices`."""
    word = text(node, what)
    if word not in choices:
        raise node.place.error(f"{what}: unknown {shown(word)}{hint(word, choices)}")
    return word


def words(node: Node, what: str, *, may_be_empty: bool = False) -> Iterator[tuple[str, Place]]:
    """The words of a list, each with its place; none twice."""
    if may_be_empty and isinstance(node, Items) and not node.items:
        return
    seen: dict[str, Place] = {}
    for item in items(node, what):
        word = text(item, what)
        if word in seen:
            raise item.place.error(f"{what}: {shown(word)} stands here twice")
        seen[word] = item.place
        yield word, item.place


def flag(node: Node, what: str) -> bool:
    """true or false; YAML 1.1's yes, no, on and off are text."""
    if not isinstance(node, Scalar) or not isinstance(node.value, bool):
        raise _unexpected(node, what, "true or false")
    return node.value


def number(node: Node, what: str, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if not isinstance(node, Scalar) or not isinstance(node.value, int) or isinstance(node.value, bool):
        raise _unexpected(node, what, "a whole number")
    if not low <= node.value <= high:
        raise node.place.error(f"{what}: {node.value} is not from {low} to {high}")
    return node.value


def duration(
    node: Node, what: str, low: timedelta, high: timedelta, says: str = "a time such as 60s, 15m, 1h or 90d"
) -> timedelta:
    """A time such as ``60s``, ``15m``, ``1h`` or ``90d``, from `low` to `high`; `says` is what errors ask for."""
    word = text(node, what) if isinstance(node, Scalar) and isinstance(node.value, str) else None
    match = _DURATION.fullmatch(word) if word is not None else None
    if match is None:
        raise _unexpected(node, what, says)
    value = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not low <= value <= high:
        raise node.place.error(f"{what}: {word} is not from {short(low)} to {short(high)}")
    return value


def entry(node: Table, key: str, what: str) -> Entry:
    """What stands under `key`, which must be there."""
    if key not in node.entries:
        raise node.place.error(f"{what}: {key} is missing")
    return node.entries[key]


def short(value: timedelta) -> str:
    """`value` as `duration` reads it, in the largest unit that leaves no rest."""
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _unexpected(node: Node, what: str, expected: str) -> Exception:
    if isinstance(node, Table):
        found = "a mapping"
    elif isinstance(node, Items):
        found = "a list"
    elif node.value is None:
        found = "nothing"
    elif isinstance(node.value, str):
        found = f"the text {shown(node.value)}"
    else:
        found = shown(str(node.value)).strip("'").lower()
    return node.place.error(f"{what}: expected {expected}, found {found}")

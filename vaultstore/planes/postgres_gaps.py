"""Where a database's facts are not those expected, and how bad that is: pure comparison."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from vaultstore.planes.plan import Verdict
from vaultstore.planes.postgres_facts import Fact

__all__ = ["Gap", "explained", "foreign_code", "gaps"]

_SINGLE = frozenset({
    "relation", "owner", "row security", "forced row security", "column", "check", "view", "rule", "policy", "trigger",
    "function", "role", "power", "membership", "setting", "definer function", "event trigger",
})  # fmt: skip
"""Kinds of which an object (part, role) has one fact: another value is a change, not one gone and one come."""

_GRANTS = {"grant", "function grant", "schema grant", "database grant"}
_SWITCHES = {"row security", "forced row security"}


class Gap(NamedTuple):
    """One fact that is missing, that should not be, or that has another value."""

    kind: str
    object: str
    part: str
    who: str
    expected: str | None
    found: str | None

    @property
    def verdict(self) -> Verdict:
        """Whether more is possible than should be, or less; ``different`` where the words don't tell."""
        missing, extra = self.found is None, self.expected is None
        if self.kind in _SWITCHES:
            return "too open" if self.found == "off" else "too closed"
        if self.kind == "policy" and (missing or extra):
            restrictive = (self.expected or self.found or "").startswith("RESTRICTIVE")
            return "too open" if restrictive == missing else "too closed"
        if self.kind == "role" and not missing and not extra:
            return _attributes(self.expected or "", self.found or "")
        if self.kind == "membership" and not missing and not extra:
            return "too open"  # it has an option more
        if self.kind in {"trigger", "check"} and not extra:
            return "too open" if missing or self.found.startswith("disabled") else "different"  # type: ignore[union-attr]
        if extra and self.kind not in {"column", "relation"}:
            return "too open"
        return "too closed" if missing else "different"


def gaps(live: Iterable[Fact], expected: Iterable[Fact]) -> list[Gap]:
    """What tells `live` from `expected`, by kind and name."""
    here, there = _by_key(live), _by_key(expected)
    found: list[Gap] = []
    for key in here.keys() | there.keys():
        wanted, got = there[key] - here[key], here[key] - there[key]
        if key[0] in _SINGLE and wanted and got:
            found.append(Gap(*key, expected="; ".join(sorted(wanted)), found="; ".join(sorted(got))))
            continue
        found += [Gap(*key, expected=detail, found=None) for detail in wanted]
        found += [Gap(*key, expected=None, found=detail) for detail in got]
    return sorted(found, key=lambda gap: tuple(value or "" for value in gap))


def explained(found: Iterable[Gap]) -> list[Gap]:
    """`found` without what follows from another gap of it, so that one deed is one line.

    A right that works out where it should not is left out if its grant is named, if its role has become a superuser,
    or if its table is not there or is somebody else's; and what the owner of a view or function that should not be
    there may do with it.
    """
    found = list(found)
    absent = {g.object for g in found if g.kind in {"relation", "function"} and g.found is None}
    owned = {g.object for g in found if g.kind == "owner" or (g.kind, g.part) == ("function", "owner")}
    roles = {g.object for g in found if g.kind == "role" and (g.found is None or "SUPERUSER" in g.found.split())}
    granted = {(g.object, g.part, g.who, g.expected or g.found) for g in found if g.kind in _GRANTS}

    planted = {g.object for g in found if g.kind in {"view", "function"} and g.expected is None}

    def follows(gap: Gap) -> bool:
        if gap.object in planted and gap.who == "(owner)":
            return True
        if gap.object in absent:
            return gap.kind not in {"relation", "function"}
        if gap.kind != "effective":
            return False
        right = gap.expected or gap.found
        named = gap.object.removeprefix("schema ").removeprefix("database ")
        return (
            gap.object in owned
            or gap.who in roles
            or any((named, part, who, right) in granted for part in (gap.part, "") for who in (gap.who, "PUBLIC"))
        )

    return [gap for gap in found if not follows(gap)]


def foreign_code(found: Iterable[Gap], known: Iterable[str]) -> list[Gap]:
    """The gaps through which somebody else's code runs when a statement touches a table of ours, or calls a function.

    `known` are the names of functions, ``schema.name``, that a policy may call.
    """
    ours = frozenset(known)

    def runs(gap: Gap) -> bool:
        match gap.kind:
            case "trigger":
                return gap.found is not None and gap.found.partition(" ")[0] != "disabled"
            case "function":
                return gap.expected is not None and gap.found is not None and gap.part != "owner"
            case "view":
                return gap.expected is not None and gap.found is not None
            case "rule" | "relation":
                return gap.found is not None
            case "policy":
                return not ours.issuperset(re.findall(r'([\w"]+\.[\w"]+)\(', gap.found or ""))
        return False

    return [gap for gap in found if runs(gap)]


def _by_key(facts: Iterable[Fact]) -> defaultdict[tuple[str, str, str, str], set[str]]:
    found: defaultdict[tuple[str, str, str, str], set[str]] = defaultdict(set)
    for fact in facts:
        found[fact[:4]].add(fact.detail)
    return found


def _attributes(expected: str, found: str) -> Verdict:
    """Of a role: any attribute beyond those expected opens something."""

    def powers(words: str) -> set[str]:
        return {word for word in words.split() if not word.startswith("NO")}

    more, less = powers(found) - powers(expected), powers(expected) - powers(found)
    return "too open" if more else "too closed" if less else "different"

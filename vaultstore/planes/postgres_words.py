"""Gaps between facts in a database administrator's words: as differences to report, and as changes to be made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from vaultstore.planes.plan import Change, Difference
from vaultstore.planes.postgres_gaps import Gap

__all__ = ["changes_of", "differences_of"]

_Action = Literal["create", "change", "remove"]

_THINGS = {
    "relation": "{object}",
    "owner": "owner of {object}",
    "row security": "row security on {object}",
    "forced row security": "forced row security on {object}",
    "column": "column {object}.{part}",
    "check": "constraint {part} on {object}",
    "view": "view {object}",
    "rule": "rule {part} on {object}",
    "policy": "policy {part} on {object}",
    "trigger": "trigger {part} on {object}",
    "inheritance": "table {part} below {object}",
    "publication": "publication {object} of {part}",
    "function": "{part} of function {object}",
    "definer function": "SECURITY DEFINER function {object}",
    "role": "role {object}",
    "power": "role {object}",
    "setting": "setting {part} of {object}",
    "event trigger": "event trigger {object}",
    "grant": "grant {rights} on {object} to {who}",
    "function grant": "grant {rights} on function {object} to {who}",
    "schema grant": "grant {rights} on schema {object} to {who}",
    "database grant": "grant {rights} on database {object} to {who}",
    "other grant": "grant {rights} on {object} to {who}",
    "parameter grant": "grant {rights} on parameter {object} to {who}",
    "default grant": "default grant {rights} on {part}, {object}, to {who}",
    "effective": "{rights} on {object} by {who}",
}
_RIGHTS = {kind for kind, thing in _THINGS.items() if "{rights}" in thing}
_MOST = 8
"""Columns or names that one line lists."""
_ORDER = ("role", "membership", "setting", "owner", "schema grant", "row security", "forced row security", "policy")
_BY_OBJECT = {"policy": "policies", "trigger": "triggers"}


def differences_of(found: Iterable[Gap]) -> list[Difference]:
    """A line for each deed: rights of a role on an object share one, and so do its memberships."""
    grouped: defaultdict[tuple[str, ...], list[Gap]] = defaultdict(list)
    for gap in found:
        grouped[_deed(gap)].append(gap)
    return [_difference(group) for group in grouped.values()]


def _deed(gap: Gap) -> tuple[str, ...]:
    """Gaps with the same key are one difference."""
    part, who = gap.part, gap.who
    if gap.kind == "publication" or (gap.kind in _RIGHTS and gap.kind != "default grant"):
        part = ""
    elif gap.kind == "function" and (gap.expected is None or gap.found is None):
        part = ""  # the whole of it is missing, or is one too many
    if gap.object.startswith("database ") and gap.kind == "effective":
        who = ""
    if gap.kind == "membership":
        return gap.kind, gap.expected or "", gap.found or "", who
    return gap.kind, gap.object, part, who, gap.verdict


def _difference(group: Sequence[Gap]) -> Difference:
    first = group[0]
    if first.kind in _RIGHTS:
        thing = _thing(first._replace(who=_names(gap.who for gap in group)), _rights(group))
        none, some = ("out of reach", "within reach") if first.kind == "effective" else ("none", "granted")
        extra = first.expected is None
        return Difference(first.verdict, thing, none if extra else some, some if extra else none)
    if first.kind == "membership":
        thing = f"membership of {first.who} in {_names(gap.object for gap in group)}"
        return Difference(first.verdict, thing, first.expected or "none", first.found or "none")
    if first.kind == "publication":
        return Difference(first.verdict, f"publication {first.object}", "none", _names(gap.part for gap in group))
    if first.kind == "trigger" and first.expected and first.found:
        (wanted, _, expected), (got, _, found) = first.expected.partition(" "), first.found.partition(" ")
        if expected == found:
            return Difference(first.verdict, _thing(first), wanted, got)
    if len(group) > 1:
        here = ", ".join(f"{gap.part} {gap.found or gap.expected}" for gap in group)
        expected, found = ("none", here) if first.expected is None else ("as this version makes it", "none")
        return Difference(first.verdict, f"function {first.object}", expected, found)
    return Difference(first.verdict, _thing(first), first.expected or "none", first.found or "none")


def changes_of(found: Iterable[Gap]) -> list[Change]:
    """What closing these gaps changes, roles first; what follows from them is left out."""
    grouped: defaultdict[tuple[str, ...], list[Gap]] = defaultdict(list)
    for gap in found:
        if gap.kind != "effective":
            grouped[_group(gap)].append(gap)
    order = sorted(grouped, key=lambda key: (_ORDER.index(key[0]) if key[0] in _ORDER else len(_ORDER), key))
    return [change for key in order for change in _changes(grouped[key])]


def _group(gap: Gap) -> tuple[str, ...]:
    """Gaps with the same key are one change."""
    action = _action(gap)
    match gap.kind:
        case "role" | "setting":
            return gap.kind, action, gap.object, gap.part
        case "membership" | "function grant":
            return gap.kind, action, gap.who
        case "schema grant":
            return gap.kind, action, gap.object, gap.expected or gap.found or ""
        case "owner" | "row security" | "forced row security":
            return gap.kind, action, gap.expected or ""
        case "function":
            return ("owner", "change", gap.expected or "") if gap.part == "owner" and gap.found else (gap.kind, action)
        case kind if kind in _BY_OBJECT:
            return kind, action, gap.object
    return gap.kind, action, gap.object, gap.who


def _changes(group: Sequence[Gap]) -> Iterator[Change]:
    first = group[0]
    action = _action(first)
    objects = _names(_short(gap.object) for gap in group)
    match first.kind:
        case "role" | "setting":
            arrow = f"{first.found} -> {first.expected}" if action == "change" else first.expected or first.found or ""
            yield Change(action, _thing(first), arrow)
        case "membership":
            yield Change(action, f"membership of {first.who}", objects)
        case "owner" | "function" if action == "change" and first.part in {"", "owner"}:
            yield Change(action, f"owner {first.expected}", objects)
        case "row security" | "forced row security":
            yield Change(action, f"{first.kind} {first.expected}", objects)
        case "function":
            yield Change(action, "functions", objects)
        case "function grant":
            yield Change(action, f"grant {_rights(group)} to {first.who}", objects)
        case "schema grant":
            right = first.expected or first.found
            yield Change(action, f"grant {right} on schema {first.object}", _names(gap.who for gap in group))
        case kind if kind in _BY_OBJECT:
            yield Change(action, f"{_BY_OBJECT[kind]} on {first.object}", _names(gap.part for gap in group))
        case kind if kind in _RIGHTS:
            yield Change(action, _thing(first, _rights(group)))
        case _:
            yield Change(action, _thing(first), first.expected or first.found or "")


def _action(gap: Gap) -> _Action:
    return "remove" if gap.expected is None else "create" if gap.found is None else "change"


def _thing(gap: Gap, rights: str = "") -> str:
    who = "its owner" if gap.who == "(owner)" else gap.who
    return _THINGS[gap.kind].format(object=gap.object, part=gap.part, who=who, rights=rights)


def _rights(group: Iterable[Gap]) -> str:
    """``SELECT (a, b), DELETE``: privileges with their columns, where they are columns'."""
    columns: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for gap in group:
        right = gap.expected or gap.found or ""
        bare = right.removeprefix("GRANT OPTION FOR ")
        column = gap.part if gap.kind in {"grant", "effective"} else ""
        columns[bare, " WITH GRANT OPTION" if right != bare else ""] += [column] if column else []
    return ", ".join(
        f"{right} ({_names(names)}){option}" if names else right + option
        for (right, option), names in sorted(columns.items())
    )


def _names(names: Iterable[str]) -> str:
    names = list(dict.fromkeys(names))
    rest = len(names) - _MOST
    return ", ".join(names[:_MOST]) + (f" and {rest} more" if rest > 0 else "")


def _short(name: str) -> str:
    """A function without its schema and arguments."""
    bare, paren, _ = name.partition("(")
    return bare.rpartition(".")[2] + "()" if paren else name
